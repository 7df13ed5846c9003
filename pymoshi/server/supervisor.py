"""Knows what the worker is doing, has it do one call at a time, and starts another one if it dies.

    ready -> loading -> priming -> listening -> stopping -> ready
                any of them -> failed (a new call may be started; the reason is kept until then)

A state is entered when the worker says so, never before. The worker's process ends when it crashes, when it hangs
(its heartbeat or its frames stand still), when it does not stop, and after some time without a call: all memory, that
of the GPU included, is free then.
"""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pymoshi.errors import StateError
from pymoshi.server.calls import Busy, Peer, Phase, ServerCall
from pymoshi.server.events import EventHub
from pymoshi.server.metrics import Metrics
from pymoshi.server.options import CallOptions, Mode
from pymoshi.server.process import WorkerProcess
from pymoshi.server.settings import Settings

__all__ = ["Supervisor"]

log = logging.getLogger("pymoshi")

_TICK: Final = 0.5  # s between two looks at the worker
_NO_HEARTBEAT: Final = 10.0  # s; it sends one a second, whatever it computes
_FIRST_BEAT: Final = 50.0  # s more, for a new process on a busy machine
_NO_FRAME: Final = 20.0  # s without a frame in a conversation: a driver hangs
_STOP_WITHIN: Final = 10.0  # s: longer than a batch of a prompt on a slow machine
_WAIT_FOR_STOP: Final = 3.0  # s that a new call waits for the last one to end
_WAIT_FOR_NEWS: Final = 0.5  # s, to learn that the last caller has hung up
_MOST_EARLY: Final = 200  # pieces of a stream that wait for a worker to be started
_END_WITHIN: Final = 0.5  # s that a worker gets to complete its files
_SOON: Final = 5.0  # s: a worker that ends sooner than this is not started again before it is needed


