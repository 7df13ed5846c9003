"""The minutes of a conversation: what was said, when and how fast, and the files that tell of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pymoshi
from pymoshi.audio import files
from pymoshi.cli.output import check_outputs, write_json
from pymoshi.cli.role import Role
from pymoshi.conversation import Ended, Event, FrameDone, FrameRecord, SpeechEnded, SpeechStarted, TextPiece
from pymoshi.dialogue import Dialogue
from pymoshi.session import Session
from pymoshi.transcript import Transcript
from pymoshi.transcript_formats import check_transcript, write_transcript


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, None for those that were not asked for."""

    record: Path | None = None
    transcript: Path | None = None
    output_text: Path | None = None
    replay: Path | None = None

    def check(self, inputs: list[Path], others: list[Path]) -> None:
        """Finds what is wrong with them before the work. Raises InputError, AudioFileError.

        others: files that are written, too.
        """
        mine = [self.record, self.transcript, self.output_text, self.replay]
        check_outputs(inputs, [*others, *(path for path in mine if path is not None)])
        if self.transcript is not None:
            check_transcript(self.transcript)
        if self.record is not None:
            files.check_writable(self.record)


@dataclass
class Stats:
    """How fast it went."""

    load_seconds: float = 0.0
    start_seconds: float = 0.0
    """Of voice and prompt, mostly."""
    wall_seconds: float = 0.0
    encode_ms: list[float] = field(default_factory=list)
    lm_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    late: int = 0
    shed_ms: float = 0.0
    underruns: int = 0
    overruns: int = 0

    def add(self, record: FrameRecord) -> None:
        """The next frame."""
        self.encode_ms.append(record.encode_ms)
        self.lm_ms.append(record.lm_ms)
        self.decode_ms.append(record.decode_ms)
        self.late += record.late
        self.shed_ms += record.shed_ms
        self.underruns, self.overruns = record.underruns, record.overruns

    @property
    def audio_seconds(self) -> float:
        """Of conversation."""
        return len(self.lm_ms) * 0.08

    @property
    def speed(self) -> str:
        """Seconds of conversation per second."""
        return f"{self.audio_seconds / max(self.wall_seconds, 1e-9):.2f}x real time"

    def as_json(self) -> dict[str, Any]:
        """For a transcript."""
        spans = {"encode_ms": self.encode_ms, "lm_ms": self.lm_ms, "decode_ms": self.decode_ms}
        return {
            "frames": len(self.lm_ms),
            "audio_seconds": round(self.audio_seconds, 2),
            "wall_seconds": round(self.wall_seconds, 3),
            "load_seconds": round(self.load_seconds, 3),
            "start_seconds": round(self.start_seconds, 3),
            "realtime_factor": round(self.audio_seconds / max(self.wall_seconds, 1e-9), 3),
            "late": self.late,
            "shed_ms": round(self.shed_ms, 1),
            "underruns": self.underruns,
            "overruns": self.overruns,
            **{
                name: {"mean": round(fmean(span), 3), "max": round(max(span), 3)}
                for name, span in spans.items()
                if span
            },
        }


class Minutes:
    """Collects them, as an observer of the conversation (exact) and of its events (who spoke when)."""

    def __init__(self, *, source: str, target: str) -> None:
        self.role = Role()
        self.stats = Stats()
        self.dialogue = Dialogue()
        self.transcript = Transcript(None)
        self.complete = False
        """Whether it came to its end, and was not broken off."""
        self.details: dict[str, Any] = {}
        """Model and settings, once there is a session."""
        self.context = 0
        self.primed = 0
        """Frames that voice and prompt took."""
        self._places = {"input": source, "output": target}
        self._created = self._begun = time.perf_counter()

    @property
    def begun(self) -> bool:
        """Whether there was a session."""
        return bool(self.details)

    def meet(self, role: Role) -> None:
        """Who the model is; from here on it is told so."""
        self.role = role
        self._created = time.perf_counter()

    def begin(self, session: Session) -> None:
        """Before the first frame."""
        self._begun = time.perf_counter()
        self.stats.start_seconds = self._begun - self._created
        self.transcript = Transcript(session.model.tokenizer)
        self.context, self.primed = session.context, session.offset
        self.details = _describe(session, self.role, self._places)

    def add(self, record: FrameRecord) -> None:
        """The next frame."""
        self.transcript.add(record)
        self.stats.add(record)
        self.stats.wall_seconds = time.perf_counter() - self._begun

    def hear(self, event: Event) -> None:
        """The next event."""
        match event:
            case TextPiece(time, text):
                self.dialogue.say(time, text)
            case SpeechStarted(time, who):
                self.dialogue.begin(time, who)
            case SpeechEnded(time, who, _):
                self.dialogue.end(time, who)
            case FrameDone(time, _):
                self.dialogue.pass_to(time)
            case Ended(time, _):
                self.dialogue.pass_to(time)

    def write(self, outputs: Outputs) -> None:
        """Transcript and texts, with what there is; nothing if the conversation never began. Raises PymoshiError."""
        if not self.begun:
            return
        if outputs.transcript is not None:
            write_transcript(outputs.transcript, self.dialogue, self.report())
        if outputs.output_text is not None:
            write_json(outputs.output_text, self.transcript.frame_pieces)

    def report(self) -> dict[str, Any]:
        """All that a JSON transcript says but the turns."""
        return {
            "format": "pymoshi-transcript-1",
            "pymoshi": pymoshi.__version__,
            **self.details,
            "complete": self.complete,
            **self.transcript.as_json(),
            "stats": self.stats.as_json(),
        }


def _describe(session: Session, role: Role, places: dict[str, str]) -> dict[str, Any]:
    info = session.model.info
    return {
        "model": {
            "name": session.model.name,
            "type": info.model_type,
            "weights": info.weight_type,
            "fingerprint": f"{info.fingerprint:016x}",
        },
        **places,
        "seed": session.seed,
        "settings": {
            "voice": role.voice_name,
            "prompt": role.prompt or "",
            **session.sampling,
            "context": session.context,
            "device": info.device,
            "threads": info.n_threads,
        },
    }


@contextmanager
def measured(stats: Stats) -> Iterator[None]:
    """Loading, with its time."""
    started = time.perf_counter()
    yield
    stats.load_seconds = time.perf_counter() - started
