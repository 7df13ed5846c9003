"""From a conversation's frames to a sound card's blocks, without gaps, clicks or a growing delay.

    write(): trim -> resampler (drift) -> ring -> callback thread: pull(block)

Frames come every 80 ms, a little early or late; the device takes its blocks by its own clock, which is not the
microphone's. Both show in one number, the low water: how much was left to play, at the least, after any of the blocks
of the last four seconds. It is kept at 12 ms; each underrun raises this mark by 8 ms, up to 80, and it sinks again:

- Slowly, by playing up to 0.2 % faster or slower (3 cents; nobody hears it). That is all that clocks ever need.
- If more than a few frames piled up (the computer stalled, then caught up), pauses in the speech are shortened, 10 ms
  at a time; beyond `HIGHEST` any sound is, with a crossfade. Beyond `STALE` (the device was away) all is thrown away.
- If the queue runs dry, the sound fades out within 5 ms and, once frames come again and the low water is restored,
  fades in. The gap delays what follows; the two rules above take that back.
"""

from collections import deque
from typing import Final

import numpy as np

from pymoshi.audio.files import SAMPLE_RATE
from pymoshi.audio.ports import PortStats, Samples
from pymoshi.audio.resample import Resampler
from pymoshi.audio.ring import Ring

LOW_WATER: Final = 0.012  # s
HIGHEST_LOW_WATER: Final = 0.08  # s, on a machine that is late all the time
_RAISE: Final = 0.008  # s, for an underrun
_SINK: Final = 1e-6  # s, for a frame: it takes ten minutes to forget one
PILED_UP: Final = 0.08  # s above the low water: shorten pauses
HIGHEST: Final = 0.2  # s queued: shorten anything
STALE: Final = 0.6  # s queued: nobody is listening
_CAPACITY: Final = 2.0  # s
_WINDOW: Final = 50  # frames that the low water is measured over
_GAIN: Final = 0.05  # per second: an error of 10 ms is answered by 500 ppm at once,
_LEARNED: Final = 5e-5  # per second and frame: and by what the clocks' difference turns out to be
_FASTEST: Final = 0.002
_FADE: Final = 0.005  # s
_PRIMING: Final = 480  # samples: more than the resampler lags
_PIECE: Final = 240  # samples (10 ms) of a pause that are left out at a time
_QUIET: Final = 0.003  # amplitude, -50 dBFS


