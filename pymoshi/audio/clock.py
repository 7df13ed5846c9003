"""Time as the real-time parts see it, so that tests can run an hour of it in seconds."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What waits and what measures asks this object, never the system."""

    def now(self) -> float:
        """Seconds; only differences mean anything, and it never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns after so many seconds; at once if there are none."""
        ...

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Waits until `event` is set, at most `timeout` seconds. Returns whether it is."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def wait(self, event: threading.Event, timeout: float) -> bool:
        return event.wait(max(timeout, 0.0))
