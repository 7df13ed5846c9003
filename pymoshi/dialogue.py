"""Who spoke when: both sides of a conversation as turns with times.

The model's side has its words. Of the user's side there is when somebody spoke, but not what: these models hear speech
as codes and write down their own text only.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pymoshi.transcript import FRAME_SECONDS

Who = Literal["user", "model"]

PAUSE_SECONDS = 1.2  # of no words: the next one begins a new turn, as in `pymoshi.transcript.Lines`
LONGEST_TEXT = 84  # two lines of subtitles
LONGEST_SECONDS = 7.0  # that a subtitle is shown


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said without a pause."""

    who: Who
    start: float
    """Seconds of conversation, as is end."""
    end: float
    text: str
    """ "" for the user."""


class Dialogue:
    """Collects the turns of both sides, in the order in which they become known."""

    def __init__(self) -> None:
        self._pieces: list[tuple[float, str]] = []
        self._spans: dict[Who, list[tuple[float, float]]] = {"user": [], "model": []}
        self._open: dict[Who, float] = {}
        self._last = 0.0

    def say(self, time: float, text: str) -> None:
        """The model's text of the frame at this time; "" is allowed."""
        self._last = max(self._last, time + FRAME_SECONDS)
        if text:
            self._pieces.append((time, text))

    def begin(self, time: float, who: Who) -> None:
        """Somebody starts to speak."""
        self._last = max(self._last, time)
        self._open.setdefault(who, time)

    def end(self, time: float, who: Who) -> None:
        """Somebody stops."""
        self._last = max(self._last, time)
        start = self._open.pop(who, None)
        if start is not None and time > start:
            self._spans[who].append((start, time))

    def pass_to(self, time: float) -> None:
        """The conversation has come so far: where a turn that nobody ended ends."""
        self._last = max(self._last, time)

    def spans(self, who: Who) -> list[tuple[float, float]]:
        """When there was sound of speech from that side, (start, end) in seconds; what goes on ends now."""
        start = self._open.get(who)
        still = [] if start is None or start >= self._last else [(start, self._last)]
        return self._spans[who] + still

    @property
    def turns(self) -> list[Turn]:
        """Both sides, by their beginnings."""
        user = [Turn("user", start, end, "") for start, end in self.spans("user")]
        return sorted(user + self._model_turns(), key=lambda turn: (turn.start, turn.end))

    def _model_turns(self) -> list[Turn]:
        turns: list[Turn] = []
        start, last, text = 0.0, 0.0, ""

        def close() -> None:
            if shown := printable(text).strip():
                turns.append(Turn("model", start, last + FRAME_SECONDS, shown))

        for time, piece in self._pieces:
            new_word = piece.startswith(" ")
            full = new_word and (len(text) + len(piece) > LONGEST_TEXT or time - start > LONGEST_SECONDS)
            if text and (full or time - last >= PAUSE_SECONDS):
                close()
                text = ""
            if not text:
                start = time
            text += piece
            last = time
        close()
        return turns

    def as_json(self) -> dict[str, Any]:
        """turns with their texts, and the spans of each side."""
        return {
            "turns": [
                {"who": turn.who, "start": round(turn.start, 2), "end": round(turn.end, 2), "text": turn.text}
                for turn in self.turns
            ],
            "speech": {
                who: [[round(start, 2), round(end, 2)] for start, end in self.spans(who)] for who in ("user", "model")
            },
        }


def printable(text: str) -> str:
    """Text of the model without what a terminal or a player would obey: it can say any byte."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
