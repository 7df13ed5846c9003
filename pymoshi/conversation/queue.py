"""Events on their way from the loop to whoever iterates, however slow that is."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from pymoshi.conversation.events import Event, FrameDone

MOST_FRAMES: Final = 64  # 5 s of frame records wait at most
MOST_OTHERS: Final = 8_192  # ten minutes of talk that nobody fetches


class EventQueue:
    """Bounded. Beyond the bounds the oldest are left out and counted, frame records long before words and states.

    lossless: instead of leaving events out, `put` waits for the consumer, so that a conversation that runs as fast as
    it can is told completely. After `release` it waits no more.
    """

    def __init__(self, *, lossless: bool) -> None:
        self._changed = threading.Condition()
        self._frames: deque[tuple[int, Event]] = deque()
        self._others: deque[tuple[int, Event]] = deque()
        self._lossless = lossless
        self._ended = False
        self._count = 0
        self.left_out = 0
        """Events that the consumer never saw."""
        self.wake: Callable[[], object] | None = None
        """Called after each change, in the thread that made it: for consumers that cannot wait in `get`."""

    def put(self, event: Event) -> None:
        """Appends an event; in real time it never waits."""
        kind, most = (self._frames, MOST_FRAMES) if isinstance(event, FrameDone) else (self._others, MOST_OTHERS)
        with self._changed:
            if self._ended:
                return
            while self._lossless and len(kind) >= most:
                self._changed.wait()
            kind.append((self._count, event))
            self._count += 1
            if len(kind) > most:
                kind.popleft()
                self.left_out += 1
            self._changed.notify_all()
        self._call()

    def poll(self) -> Event | None:
        """The oldest event, None if there is none now."""
        with self._changed:
            if not self._frames and not self._others:
                return None
            first = min((kind for kind in (self._frames, self._others) if kind), key=lambda kind: kind[0][0])
            event = first.popleft()[1]
            self._changed.notify_all()
            return event

    def get(self, timeout: float) -> Event | None:
        """As `poll`, waiting at most `timeout` seconds for one."""
        with self._changed:
            if not self._frames and not self._others and not self._ended:
                self._changed.wait(timeout)
        return self.poll()

    @property
    def exhausted(self) -> bool:
        """Whether there will never be another event."""
        with self._changed:
            return self._ended and not self._frames and not self._others

    def end(self) -> None:
        """There are no more events after those that wait."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._call()

    def release(self) -> None:
        """Nobody fetches events any more: `put` does not wait from now on."""
        with self._changed:
            self._lossless = False
            self._changed.notify_all()

    def _call(self) -> None:
        if self.wake is not None:
            self.wake()
