"""Keys of a real (pseudo) terminal."""

import os
import pty
import queue
import termios
from collections.abc import Iterator
from typing import IO

import pytest

from pymoshi.cli.keys import Keys


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, IO[bytes]]]:
    """The keyboard's end, and the program's end as a stream."""
    keyboard, program = pty.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())  # as if this process were in its foreground
    with os.fdopen(program, "rb", buffering=0) as stream:
        yield keyboard, stream
    os.close(keyboard)


def test_keys_come_without_enter_and_are_not_echoed(terminal: tuple[int, IO[bytes]]) -> None:
    keyboard, stream = terminal
    pressed: queue.Queue[str] = queue.Queue()
    with Keys(pressed.put, stream):
        os.write(keyboard, b"m")
        assert pressed.get(timeout=10) == "m"
        os.write(keyboard, b"\x1b[A")  # an arrow
        os.write(keyboard, b"\x1b[15~")
        assert not termios.tcgetattr(stream.fileno())[3] & termios.ECHO
        os.write(keyboard, b"\x1a")  # Ctrl-Z: a key like others, not a stop
        assert pressed.get(timeout=10) == "\x1a"
        os.write(keyboard, b" q")
        assert [pressed.get(timeout=10) for _ in range(2)] == [" ", "q"]


def test_terminal_is_given_back_as_it_was(terminal: tuple[int, IO[bytes]]) -> None:
    _, stream = terminal
    before = termios.tcgetattr(stream.fileno())
    with pytest.raises(KeyboardInterrupt), Keys(lambda key: None, stream):
        assert termios.tcgetattr(stream.fileno()) != before
        raise KeyboardInterrupt
    assert termios.tcgetattr(stream.fileno()) == before


def test_terminal_of_another_program_is_left_alone(
    terminal: tuple[int, IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stream = terminal
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    before = termios.tcgetattr(stream.fileno())
    with Keys(lambda key: None, stream) as keys:
        assert not keys.available
        assert termios.tcgetattr(stream.fileno()) == before


def test_file_and_closed_stream_have_no_keys() -> None:
    with open(os.devnull, "rb") as stream:
        assert not Keys(lambda key: None, stream).available
    assert not Keys(lambda key: None, stream).available
