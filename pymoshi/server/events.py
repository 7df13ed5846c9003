"""What happens, told to every page that listens on /ws, however slow it is."""

import asyncio
import json
from collections import deque
from typing import Any, Final

__all__ = ["EventHub", "Subscriber"]

MOST_FIGURES: Final = 50  # frames and levels that wait for a page: 2 s of them
MOST_WAITING: Final = 512  # of anything; a page that is so far behind is not there
_DROPPABLE: Final = frozenset({"frame", "levels"})


class Subscriber:
    """One page's events, waiting to be sent. Beyond a bound the oldest figures are left out, never words or states."""

    def __init__(self) -> None:
        self._figures: deque[tuple[int, str]] = deque(maxlen=MOST_FIGURES)
        self._others: deque[tuple[int, str]] = deque()
        self._changed = asyncio.Event()
        self._count = 0
        self.left_behind = False
        """Whether it is too slow even for words and states, and is to be closed."""

    def put(self, kind: str, text: str) -> None:
        """Another event, as JSON."""
        self._count += 1
        (self._figures if kind in _DROPPABLE else self._others).append((self._count, text))
        if len(self._others) > MOST_WAITING:
            self.left_behind = True
            self._others.clear()
        self._changed.set()

    async def get(self) -> str | None:
        """The oldest event, waiting for it; None if the page has been left behind."""
        while not (self._figures or self._others or self.left_behind):
            self._changed.clear()
            await self._changed.wait()
        if self.left_behind:
            return None
        first = min((kind for kind in (self._figures, self._others) if kind), key=lambda kind: kind[0][0])
        return first.popleft()[1]

    def __len__(self) -> int:
        return len(self._figures) + len(self._others)


class EventHub:
    """Passes each event to all subscribers. Belongs to the event loop."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()

    def publish(self, event: dict[str, Any]) -> None:
        """Tells all who listen. Never waits."""
        if self._subscribers:
            text = json.dumps(event, separators=(",", ":"))
            for subscriber in self._subscribers:
                subscriber.put(event["type"], text)

    def add(self) -> Subscriber:
        """A new listener; to be removed by `remove`."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        return subscriber

    def remove(self, subscriber: Subscriber) -> None:
        """It does not listen any more."""
        self._subscribers.discard(subscriber)

    def __len__(self) -> int:
        return len(self._subscribers)
