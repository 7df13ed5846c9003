"""What a person sees of a conversation, as data: it follows the events, and knows nothing of terminals."""

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, Protocol, Self

from pymoshi.conversation.events import (
    SILENCE_DB,
    Ended,
    Event,
    FrameDone,
    FrameRecord,
    Notice,
    Progress,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TextPiece,
    Who,
)
from pymoshi.conversation.loop import LoopStats
from pymoshi.dialogue import PAUSE_SECONDS, printable

_RECENT: Final = 25  # frames over which times are averaged: 2 s
_FALL_DB: Final = 2.0  # a meter falls by this much a frame, so that eyes can follow it
_KEPT_ENTRIES: Final = 300
_NOTICE_SECONDS: Final = 8.0


class View(Protocol):
    """Shows events, one way or another. A context manager."""

    def handle(self, event: Event) -> None:
        """The next event."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


@dataclass(slots=True)
class Entry:
    """A line of the running transcript."""

    time: float
    who: Who
    text: str
    last: float
    """When the last of it was said."""
    going_on: bool = True


@dataclass(slots=True)
class Picture:
    """The conversation as it stands."""

    title: str = ""
    """Model, voice, device."""
    context: int = 0
    """Frames that the model remembers; 0 while that is unknown."""
    primed: int = 0
    """Frames of them that voice and prompt took."""
    keeping: tuple[str, ...] = ()
    """What is being written: "recording", "replay", ..."""
    push_to_talk: bool = False
    keys: bool = False
    """Whether keys are heard."""
    state: State = State.LOADING
    detail: str = ""
    progress: float | None = None
    progress_what: str = ""
    time: float = 0.0
    muted: bool = False
    volume: float = 1.0
    user_db: float = SILENCE_DB
    model_db: float = SILENCE_DB
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=_KEPT_ENTRIES))
    recent: deque[FrameRecord] = field(default_factory=lambda: deque(maxlen=_RECENT))
    frames: int = 0
    late: int = 0
    shed_ms: float = 0.0
    underruns: int = 0
    overruns: int = 0
    xruns: int = 0
    """What the sound card's driver reported."""
    notice: Notice | None = None

    def take(self, event: Event) -> None:
        """Brings the picture up to date."""
        match event:
            case StateChanged(_, state, detail):
                self.state, self.detail = state, detail
                if state not in (State.LOADING, State.PRIMING):
                    self.progress = None
            case Progress(_, what, fraction):
                self.progress_what, self.progress = what, fraction
            case FrameDone(_, record):
                self._take_frame(record)
            case TextPiece(time, text):
                self._take_text(time, text)
            case SpeechStarted(time, "user"):
                self.entries.append(Entry(time, "user", "", time))
            case SpeechEnded(time, "user", _):
                if entry := self._open("user"):
                    entry.last, entry.going_on = time, False
            case Notice():
                self.notice = event
            case Ended(_, reason):
                self.state, self.detail = State.ENDED, reason

    def count(self, stats: LoopStats) -> None:
        """The numbers, from where they are exact: events may be left out, these are not."""
        self.late, self.shed_ms = stats.late, stats.shed_ms
        self.underruns, self.overruns, self.xruns = stats.underruns, stats.overruns, stats.xruns

    def _take_frame(self, record: FrameRecord) -> None:
        self.recent.append(record)
        self.frames = record.index + 1
        self.time = record.time
        self.user_db = max(record.user_db, self.user_db - _FALL_DB)
        self.model_db = max(record.model_db, self.model_db - _FALL_DB)
        if self.notice is not None and record.time - self.notice.time > _NOTICE_SECONDS:
            self.notice = None

    def _take_text(self, time: float, text: str) -> None:
        entry = self._open("model")
        if entry is None or time - entry.last >= PAUSE_SECONDS:
            if entry is not None:
                entry.going_on = False
            entry = Entry(time, "model", "", time)
            self.entries.append(entry)
        entry.text += printable(text)
        entry.last = time

    def _open(self, who: Who) -> Entry | None:
        return next((entry for entry in reversed(self.entries) if entry.who == who and entry.going_on), None)

    def mean_ms(self, stage: str) -> float:
        """Of "encode_ms", "lm_ms", "decode_ms" or "step_ms", over the last 2 s."""
        return fmean(getattr(record, stage) for record in self.recent) if self.recent else 0.0

    @property
    def context_used(self) -> float:
        """Of what the model can remember, 0 to 1."""
        return min(1.0, (self.primed + self.frames) / self.context) if self.context else 0.0
