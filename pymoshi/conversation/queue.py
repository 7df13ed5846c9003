"""Events on their way from the loop to whoever iterates, however slow that is."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pymoshi.conversation.events import Event, FrameDone

MOST_FRAMES: Final = 64  # 5 s of frame records wait at most
MOST_OTHERS: Final = 8_192  # ten minutes of talk that nobody fetches


class EventQueue:
    """Bounded. Beyond the bounds the oldest are left out and counted, frame records long before words and states.

    One thread puts, one gets. Neither ever holds a lock that the other needs: the consumer is mostly the main thread,
    where Ctrl-C strikes between any two instructions, and a lock that it took in that moment is never given back.

    lossless: instead of leaving events out, `put` waits for the consumer, so that a conversation that runs as fast as
    it can is told completely. After `release` it waits no more.
    """

    def __init__(self, *, lossless: bool) -> None:
        self._frames = _Waiting(MOST_FRAMES)
        self._others = _Waiting(MOST_OTHERS)
        self._news = _Signal()
        self._room = _Signal()
        self._lossless = lossless
        self._ended = False
        self._count = 0
        self.wake: Callable[[], object] | None = None
        """Called after each change, in the thread that made it: for consumers that cannot wait in `get`."""

    @property
    def left_out(self) -> int:
        """Events that the consumer never saw."""
        return self._frames.left_out + self._others.left_out

    def put(self, event: Event) -> None:
        """Appends an event; in real time it never waits."""
        if self._ended:
            return
        kind = self._frames if isinstance(event, FrameDone) else self._others
        while self._lossless and kind.full:
            self._room.wait()
        kind.append(self._count, event)
        self._count += 1
        self._tell()

    def poll(self) -> Event | None:
        """The oldest event, None if there is none now."""
        frame, other = self._frames.first(), self._others.first()
        if frame is None:
            frame = self._frames.first()  # one that came between the two looks is older than `other`
        kind = self._others if frame is None or (other is not None and other < frame) else self._frames
        event = kind.take()
        self._room.set()
        return event

    def get(self, timeout: float) -> Event | None:
        """As `poll`, waiting at most `timeout` seconds for one."""
        until = time.monotonic() + timeout
        while (event := self.poll()) is None and not self._ended and (left := until - time.monotonic()) > 0:
            self._news.wait(left)
        return event

    @property
    def exhausted(self) -> bool:
        """Whether there will never be another event."""
        return self._ended and self._frames.first() is None and self._others.first() is None

    def end(self) -> None:
        """There are no more events after those that wait."""
        self._ended = True
        self._tell()

    def release(self) -> None:
        """Nobody fetches events any more: `put` does not wait from now on."""
        self._lossless = False
        self._room.set()

    def _tell(self) -> None:
        self._news.set()
        if (wake := self.wake) is not None:
            wake()


class _Waiting:
    """Numbered events of one kind. What both threads touch is a deque, whose operations are atomic."""

    def __init__(self, most: int) -> None:
        self._events: deque[tuple[int, Event]] = deque()
        self._first: tuple[int, Event] | None = None  # the consumer's: taken off the deque, not yet fetched
        self._most = most
        self.left_out = 0

    @property
    def full(self) -> bool:
        return len(self._events) >= self._most

    def append(self, number: int, event: Event) -> None:
        if self.full:
            with suppress(IndexError):  # the consumer has just fetched them all
                self._events.popleft()
                self.left_out += 1
        self._events.append((number, event))

    def first(self) -> int | None:
        """The number of the event that `take` returns; None: there is none."""
        if self._first is None:
            try:
                self._first = self._events.popleft()
            except IndexError:
                return None
        return self._first[0]

    def take(self) -> Event | None:
        first, self._first = self._first, None
        return None if first is None else first[1]


class _Signal:
    """One thread wakes another; set before anybody waits, it is remembered."""

    def __init__(self) -> None:
        self._unset = threading.Lock()
        self._unset.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # it is set
            self._unset.release()

    def wait(self, timeout: float = -1) -> None:
        """Until it is set; it is not, afterwards. -1: without a limit."""
        self._unset.acquire(timeout=timeout)