class Supervisor:
    """Belongs to the event loop. `close` has to be called at the end."""

    def __init__(self, settings: Settings, hub: EventHub, metrics: Metrics) -> None:
        self.settings = settings
        self._hub = hub
        self._metrics = metrics
        self.phase = Phase.READY
        self.progress: float | None = None
        self.detail = ""
        self.reason: str | None = None
        """Why the last call failed; None once another one is started."""
        self.model: str | None = None
        """What is in the worker's memory."""
        self.call: ServerCall | None = None
        self._worker: WorkerProcess | None = None
        self._spawning = asyncio.Lock()
        self._spawned = 0.0
        self._numbers = 0
        self._muted = False
        self._revision = 0
        self._beat = self._moved = self._idle_since = time.monotonic()
        self._closing = False
        self._background: set[asyncio.Task[None]] = set()
        self._folder: Path | None = None  # made for the first recording
        self._recording: Path | None = None

    # ---- what others ask ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Starts the first worker, so that the first call need not wait for it, and looks after it from now on."""
        self._in_background(self._watch())
        self._in_background(self._respawn())

    def status(self) -> dict[str, Any]:
        """As GET /status answers. `revision` grows with every change: answers and events overtake each other."""
        call = self.call
        options = (call.options if call else self.settings.defaults).shown()
        return {
            "revision": self._revision,
            "state": str(self.phase),
            "progress": self.progress,
            "detail": self.detail,
            "model": options.pop("model") or "demo",
            "loaded": self.model is not None,
            "reason": self.reason,
            "call_seconds": round(time.monotonic() - call.began, 1) if call and call.began is not None else None,
            "mode": call.mode if call else None,
            "muted": self._muted,
            "recording": self.recording() is not None,
            "settings": options,
        }

    @property
    def worker_pid(self) -> int | None:
        """None if none runs."""
        return None if self._worker is None else self._worker.pid

    def recording(self) -> Path | None:
        """The file of the last call that was recorded, once it is complete."""
        path = self._recording
        active = self.call is not None and self.call.options.record
        return path if path is not None and not active and path.is_file() else None

    async def start(self, mode: Mode, options: CallOptions, peer: Peer | None = None) -> ServerCall:
        """Begins a call, whose worker may have to be started first. `options` go over the server's defaults.

        Raises Busy, StateError (the server ends).
        """
        await self._wait_until_free()
        self._numbers += 1
        call = self.call = ServerCall(self._numbers, mode, options.over(self.settings.defaults), peer)
        self._muted = False
        self._enter(Phase.LOADING)
        self._in_background(self._launch(call))
        return call

    async def _launch(self, call: ServerCall) -> None:
        try:
            worker = await self._ready_worker()
        except (OSError, StateError) as error:
            self._finish(call, f"The engine's process cannot be started: {error}", failed=True)
            return
        if call.ended.is_set():
            return
        if call.stop_by is not None:  # stopped before it began
            self._finish(call, "stopped", failed=False)
            return
        command = {"do": "start", "call": call.number, "mode": call.mode, "options": call.options.as_json()}
        worker.send(command | self._rest(call))
        call.launched = True
        if call.peer is not None:
            worker.send({"do": "attach"})
            for data in call.early:
                worker.send_audio(data)
        call.early.clear()

    def _rest(self, call: ServerCall) -> dict[str, Any]:
        settings = self.settings
        record_to = None
        if call.options.record:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="pymoshi-serve-"))
            self._recording = self._folder / "latest.wav"
            record_to = str(self._recording)
        load: dict[str, Any] = {"device": settings.device, "threads": settings.threads}
        if call.options.model == settings.defaults.model:
            load["mimi"] = None if settings.mimi is None else str(settings.mimi)
            load["tokenizer"] = None if settings.tokenizer is None else str(settings.tokenizer)
        timeout = settings.prepared_timeout
        return {"settings": {"load": load, "record_to": record_to, "prepared_timeout": timeout}}

    def attach(self, peer: Peer, options: CallOptions) -> ServerCall | None:
        """Gives the call that was prepared for a browser its sound; None if there is none that waits for it.

        If something else is asked for than what was prepared, the prepared call is stopped.
        """
        call = self.call
        if call is None or call.mode != "browser" or call.peer is not None or self.phase is Phase.STOPPING:
            return None
        if options.over(call.options) != call.options:
            self.stop(call)
            return None
        call.peer = peer
        if self._worker is not None and call.launched:
            self._worker.send({"do": "attach"})
        return call

    def stop(self, call: ServerCall | None = None) -> None:
        """Asks for the end of the call, or of that call if it is still the one. Returns at once."""
        current = self.call
        if current is None or call not in (None, current) or current.stop_by is not None:
            return
        current.stop_by = time.monotonic() + _STOP_WITHIN
        self._enter(Phase.STOPPING)
        if self._worker is not None:
            self._worker.send({"do": "stop", "call": current.number})

    def mute(self, muted: bool) -> None:
        """Whether the model hears silence. Raises StateError without a call."""
        if self.call is None or self._worker is None:
            raise StateError("There is no call to mute.")
        self._muted = muted
        self._worker.send({"do": "mute", "muted": muted})
        self._publish_state()

    def hear(self, call: ServerCall, data: bytes) -> None:
        """Passes a piece of the peer's stream on, while the call is the current one. Raises InternalError."""
        if self.call is not call:
            return
        if self._worker is not None and call.launched:
            self._worker.send_audio(data)
        elif len(call.early) < _MOST_EARLY:  # a stream has to be read from its beginning
            call.early.append(data)

    async def unload(self) -> None:
        """Ends the worker, so that all memory is free."""
        worker, self._worker, self.model = self._worker, None, None
        if worker is not None:
            await worker.end(_END_WITHIN)
            self._publish_state()

    async def close(self) -> None:
        """Ends everything; closing twice is allowed."""
        if self._closing:
            return
        self._closing = True
        for task in list(self._background):
            task.cancel()
        if self.call is not None:
            self._finish(self.call, "The server ends.", failed=False)
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end(_END_WITHIN)
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _wait_until_free(self) -> None:
        """A page that is loaded again, a client that calls again: the last call may just be ending."""
        until = time.monotonic() + _WAIT_FOR_STOP
        while (call := self.call) is not None and not self._closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(call.ended.wait(), _WAIT_FOR_NEWS)
            if self.call is call and (self.phase is not Phase.STOPPING or time.monotonic() > until):
                raise Busy("There is a call already, and this server has one at a time. Try again when it has ended.")
        if self._closing:
            raise StateError("The server ends.")

    # ---- the worker ------------------------------------------------------------------------------------------------

    async def _ready_worker(self) -> WorkerProcess:
        async with self._spawning:
            if self._closing:
                raise StateError("The server ends.")
            if self._worker is None:
                self._spawned = time.monotonic()
                self._beat = self._spawned + _FIRST_BEAT
                self._worker = await WorkerProcess.spawn(self)
                self._metrics.add("worker_starts_total")
            return self._worker

    async def _respawn(self) -> None:
        try:
            await self._ready_worker()
        except (OSError, StateError) as error:
            log.error("The engine's process cannot be started: %s", error)

    def on_end(self, worker: WorkerProcess, reason: str) -> None:
        """As `process.Listener` has it."""
        if worker is not self._worker:  # its end was asked for
            return
        self._worker, self.model = None, None
        self._metrics.add("worker_crashes_total")
        log.error("%s", reason)
        if self.call is not None:
            self._finish(self.call, reason, failed=True)
        else:
            self._publish({"type": "log", "level": "error", "text": reason})
            self._publish_state()
        if time.monotonic() - self._spawned > _SOON:
            self._in_background(self._respawn())

    async def _watch(self) -> None:
        """Ends a worker that hangs, that does not stop, or that nobody needs."""
        second = 0.0
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if now - second >= 1.0:
                second = now
                self._publish({"type": "heartbeat"})
            worker, call = self._worker, self.call
            if worker is None:
                continue
            problem = self._problem(now)
            if problem:
                log.error("%s", problem)
                if call is not None:
                    self._finish(call, problem, failed=True)
                self._worker, self.model = None, None
                worker.kill()
                self._metrics.add("worker_crashes_total")
                self._in_background(worker.end(0.0))
                self._in_background(self._respawn())
            elif call is None and self.model is not None and now - self._idle_since >= self.settings.idle_unload:
                log.info("Nobody called for %.0f s: the model's memory is given back.", self.settings.idle_unload)
                await self.unload()

    def _problem(self, now: float) -> str:
        call = self.call
        if now - self._beat > _NO_HEARTBEAT:
            return f"The engine's process did not answer for {_NO_HEARTBEAT:.0f} s and was ended."
        if call is not None and call.stop_by is not None and now > call.stop_by:
            return f"The engine did not stop within {_STOP_WITHIN:.0f} s; its process was ended."
        if self.phase is Phase.LISTENING and now - self._moved > _NO_FRAME:
            return f"The engine computed nothing for {_NO_FRAME:.0f} s: a driver hangs. Its process was ended."
        return ""

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("The server's supervision failed", exc_info=error)
            if self.call is not None:
                self._finish(self.call, f"The server failed: {error!r}", failed=True)

    # ---- its news --------------------------------------------------------------------------------------------------

    def on_audio(self, worker: WorkerProcess, data: bytes) -> None:
        """As `process.Listener` has it."""
        call = self.call
        if worker is self._worker and call is not None and call.peer is not None and call.listening.is_set():
            call.peer.on_audio(data)

    def on_news(self, worker: WorkerProcess, news: dict[str, Any]) -> None:
        """As `process.Listener` has it."""
        if worker is not self._worker:
            return
        call = self.call
        if "call" in news and (call is None or news.pop("call") != call.number):
            return  # of a call that is over
        match news["type"]:
            case "heartbeat":
                self._beat = time.monotonic()
            case "hello":
                self._beat = time.monotonic()
            case "model":
                self.model = news["name"]
            case "progress":
                self.progress = news["fraction"]
                self._publish_state()
            case "phase":
                self._on_phase(news["phase"], news["detail"])
            case "primed":
                self.progress = 1.0
                if call is not None and call.peer is None:
                    self.detail = "waiting for the browser's sound"
                self._publish_state()
            case "ended" if call is not None:
                self._finish(call, news["reason"], failed=news["error"])
            case "frame":
                self._on_frame(news)
            case "text":
                if call is not None and call.peer is not None:
                    call.peer.on_text(news["text"])
            case "log":
                log.log(logging.getLevelNamesMapping().get(news["level"].upper(), logging.INFO), "%s", news["text"])
                self._publish(news)
            case "transcript" | "speech":
                if self.settings.log_text and news.get("final"):
                    log.info("The model said: %s", news["text"])
                self._publish(news)

    def _on_phase(self, name: str, detail: str) -> None:
        call = self.call
        if call is None or (call.stop_by is not None and name != "stopping"):
            return
        if name == "listening" and call.began is None:
            call.began = self._moved = time.monotonic()
            call.listening.set()
            self._metrics.add("calls_total")
        self._enter(Phase(name), detail)

    def _on_frame(self, news: dict[str, Any]) -> None:
        self._moved = time.monotonic()
        user_db, model_db = news.pop("user_db"), news.pop("model_db")
        self._metrics.frame(news["step_ms"], late=news["late"], shed_ms=news["shed_ms"])
        self._publish(news)
        self._publish({"type": "levels", "user_db": user_db, "model_db": model_db})

    def _finish(self, call: ServerCall, reason: str, *, failed: bool) -> None:
        call.reason, call.failed = reason, failed
        self.call, self._muted = None, False
        self._idle_since = time.monotonic()
        call.ended.set()
        self.reason = reason if failed else None
        if failed:
            self._metrics.add("calls_failed_total")
            self._publish({"type": "log", "level": "error", "text": reason})
        self._enter(Phase.FAILED if failed else Phase.READY)

    def _enter(self, phase: Phase, detail: str = "") -> None:
        if phase is Phase.LOADING:
            self.reason = None
        if phase is not self.phase:
            self.progress = None
        self.phase, self.detail = phase, detail
        self._publish_state()

    def _publish_state(self) -> None:
        self._revision += 1
        self._publish({"type": "state", **self.status()})

    def _publish(self, event: dict[str, Any]) -> None:
        event.setdefault("time", round(time.time(), 3))
        self._hub.publish(event)
