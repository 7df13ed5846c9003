"""One call in the worker: load, prime, converse; all that happens is told to the server."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from pymoshi.audio.ports import AudioSink, AudioSource
from pymoshi.conversation import (
    Conversation,
    Ended,
    Event,
    FrameDone,
    FrameRecord,
    Notice,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TextPiece,
)
from pymoshi.dialogue import printable
from pymoshi.errors import Cancelled, InputError, PymoshiError
from pymoshi.model import Model, load
from pymoshi.server.options import CallOptions, Mode
from pymoshi.server.role import choose_role

if TYPE_CHECKING:
    from pymoshi.server.opus import OpusSource
    from pymoshi.server.worker import Outbox

_STEP: Final = 0.01  # of a progress that is worth telling
_RUNNING: Final = (State.LISTENING, State.SPEAKING, State.MUTED, State.TOO_SLOW, State.DEVICE_LOST)
_KINDS: Final = ("temperature", "text_temperature", "top_k", "text_top_k", "context", "seed")

Post = Callable[[dict[str, Any]], None]


class Models:
    """The model that is loaded: it stays for the next call."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._key: tuple[Any, ...] = ()
        self._model: Model | None = None

    def get(self, name: str, settings: dict[str, Any], progress: Callable[[float], bool]) -> Model:
        """The model of that name, loaded if it is not. Raises what `load` raises."""
        key = (name, *sorted(settings.items()))
        if self._model is None or key != self._key:
            self.unload()
            self._model = load(name, **settings, progress=progress)
            self._key = key
            self._post({"type": "model", "name": self._model.name})
        return self._model

    def unload(self) -> None:
        """Gives its memory back."""
        if self._model is not None:
            self._model.close()
            self._model = None
            self._post({"type": "model", "name": None})