class Playout:
    """The sink side of a device: an AudioSink emptied by `pull`. rate: the device's, Hz."""

    def __init__(self, rate: int = SAMPLE_RATE) -> None:
        self.rate = rate
        self._ring = Ring(round(_CAPACITY * rate))
        self._resampler = Resampler(SAMPLE_RATE, rate, varies=True)
        self._resampler.process(np.zeros(_PRIMING, np.float32))  # from now on a frame in is a frame out
        self._lows: deque[float] = deque(maxlen=_WINDOW)
        self._low_water = LOW_WATER
        self._difference = 0.0  # of the clocks
        self._underruns_seen = 0
        self._clear_to = 0  # the reader skips to this place in the ring, fading out
        self._begun_at = 0  # the place of the last `clear` that `write` has seen
        self._trimmed = 0
        # The callback's own:
        self._fade = round(_FADE * rate)
        self._ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(self._fade) + 0.5) / self._fade)).astype(np.float32)
        self._lowest = self._ring.capacity  # samples left after a block, since the last frame
        self._hold = round(LOW_WATER * rate)  # silence still to be played before sound begins
        self._playing = False
        self._ran_dry = False
        self._risen = 0  # samples of the fade-in that have been played
        self._history = np.zeros(self._fade, np.float32)  # what was played last
        self._fading = np.zeros(0, np.float32)  # rest of a fade-out
        self._underruns = 0

    # ---- the conversation's thread -----------------------------------------------------------------------------

    def write(self, pcm: Samples) -> None:
        self._learn()
        level = self._level()
        if level > STALE or self._ring.free < 2 * pcm.size * self.rate // SAMPLE_RATE:
            self._trimmed += self.queued()
            self.clear()
            level = self._low_water
        kept = self._shorten(pcm, level)
        self._trimmed += pcm.size - kept.size
        self._follow_clock()
        self._ring.write(self._resampler.process(kept))

    def _follow_clock(self) -> None:
        """Sets the speed."""
        if not self._lows:
            return
        error = min(self._lows) - self._low_water
        self._difference = float(np.clip(self._difference + error * _LEARNED, -_FASTEST / 2, _FASTEST / 2))
        faster = float(np.clip(error * _GAIN + self._difference, -_FASTEST, _FASTEST))
        self._resampler.stretch(1.0 - faster, over=SAMPLE_RATE // 50)  # faster: fewer samples for the device

    def _learn(self) -> None:
        """Where the low water was, and where it has to be."""
        lowest, self._lowest = self._lowest, self._ring.capacity
        if lowest < self._ring.capacity:
            self._lows.append(lowest / self.rate)
        if self._begun_at != self._clear_to:  # everything began anew meanwhile
            self._begun_at = self._clear_to
            self._lows.clear()
        fresh = self._underruns - self._underruns_seen
        self._underruns_seen += fresh
        if fresh:
            self._lows.clear()
        mark = self._low_water + fresh * _RAISE - _SINK
        self._low_water = min(max(mark, LOW_WATER), HIGHEST_LOW_WATER)

    def _level(self) -> float:
        """Seconds that are left to play."""
        consumed = self._ring.consumed
        if self._clear_to > consumed:  # the callback has not seen it yet; then it begins anew
            return (self._ring.written - self._clear_to) / self.rate + self._low_water
        return (self._ring.written - consumed + (0 if self._playing else self._hold)) / self.rate

    def _shorten(self, pcm: Samples, level: float) -> Samples:
        """`pcm`, or less of it if too much is queued."""
        if level > HIGHEST:
            self._lows.clear()
            return _overlap(pcm, min(pcm.size // 2, round((level - HIGHEST) * SAMPLE_RATE) + _PIECE))
        excess = level - self._low_water - PILED_UP
        if len(self._lows) == _WINDOW:  # it has been too much for seconds, if only a little
            excess = max(excess, min(self._lows) - self._low_water - PILED_UP / 4)
        if excess <= 0:
            return pcm
        pieces = pcm[: pcm.size // _PIECE * _PIECE].reshape(-1, _PIECE)
        quiet = np.flatnonzero(np.abs(pieces).max(axis=1) < _QUIET)
        out = quiet[: int(excess * SAMPLE_RATE) // _PIECE + 1]
        if out.size == 0:
            return pcm
        self._lows.clear()
        return np.concatenate([np.delete(pieces, out, axis=0).ravel(), pcm[pieces.size :]])

    def queued(self) -> int:
        return (self._ring.written - max(self._ring.consumed, self._clear_to)) * SAMPLE_RATE // self.rate

    def clear(self) -> None:
        """As AudioSink has it; from any thread."""
        self._clear_to = self._ring.written

    def stats(self) -> PortStats:
        return PortStats(underruns=self._underruns, trimmed=self._trimmed, latency=self._resampler.lag)

    def close(self) -> None:
        self.clear()

    # ---- the device's thread -----------------------------------------------------------------------------------

    def pull(self, out: Samples) -> None:
        """Fills `out`, float32 [n], with what is to be played next; silence where there is nothing."""
        at = self._fade_out(out) if self._clear_to > self._ring.consumed else self._go_on_fading(out)
        if not self._playing:
            at = self._begin(out, at)
        if self._playing and at < out.size:
            self._play(out[at:])

    def _begin(self, out: Samples, at: int) -> int:
        """Silence, until sound is there and the low water has passed. Returns where in `out` the sound begins."""
        if self._ring.available == 0:
            out[at:] = 0.0
            return out.size
        silent = min(self._hold, out.size - at)
        out[at : at + silent] = 0.0
        self._hold -= silent
        if self._hold == 0:
            self._playing, self._risen = True, 0
            self._underruns += self._ran_dry
            self._ran_dry = False
        return at + silent

    def _play(self, out: Samples) -> None:
        n = self._ring.read_into(out)
        self._lowest = min(self._lowest, self._ring.available)
        if self._risen < self._fade:
            ramp = self._ramp[self._risen : self._risen + n]
            out[: ramp.size] *= ramp
            self._risen += ramp.size
        self._history = np.concatenate([self._history, out[:n]])[-self._fade :]
        if n < out.size:
            # What was played last, backwards: no jump, and the voice's own sound.
            self._stop(self._history[::-1] * self._ramp[::-1], ran_dry=True)
            self._go_on_fading(out[n:])

    def _fade_out(self, out: Samples) -> int:
        """Fades what is queued out and skips the rest, as `clear` asked."""
        place = self._clear_to
        fading = self._fading
        if self._playing:
            tail = self._ring.read(min(self._fade, place - self._ring.consumed))
            if self._risen < self._fade:  # in the middle of fading in: down from where it is
                tail *= self._ramp[max(self._risen - 1, 0)]
            mirrored = np.concatenate([self._history, tail])[::-1]  # if there is less left than a fade-out takes
            fading = np.concatenate([tail, mirrored])[: self._fade] * self._ramp[::-1]
        self._ring.skip(place - self._ring.consumed)
        self._stop(fading, ran_dry=False)
        return self._go_on_fading(out)

    def _stop(self, fading: Samples, *, ran_dry: bool) -> None:
        self._playing, self._ran_dry = False, ran_dry
        self._fading = fading
        self._hold = round(self._low_water * self.rate)
        self._history = np.zeros(self._fade, np.float32)

    def _go_on_fading(self, out: Samples) -> int:
        """The rest of a fade-out, then silence. Returns where it ends."""
        n = min(self._fading.size, out.size)
        out[:n] = self._fading[:n]
        out[n:] = 0.0
        self._fading = self._fading[n:]
        return n


def _overlap(pcm: Samples, cut: int) -> Samples:
    """`pcm` with `cut` samples less in the middle: its begin passes over into its end."""
    keep = pcm.size - cut
    n = min(_PIECE, keep)
    begin = (keep - n) // 2
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
    joined = pcm[begin : begin + n] * (1 - ramp) + pcm[begin + cut : begin + cut + n] * ramp
    return np.concatenate([pcm[:begin], joined, pcm[begin + cut + n :]])
