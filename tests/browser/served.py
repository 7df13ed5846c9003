"""`pymoshi serve` as a user starts it: a process that can be killed, and started again at the same address."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_PATIENCE = 60.0  # seconds


class Served:
    """A context manager. `environment` is added to that of the tests."""

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self._log = folder / "serve.log"
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Starts it, at the address that it had before if it had one."""
        port = re.search(r":(\d+)", self.url)
        command = [sys.executable, "-m", "pymoshi", "serve", "--model", "demo", "--seed", "7", "--threads", "1"]
        command += ["--port", port[1] if port else "0", *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + _PATIENCE
        while not (address := re.search(r"https?://\S+", self._log.read_text())):
            assert self._process.poll() is None and time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)
        self.url = address[0]

    def kill(self) -> None:
        """The server dies, without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_worker(self) -> None:
        """The process that computes dies, as it does when a driver crashes."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            if b"pymoshi.server.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
                return
        raise AssertionError("there is no worker")

    def status(self) -> dict[str, Any]:
        """As the server tells it to anybody."""
        answer: dict[str, Any] = httpx.get(f"{self.url}status", timeout=_PATIENCE).raise_for_status().json()
        return answer

    def state(self) -> str:
        """What it is doing."""
        return str(self.status()["state"])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(_PATIENCE)
