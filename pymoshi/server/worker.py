"""The process that computes: started by the server, spoken to through its stdin and stdout, ended with them.

Three threads: the reader takes commands and sound (and ends the process when the server is gone, whatever the others
do), the writer sends news and a heartbeat, and the main thread holds the model and runs one call after the other.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, BinaryIO, Final

from pymoshi.errors import PymoshiError
from pymoshi.server import messages
from pymoshi.server.call import Call, Models
from pymoshi.server.options import CallOptions

HEARTBEAT: Final = 1.0  # s
_MOST_WAITING: Final = 4_096  # news that the server did not take yet: minutes of them
_GRACE: Final = 0.3  # s in which files are completed once the server is gone

logger = logging.getLogger("pymoshi")


class Outbox:
    """News on their way to the server. `post` and `send` never wait."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._waiting: queue.Queue[bytes] = queue.Queue(_MOST_WAITING)
        self.frames = 0
        """Of all calls so far: a heartbeat that stands still there is that of a driver that hangs."""

    def post(self, news: dict[str, Any]) -> None:
        """Sends a JSON object."""
        self._put(messages.pack_json(news))

    def send(self, data: bytes) -> None:
        """Sends bytes of the model's voice."""
        self._put(messages.pack_audio(data))

    def _put(self, message: bytes) -> None:
        with suppress(queue.Full):  # the server is stopped, by a debugger perhaps: nobody listens to what is left out
            self._waiting.put_nowait(message)

    def run(self) -> None:
        """Writes until the pipe is closed, and ends the process then."""
        beat = time.monotonic()
        while True:
            try:
                message = self._waiting.get(timeout=max(0.0, beat - time.monotonic()))
            except queue.Empty:
                beat = time.monotonic() + HEARTBEAT
                message = messages.pack_json({"type": "heartbeat", "frames": self.frames})
            try:
                self._pipe.write(message)
                self._pipe.flush()
            except OSError:
                os._exit(0)


class _LogToServer(logging.Handler):
    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {record.exc_info[1]!r}"
        self._outbox.post({"type": "log", "level": record.levelname.lower(), "text": text})


class Worker:
    """Takes commands and runs calls."""

    def __init__(self, commands: BinaryIO, news: BinaryIO) -> None:
        self._commands = commands
        self._outbox = Outbox(news)
        self._calls: queue.Queue[Call | None] = queue.Queue()
        self._call: Call | None = None  # the latest
        self._models = Models(self._outbox.post)

    def run(self) -> None:
        """Until the server is gone."""
        logger.handlers = [_LogToServer(self._outbox)]
        logger.setLevel(logging.INFO)
        for work in (self._outbox.run, self._read):
            threading.Thread(target=work, name=f"pymoshi-worker-{work.__name__}", daemon=True).start()
        self._outbox.post({"type": "hello", "pid": os.getpid()})
        while True:
            call = self._calls.get()
            if call is None:
                self._models.unload()
            else:
                call.run()

    def _read(self) -> None:
        while (message := messages.read(self._commands)) is not None:
            kind, content = message
            try:
                if kind is messages.Kind.AUDIO:
                    if self._call is not None:
                        self._call.hear(content)
                else:
                    self._obey(messages.unpack_json(content))
            except PymoshiError as error:
                if self._call is not None:
                    self._call.fail(str(error))
            except Exception:
                logger.exception("A command failed")
        if self._call is not None:
            self._call.stop()
        self._call = None
        threading.Timer(_GRACE, os._exit, (0,)).start()

    def _obey(self, command: dict[str, Any]) -> None:
        match command["do"]:
            case "start":
                self._call = Call(
                    command["call"],
                    command["mode"],
                    CallOptions(**command["options"]),
                    command["settings"],
                    self._outbox,
                    self._models,
                )
                self._calls.put(self._call)
            case "attach" if self._call is not None:
                self._call.attach()
            case "stop" if self._call is not None and self._call.number == command["call"]:
                self._call.stop()
            case "mute" if self._call is not None:
                self._call.mute(bool(command["muted"]))
            case "unload":
                self._calls.put(None)


def main() -> None:
    """What `python -m pymoshi.server.worker` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process, too
    # What a library prints must not come between the messages.
    commands, news = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout = sys.stderr
    Worker(commands, news).run()


if __name__ == "__main__":
    main()
