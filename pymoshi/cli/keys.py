"""Single keys of a terminal, without waiting for a line.

A terminal tells when a key goes down, not when it comes up; so whatever a key does, pressing it again must undo it.
"""

import os
import re
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)  # of arrows, function keys, Alt and a key
_LONGEST = 64  # bytes read at once: pasted text must not become hundreds of commands


class Keys:
    """Calls a function with every key that is pressed, from a thread of its own, for the duration of a `with`.

    Ctrl-C remains a signal; Ctrl-Z does nothing, as a conversation cannot stand still. Arrows and other keys that send
    sequences are ignored. Does nothing where `stream` is no terminal, or one that another program has.
    """

    def __init__(self, on_key: Callable[[str], None], stream: IO[Any] | None = None) -> None:
        self._on_key = on_key
        self._stream = sys.stdin if stream is None else stream
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._restore: Callable[[], None] | None = None

    @property
    def available(self) -> bool:
        """Whether keys can be read here."""
        try:
            fd = self._stream.fileno()
            if not os.isatty(fd):
                return False
            return sys.platform == "win32" or os.tcgetpgrp(fd) == os.getpgrp()
        except (OSError, ValueError, AttributeError):  # no stdin at all, a closed one, or not this process's terminal
            return False

    def __enter__(self) -> Self:
        if self.available:
            self._restore = _listen_to_keys(self._stream.fileno())
            self._thread = threading.Thread(target=self._run, name="pymoshi-keys", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        if self._restore is not None:
            self._restore()
            self._restore = None

    def _run(self) -> None:
        fd = self._stream.fileno()
        while not self._stopping.is_set():
            pressed = _read_keys(fd, 0.1)
            if pressed is None:  # the terminal is gone
                return
            for key in _SEQUENCE.sub("", pressed):
                self._on_key(key)


if sys.platform == "win32":
    import msvcrt
    import time

    def _listen_to_keys(fd: int) -> Callable[[], None]:
        return lambda: None

    def _read_keys(fd: int, timeout: float) -> str | None:
        if not msvcrt.kbhit():
            time.sleep(timeout)
            return ""
        key = msvcrt.getwch()
        if key in "\x00\xe0":  # the first half of a function key
            msvcrt.getwch()
            return ""
        return key

else:
    import select
    import termios

    def _listen_to_keys(fd: int) -> Callable[[], None]:
        before = termios.tcgetattr(fd)
        now = termios.tcgetattr(fd)
        now[3] &= ~(termios.ICANON | termios.ECHO)
        now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0
        now[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(fd, termios.TCSADRAIN, now)
        return lambda: termios.tcsetattr(fd, termios.TCSADRAIN, before)

    def _read_keys(fd: int, timeout: float) -> str | None:
        try:
            ready, _, _ = select.select([fd], [], [], timeout)
            if not ready:
                return ""
            pressed = os.read(fd, _LONGEST)
        except (OSError, ValueError):
            return None
        return pressed.decode("utf-8", "ignore") if pressed else None