class Call:
    """`run` belongs to the main thread, everything else to the one that reads commands.

    number: chosen by the server. settings: what `load` takes besides the name, and `record_to`, `prepared_timeout`.
    """

    def __init__(
        self,
        number: int,
        mode: Mode,
        options: CallOptions,
        settings: dict[str, Any],
        outbox: "Outbox",
        models: Models,
    ) -> None:
        self.number = number
        self._mode = mode
        self._options = options
        self._load_settings: dict[str, Any] = settings["load"]
        self._record_to: str | None = settings["record_to"]
        self._prepared_timeout: float = settings["prepared_timeout"]
        self._outbox = outbox
        self._models = models
        self._stopping = threading.Event()
        self._attached = threading.Event()
        self._source: OpusSource | None = None
        self._heard = time.monotonic()
        self._conversation: Conversation | None = None
        self._muted = False
        self._failure = ""
        self._line: list[TextPiece] = []  # the model's words since its last pause

    # ---- commands ------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """The peer is there: a new stream begins."""
        from pymoshi.server.opus import OpusSource

        self._source = OpusSource()
        self._heard = time.monotonic()
        self._attached.set()

    def hear(self, data: bytes) -> None:
        """Bytes of the peer's stream. Raises InputError."""
        if self._source is not None and not self._stopping.is_set():
            now = time.monotonic()
            elapsed, self._heard = now - self._heard, now
            self._source.feed(data, elapsed)

    def mute(self, muted: bool) -> None:
        """Whether the model hears silence from now on."""
        self._muted = muted
        if self._conversation is not None:
            self._set_mute(self._conversation)

    def _set_mute(self, conversation: Conversation) -> None:
        if self._muted:
            conversation.mute()
        else:
            conversation.unmute()

    def fail(self, reason: str) -> None:
        """Ends it with an error."""
        self._failure = self._failure or reason
        self.stop()

    def stop(self) -> None:
        """Ends it, whatever it is doing."""
        self._stopping.set()
        self._attached.set()
        if self._conversation is not None:
            self._conversation.stop()

    # ---- the main thread -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """All of it; never raises."""
        reason = "stopped"
        try:
            with ExitStack() as stack:
                reason = self._converse(stack)
        except Cancelled:
            pass
        except PymoshiError as error:
            self._failure = self._failure or str(error)
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}. Please report this defect of pymoshi."
        self._flush()
        self._post(
            {"type": "ended", "call": self.number, "reason": self._failure or reason, "error": self._failure != ""}
        )

    def _converse(self, stack: ExitStack) -> str:
        ports = self._open_devices(stack) if self._mode == "machine" else None
        self._enter("loading", self._options.model or "")
        model = self._models.get(self._options.model or "demo", self._load_settings, self._progress())
        voice, prompt, remark = choose_role(model, self._options)
        if remark:
            self._log("warning", remark)
        self._enter("priming")
        wanted = {name: getattr(self._options, name) for name in _KINDS}
        session = stack.enter_context(model.session(voice=voice, prompt=prompt, **wanted, progress=self._progress()))
        source, sink = ports or self._wait_for_peer()
        conversation = Conversation(session, source=source, sink=sink, record=self._record_to, muted=self._muted)
        self._conversation = conversation
        self._set_mute(conversation)  # it may have changed meanwhile
        if self._stopping.is_set():
            raise Cancelled("stopped")
        reason = "stopped"
        with conversation:
            for event in conversation:
                self._tell(event)
                if isinstance(event, Ended):
                    reason = event.reason
        return reason

    def _open_devices(self, stack: ExitStack) -> tuple[AudioSource, AudioSink]:
        """The sound comes first: a machine without a microphone should say so before it loads for half a minute."""
        from pymoshi.audio.stream import open_duplex

        cancel = self._options.echo_cancel is not False
        stream = open_duplex(self._options.input_device, self._options.output_device, echo_cancel=cancel)
        stack.callback(stream.close)
        return stream, stream

    def _wait_for_peer(self) -> tuple[AudioSource, AudioSink]:
        from pymoshi.server.opus import OpusSink

        self._post({"type": "primed", "call": self.number})
        if not self._attached.wait(self._prepared_timeout):
            raise InputError("The browser that this call was prepared for did not send any sound.")
        if self._stopping.is_set() or self._source is None:
            raise Cancelled("stopped")
        self._source.begin()
        return self._source, OpusSink(self._outbox.send)

    def _progress(self) -> Callable[[float], bool]:
        told = -1.0

        def report(fraction: float) -> bool:
            nonlocal told
            if fraction - told >= _STEP or (fraction == 1.0 and told < 1.0):
                told = fraction
                self._post({"type": "progress", "call": self.number, "fraction": round(fraction, 3)})
            return not self._stopping.is_set()

        return report

    # ---- what the server is told -----------------------------------------------------------------------------------

    def _post(self, news: dict[str, Any]) -> None:
        self._outbox.post(news)

    def _enter(self, phase: str, detail: str = "") -> None:
        self._post({"type": "phase", "call": self.number, "phase": phase, "detail": detail})

    def _log(self, level: str, text: str) -> None:
        self._post({"type": "log", "level": level, "text": text})

    def _tell(self, event: Event) -> None:
        match event:
            case FrameDone(record=record):
                self._outbox.frames += 1
                self._post({"type": "frame", **_figures(record)})
            case TextPiece(time=when, text=text):
                self._line.append(event)
                self._post({"type": "text", "text": text})
                self._post_transcript(when, text, final=False)
            case SpeechStarted(time=when, who=who):
                self._post({"type": "speech", "who": who, "start": when, "end": None})
            case SpeechEnded(time=when, who=who, seconds=seconds):
                self._post({"type": "speech", "who": who, "start": round(when - seconds, 2), "end": when})
                if who == "model":
                    self._flush()
            case StateChanged(state=state, detail=detail) if state in _RUNNING:
                self._enter("listening", detail if state in (State.TOO_SLOW, State.DEVICE_LOST) else state.value)
            case StateChanged(state=State.STOPPING):
                self._enter("stopping")
            case Notice(level=level, text=text):
                self._log(level, text)

    def _flush(self) -> None:
        """Tells all of what the model said since its last pause."""
        if self._line:
            self._post_transcript(self._line[0].time, "".join(piece.text for piece in self._line).strip(), final=True)
            self._line.clear()

    def _post_transcript(self, when: float, text: str, *, final: bool) -> None:
        self._post({"type": "transcript", "who": "model", "text": printable(text), "time": when, "final": final})


def _figures(record: FrameRecord) -> dict[str, Any]:
    names = ("encode_ms", "lm_ms", "decode_ms", "step_ms", "backlog_ms", "queued_ms", "shed_ms", "user_db", "model_db")
    rounded = {name: round(getattr(record, name), 2) for name in names}
    return {"index": record.index, "late": record.late, "underruns": record.underruns, **rounded}
