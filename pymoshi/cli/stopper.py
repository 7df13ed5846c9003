"""Ctrl-C, SIGTERM and a closed terminal: the first time they ask, so that files are completed; then they insist."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import typer

from pymoshi.errors import Cancelled

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopper:
    """Turns signals into a request, for the duration of a `with`.

    At its end the process ends with the code that shells know such an end by (130 for Ctrl-C), if there was a signal.
    """

    def __init__(self) -> None:
        self.number = 0
        """Of the signal that came; 0 if none has."""
        self.requested = False
        """Whether somebody asked to stop, by a signal or by `stop`."""
        self._callbacks: list[Callable[[], object]] = []
        self._before: dict[int, Any] = {}

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Calls this when somebody asks; at once if that has happened."""
        self._callbacks.append(callback)
        if self.requested:
            callback()

    def stop(self) -> None:
        """Asks; from any thread."""
        self.requested = True
        for callback in list(self._callbacks):
            callback()

    def watching(self, show: Callable[[float], object]) -> Callable[[float], bool]:
        """A progress callback that shows, and cancels once somebody has asked to stop."""

        def report(fraction: float) -> bool:
            show(fraction)
            return not self.requested

        return report

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        self.stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)
                # What is ignored stays ignored: `nohup`, and background jobs of a shell.
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        orderly = kind is None or issubclass(kind, Cancelled)
        if self.number and orderly:
            raise typer.Exit(128 + self.number) from None
        return self.requested and orderly
