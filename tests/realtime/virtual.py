"""A clock, sound devices and a model that exist only here. They drive the real capture, loop and playout.

What other threads would do (the devices' callbacks) happens while the loop waits or computes: the virtual clock runs
whatever is due before it moves on.
"""

import heapq
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymoshi.audio.capture import Capture
from pymoshi.audio.playout import Playout
from pymoshi.conversation.controls import Controls
from pymoshi.conversation.events import Event, FrameDone, FrameRecord
from pymoshi.conversation.loop import Loop
from pymoshi.session import Frame

Samples = NDArray[np.float32]
FRAME = 1920


class VirtualClock:
    """Moves only when somebody sleeps or waits on it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Does `action` then; those of the same time in the order in which they were asked for."""
        heapq.heappush(self._due, (max(time, self._now), self._count, action))
        self._count += 1

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._run(self._now + max(seconds, 0.0), lambda: False)

    def wait(self, event: threading.Event, timeout: float) -> bool:
        self._run(self._now + max(timeout, 0.0), event.is_set)
        return event.is_set()

    def _run(self, until: float, done: Callable[[], bool]) -> None:
        while not done():
            if not self._due or self._due[0][0] > until:
                self._now = until
                return
            time, _, action = heapq.heappop(self._due)
            self._now = max(self._now, time)
            action()


@dataclass
class Microphone:
    """Gives `sound` to a capture, block by block.

    ppm: how much faster than the clock it runs. delay(k): seconds that block k comes late; blocks keep their order, so
    one that is late holds up those after it, which then come in a burst.
    """

    clock: VirtualClock
    capture: Capture
    sound: Callable[[int, int], Samples]
    """(first sample, n) -> float32 [n]."""
    block: int = 480
    ppm: float = 0.0
    delay: Callable[[int], float] = lambda _: 0.0
    rate: int = 24_000
    unplugged: tuple[float, float] = (0.0, 0.0)
    """From when to when, in seconds, it gives nothing."""
    given: int = 0
    _blocks: int = 0
    _latest: float = 0.0

    def start(self) -> None:
        self._schedule()

    def _schedule(self) -> None:
        k = self._blocks
        nominal = (k + 1) * self.block / (self.rate * (1 + self.ppm * 1e-6))
        self._latest = max(self._latest, nominal + self.delay(k))
        self.clock.at(self._latest, self._call)

    def _call(self) -> None:
        begin, end = self.unplugged
        first = self._blocks * self.block
        self._blocks += 1
        if not begin <= self.clock.now() < end:
            self.capture.push(self.sound(first, self.block))
            self.given += self.block
        self._schedule()


@dataclass
class Speaker:
    """Takes blocks from a playout and hands them to `listen(time, block)`."""

    clock: VirtualClock
    playout: Playout
    listen: Callable[[float, Samples], None]
    block: int = 480
    ppm: float = 0.0
    delay: Callable[[int], float] = lambda _: 0.0
    rate: int = 24_000
    unplugged: tuple[float, float] = (0.0, 0.0)
    _blocks: int = 0
    _latest: float = 0.0

    def start(self) -> None:
        self._schedule()

    def _schedule(self) -> None:
        nominal = self._blocks * self.block / (self.rate * (1 + self.ppm * 1e-6)) + 0.003
        self._latest = max(self._latest, nominal + self.delay(self._blocks))
        self.clock.at(self._latest, self._call)

    def _call(self) -> None:
        begin, end = self.unplugged
        self._blocks += 1
        if not begin <= self.clock.now() < end:
            out = np.empty(self.block, np.float32)
            self.playout.pull(out)
            self.listen(self.clock.now(), out)
        self._schedule()


class EchoingModel:
    """A session that says what it hears, after computing for `cost(k)` seconds of the virtual clock."""

    def __init__(self, clock: VirtualClock, cost: Callable[[int], float] = lambda _: 0.04) -> None:
        self.clock = clock
        self.cost = cost
        self.steps = 0
        self.forced: list[tuple[int, int | None]] = []
        self.answer: Callable[[int, Samples], Samples] = lambda _, heard: heard
        self.text: Callable[[int], str] = lambda _: ""

    def step(self, pcm: ArrayLike) -> Frame:
        heard = np.array(pcm, np.float32)
        assert heard.shape == (FRAME,)
        self.clock.sleep(self.cost(self.steps))
        frame = Frame(
            audio=self.answer(self.steps, heard), text=self.text(self.steps), text_token=3, codes=None,
            user_codes=np.zeros(8, np.int32), index=self.steps, encode_ms=1.0, lm_ms=2.0, decode_ms=1.0,
        )  # fmt: skip
        self.steps += 1
        return frame

    def force_text(self, token: int | None) -> None:
        self.forced.append((self.steps, token))


@dataclass
class Call:
    """A conversation of virtual devices with a virtual model, and what came of it."""

    clock: VirtualClock
    model: EchoingModel
    capture: Capture
    playout: Playout
    controls: Controls = field(default_factory=Controls)
    events: list[Event] = field(default_factory=list)
    watch: Callable[[FrameRecord], None] = lambda _: None
    loop: Loop = field(init=False)

    def __post_init__(self) -> None:
        self.loop = Loop(
            self.model, self.capture, self.playout, self._take, controls=self.controls, clock=self.clock,
        )  # fmt: skip

    def _take(self, event: Event) -> None:
        if isinstance(event, FrameDone):
            self.watch(event.record)
        else:
            self.events.append(event)

    def run(self, seconds: float) -> str:
        """Converses until then."""
        self.clock.at(seconds, self.controls.stop)
        return self.loop.run()

    def of(self, kind: type[Any]) -> list[Any]:
        """Events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def ramp(first: int, n: int) -> Samples:
    """A signal whose every sample tells its place: 0 to 1 in steps of 2**-20, again and again."""
    return ((np.arange(first, first + n) % 2**20) * 2.0**-20).astype(np.float32)


def places(pcm: Samples) -> NDArray[np.int64]:
    """Where in `ramp` the samples are from."""
    return np.rint(pcm.astype(np.float64) * 2**20).astype(np.int64)


def joined(blocks: Iterable[Samples]) -> Samples:
    return np.concatenate(list(blocks))
