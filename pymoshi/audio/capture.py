"""From a sound card's blocks to a conversation's frames.

The device's callback pushes blocks at the device's rate, and does nothing else; whoever reads does the work: echo
cancelling, resampling to 24 kHz.

    callback thread: push(near, far) -> rings -> read(): echo canceller -> resampler -> 1920 samples
"""

import threading
from collections.abc import Callable
from typing import Final

import numpy as np

from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.files import SAMPLE_RATE
from pymoshi.audio.ports import EndOfAudio, PortStats, Samples
from pymoshi.audio.resample import Resampler
from pymoshi.audio.ring import Ring

BLOCK_SECONDS: Final = 0.01  # what an echo canceller takes at a time
_CAPACITY_SECONDS: Final = 2.0  # beyond this a conversation has lost its thread anyway
_SPLICE: Final = 120  # samples (5 ms) over which the sound before a gap passes into that after it

EchoFilter = Callable[[Samples, Samples], Samples]
"""(near, far) -> near without far; float32 [10 ms at the device's rate] each."""


class Capture:
    """The source side of a device: an AudioSource fed by `push`.

    rate: the device's, Hz. echo: called for every 10 ms, in the thread that reads, if `push` is given what was played.
    """

    def __init__(self, rate: int = SAMPLE_RATE, *, echo: EchoFilter | None = None, clock: Clock | None = None) -> None:
        self.rate = rate
        self._clock = clock or SystemClock()
        self._echo = echo
        capacity = round(_CAPACITY_SECONDS * rate)
        self._near, self._far = Ring(capacity), Ring(capacity)
        self._block = round(BLOCK_SECONDS * rate)
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._ready = np.zeros(0, np.float32)  # 24 kHz, to be handed out next
        self._raw_joint, self._joint = _Joint(), _Joint()  # before the resampler, and behind it
        self._arrived = threading.Event()
        self._wanted = 0  # samples at the device's rate that the reader waits for
        self._overruns = 0
        self._closed = False

    # ---- the device's thread -----------------------------------------------------------------------------------

    def push(self, near: Samples, far: Samples | None = None) -> None:
        """A block from the device, float32 [n] or [n, channels]; `far` [n] is what it played meanwhile.

        If nobody reads for two seconds, what comes then is thrown away and counted.
        """
        mono = near if near.ndim == 1 else near.mean(axis=1, dtype=np.float32)
        if mono.size > self._near.free:
            self._overruns += 1
            mono = mono[: self._near.free]
        if self._echo is not None:
            # The far side first: whoever finds near samples must find these, too.
            self._far.write(np.zeros_like(mono) if far is None else far[: mono.size])
        self._near.write(mono)
        if self._near.available >= self._wanted:
            self._arrived.set()

    # ---- the conversation's thread -----------------------------------------------------------------------------

    def read(self, n: int, timeout: float) -> Samples | None:
        deadline = self._clock.now() + timeout
        while not self._gather(n):
            if self._closed:
                raise EndOfAudio
            self._wanted = max(self._missing(n), self._near.available + 1)
            self._arrived.clear()
            if self._near.available >= self._wanted:
                continue  # it came in between
            if not self._clock.wait(self._arrived, deadline - self._clock.now()):
                return None
        out, self._ready = self._ready[:n], self._ready[n:]
        return self._joint.join(out)

    def _missing(self, n: int) -> int:
        """Samples at the device's rate that have to come through the resampler before n are complete."""
        return max(1, -(-(n - self._ready.size) * self.rate // SAMPLE_RATE))

    def _gather(self, n: int) -> bool:
        """Brings what has arrived to 24 kHz until n samples are ready. Returns whether they are."""
        while self._ready.size < n:
            size = min(self._near.available, self._block if self._echo else self._missing(n))
            if size == 0 or (self._echo and size < self._block):
                return False
            near = _sane(self._near.read(size))
            if self._echo is not None:
                near = self._echo(near, self._far.read(size))
            near = self._raw_joint.join(near)
            self._ready = np.concatenate([self._ready, self._resampler.process(near)])
        return True

    def pending(self) -> int:
        return int(self._ready.size) + self._near.available * SAMPLE_RATE // self.rate

    def skip(self, n: int) -> int:
        from_ready = min(n, self._ready.size)
        self._ready = self._ready[from_ready:]
        raw = self._near.skip((n - from_ready) * self.rate // SAMPLE_RATE)
        if self._echo is not None:
            self._far.skip(raw)
        self._joint.broken |= from_ready > 0
        self._raw_joint.broken |= raw > 0
        return from_ready + raw * SAMPLE_RATE // self.rate

    def stats(self) -> PortStats:
        return PortStats(overruns=self._overruns, latency=self._resampler.lag)

    def close(self) -> None:
        self._closed = True
        self._arrived.set()


def _sane(pcm: Samples) -> Samples:
    """Drivers do give NaN, and samples beyond [-1, 1]; the model must not hear them."""
    if not np.isfinite(np.dot(pcm, pcm)):
        pcm = np.nan_to_num(pcm, nan=0.0, posinf=1.0, neginf=-1.0)
    out: Samples = np.minimum(np.maximum(pcm, np.float32(-1)), np.float32(1))
    return out


class _Joint:
    """A place where a gap in the sound may be, made so that it does not click."""

    def __init__(self) -> None:
        self.broken = False
        self._last = 0.0

    def join(self, pcm: Samples) -> Samples:
        """The next samples; behind a gap they begin where the sound was, and pass over to their own within 5 ms."""
        if self.broken:
            n = min(_SPLICE, pcm.size)
            ramp = np.linspace(0.0, 1.0, n, endpoint=False, dtype=np.float32)
            pcm = np.concatenate([self._last * (1 - ramp) + pcm[:n] * ramp, pcm[n:]])
            self.broken = False
        self._last = float(pcm[-1])
        return pcm
