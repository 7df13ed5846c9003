"""What happens in a conversation, as it is told to whoever iterates over it.

`time` is seconds of conversation: the frame's index times 80 ms, 0 before the first frame.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Who = Literal["user", "model"]
Level = Literal["info", "warning"]

FRAME_SECONDS = 0.08
SILENCE_DB = -120.0  # what a meter shows for digital silence


class State(StrEnum):
    """What a conversation is doing now. Where several are true, the one further down is shown, up to `device_lost`."""

    LOADING = "loading"
    PRIMING = "priming"
    """The model is told its voice and its prompt."""
    LISTENING = "listening"
    SPEAKING = "speaking"
    """The model is."""
    MUTED = "muted"
    """The model hears silence."""
    TOO_SLOW = "too_slow"
    """This machine does not compute 12.5 frames a second."""
    DEVICE_LOST = "device_lost"
    """Microphone or speaker went away; the conversation goes on in silence until it is back."""
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, eq=False)
class FrameRecord:
    """All that is known about one frame of 80 ms: what meters, logs, recordings and tests read."""

    index: int
    """0 for the first; the conversation counts no frame twice and leaves none out."""
    heard: NDArray[np.float32]
    """What the model was given, [1920]: after echo cancelling and muting."""
    said: NDArray[np.float32]
    """The model's voice, [1920], before the volume."""
    silenced: bool
    """The sink was given silence instead: the model was interrupted, and has not stopped yet. See `played`."""
    text: str
    text_token: int | None
    """None while the delays fill."""
    codes: NDArray[np.int32] | None
    """The model's audio codes, [n_agent]; None while the delays fill."""
    user_codes: NDArray[np.int32]
    """What the codec heard, [n_user]."""
    forced_text: int | None
    """The text token that was put into the model's mouth, if one was."""
    encode_ms: float
    lm_ms: float
    decode_ms: float
    step_ms: float
    """All of the computing, as the loop sees it."""
    wait_ms: float
    """How long the loop waited for the input."""
    late: bool
    """Done more than 80 ms after the last of its input had arrived: the next one waited."""
    backlog_ms: float
    """Input that waited when this frame was begun, itself not counted."""
    queued_ms: float
    """Output that waits to be played, this frame included."""
    shed_ms: float
    """Input that was thrown away just before this frame because too much waited."""
    underruns: int
    """Of the sink, so far; and the source's overruns."""
    overruns: int
    user_db: float
    """RMS of `heard` in dBFS, -120 for digital silence; and of `played`."""
    model_db: float

    @property
    def time(self) -> float:
        """Seconds of conversation at this frame's begin."""
        return self.index * FRAME_SECONDS

    @property
    def played(self) -> NDArray[np.float32]:
        """What was handed to the sink, [1920], before the volume."""
        return np.zeros_like(self.said) if self.silenced else self.said


@dataclass(frozen=True, slots=True)
class StateChanged:
    time: float
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of loading and priming, 0 to 1."""

    time: float
    what: str
    fraction: float


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The model's words as they come: a piece of a word, with its leading space."""

    time: float
    text: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Heard by level, not by meaning. `time` is when the speech began, some 100 ms before this event."""

    time: float
    who: Who


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """`time` is when the speech ended, the detector's hangover before this event."""

    time: float
    who: Who
    seconds: float
    """How long it was."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameDone:
    """The first to be left out if events are not fetched in time."""

    time: float
    record: FrameRecord


@dataclass(frozen=True, slots=True)
class Notice:
    """For a person to read."""

    time: float
    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of every conversation that did not fail."""

    time: float
    reason: str
    """ "the input ended", "stopped"."""


Event = StateChanged | Progress | TextPiece | SpeechStarted | SpeechEnded | FrameDone | Notice | Ended
