"""The worker's process as the server sees it: spawned, spoken to, and certainly ended."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol, Self

import pymoshi
from pymoshi.errors import InternalError
from pymoshi.server import messages

__all__ = ["WorkerProcess", "safe_path"]

log = logging.getLogger("pymoshi")

_TAIL: Final = 12  # lines of its stderr that are kept
_MOST_UNSENT: Final = 1 << 20  # bytes of sound that it did not take: minutes
_INSISTS: Final = 2.0  # s after which a kill that did not help is given up on


class Listener(Protocol):
    """Who hears what a worker has to say. Called in the event loop, with the worker: there may be another by now."""

    def on_news(self, worker: "WorkerProcess", news: dict[str, Any]) -> None:
        """A JSON object."""

    def on_audio(self, worker: "WorkerProcess", data: bytes) -> None:
        """Bytes of the model's voice."""

    def on_end(self, worker: "WorkerProcess", reason: str) -> None:
        """Once, when the process has ended by whatever cause."""


class WorkerProcess:
    """A worker that runs. Made by `spawn`; all methods belong to the server's event loop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def spawn(cls, listener: Listener) -> Self:
        """Starts one.

        Raises OSError if the system does not start another process.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *safe_path(),
            "-m",
            "pymoshi.server.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is the server's alone
        )
        worker = cls(process)
        worker._tasks = [
            asyncio.create_task(worker._listen(listener)),
            asyncio.create_task(worker._keep_tail()),
        ]
        return worker

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, command: dict[str, Any]) -> None:
        """Passes a command on; lost if the process has just ended."""
        self._write(messages.pack_json(command))

    def send_audio(self, data: bytes) -> None:
        """Passes a piece of the peer's stream on. Raises InternalError if the worker takes none any more."""
        assert self._process.stdin is not None
        if self._process.stdin.transport.get_write_buffer_size() > _MOST_UNSENT:
            raise InternalError("The engine does not take any more sound.")
        self._write(messages.pack_audio(data))

    def _write(self, message: bytes) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(message)

    async def end(self, within: float) -> None:
        """Asks it to end, and insists after `within` seconds. Never raises."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            self.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=True), _INSISTS)

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _listen(self, listener: Listener) -> None:
        assert self._process.stdout is not None
        try:
            while (message := await messages.read_from(self._process.stdout)) is not None:
                kind, content = message
                if kind is messages.Kind.AUDIO:
                    listener.on_audio(self, content)
                else:
                    listener.on_news(self, messages.unpack_json(content))
        except Exception:  # what it says cannot be understood: it is of no more use
            log.exception("The worker's news cannot be read")
            self.kill()
        code = await self._process.wait()
        await self._tasks[1]
        listener.on_end(self, self._reason(code))

    async def _keep_tail(self) -> None:
        """Its stderr: C libraries write there what they have to say before they end a process."""
        assert self._process.stderr is not None
        while line := await _line(self._process.stderr):
            text = line.decode(errors="replace").rstrip()
            if text:
                log.debug("worker: %s", text)
                self._tail.append(text)

    def _reason(self, code: int) -> str:
        if code < 0:
            name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
            how = f"was killed by {name}"
            if name == "SIGKILL":
                how += " (the system does that when memory runs out)"
        else:
            how = f"ended with code {code}"
        said = f" Its last words: {' / '.join(list(self._tail)[-3:])}" if self._tail else ""
        return f"The engine's process {how}.{said}"


def safe_path() -> list[str]:
    """-P: files of the folder that the server was started in are not modules. Unless pymoshi itself is run from it."""
    return [] if Path(pymoshi.__file__).resolve().parents[1] == Path.cwd().resolve() else ["-P"]


async def _line(pipe: asyncio.StreamReader) -> bytes:
    try:
        return await pipe.readline()
    except ValueError:  # longer than the reader's limit: what is left of it comes as the next line
        return b"(a long line)\n"
