"""Tests in a real terminal. They need tmux, and run when they are asked for:

PYMOSHI_TEST_TERMINAL=1 pytest tests/terminal
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

collect_ignore = [] if os.environ.get("PYMOSHI_TEST_TERMINAL") else ["test_screen.py"]

_PATIENCE = 120  # seconds


class Terminal:
    """One window of a tmux server of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = str(folder / "tmux")

    def tmux(self, *arguments: str) -> str:
        """Runs a command of tmux; what it prints."""
        command = ["tmux", "-u", "-f", "/dev/null", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def run(self, command: str, width: int, height: int) -> None:
        """Opens the window and runs a command in it, in the test's folder; then a prompt comes, "ended: CODE"."""
        script = f"cd '{self._folder}'; {command}; echo ended: $?; exec cat"
        self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), script)

    def screen(self) -> list[str]:
        """What can be seen, line by line."""
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def press(self, *keys: str) -> None:
        """As tmux names them."""
        self.tmux("send-keys", *keys)

    def see(self, seen: Callable[[list[str]], bool]) -> list[str]:
        """Waits until it can be seen; the screen then."""
        until = time.monotonic() + _PATIENCE
        while not seen(lines := self.screen()):
            assert time.monotonic() < until, "\n".join(lines)
            time.sleep(0.05)
        return lines


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal that is there for one test."""
    window = Terminal(tmp_path)
    yield window
    subprocess.run(["tmux", "-S", str(tmp_path / "tmux"), "kill-server"], check=False, capture_output=True, timeout=60)
