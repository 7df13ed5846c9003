"""Live conversations: the real-time loop, its events, and `Conversation`, which puts them together."""

from pymoshi.conversation.conversation import Conversation
from pymoshi.conversation.events import (
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
)
from pymoshi.conversation.loop import LoopStats, Observer

__all__ = [
    "Conversation",
    "Ended",
    "Event",
    "FrameDone",
    "FrameRecord",
    "LoopStats",
    "Notice",
    "Observer",
    "Progress",
    "SpeechEnded",
    "SpeechStarted",
    "State",
    "StateChanged",
    "TextPiece",
]
