"""What was said, and when: text pieces of a conversation as frames, words and JSON."""

from dataclasses import dataclass
from typing import Any, Protocol

from pymoshi.text import Tokenizer

FRAME_SECONDS = 0.08
_SPECIAL = {0: "EPAD", 1: "BOS", 2: "EOS", 3: "PAD"}  # as NVIDIA's offline script names them


@dataclass(slots=True)
class Word:
    """A word and its time in the audio, in seconds."""

    text: str
    start: float
    end: float


class Spoken(Protocol):
    """What a transcript needs of a frame: a `Frame` has it, and so has a conversation's `FrameRecord`."""

    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def text_token(self) -> int | None: ...


class Transcript:
    """Collects the model's text, frame by frame."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self.tokens: list[int | None] = []
        """One per frame; None while the delays fill."""
        self.pieces: list[tuple[float, str]] = []
        """(seconds, text) of the frames that brought text."""

    def add(self, frame: Spoken) -> None:
        """The next frame."""
        self.tokens.append(frame.text_token)
        if frame.text:
            self.pieces.append((round(frame.index * FRAME_SECONDS, 2), frame.text))

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(piece for _, piece in self.pieces).strip()

    @property
    def words(self) -> list[Word]:
        """The words, each from its first piece to the end of its last."""
        words: list[Word] = []
        for seconds, piece in self.pieces:
            end = round(seconds + FRAME_SECONDS, 2)
            if piece.startswith(" ") or not words:
                words.append(Word(piece.strip(), seconds, end))
            else:
                words[-1].text += piece.strip()
                words[-1].end = end
        return [word for word in words if word.text]

    @property
    def frame_pieces(self) -> list[str | None]:
        """One piece of text a frame, as NVIDIA's offline script writes them: EPAD, BOS, EOS and PAD have names.

        Frames while the delays fill have no piece; without a tokenizer each piece is None.
        """
        return [self._frame_piece(token) for token in self.tokens if token is not None]

    def as_json(self) -> dict[str, Any]:
        """text, words, pieces with times, tokens, and `frames`: one piece per frame, as NVIDIA's script writes them."""
        return {
            "frame_seconds": FRAME_SECONDS,
            "text": self.text,
            "words": [{"start": word.start, "end": word.end, "text": word.text} for word in self.words],
            "pieces": [{"time": seconds, "text": piece} for seconds, piece in self.pieces],
            "tokens": self.tokens,
            "frames": [self._frame_piece(token) for token in self.tokens],
        }

    def _frame_piece(self, token: int | None) -> str | None:
        if token is None or self._tokenizer is None:
            return None
        return _SPECIAL.get(token) or self._tokenizer.piece(token).replace("\N{LOWER ONE EIGHTH BLOCK}", " ")


class Lines:
    """Text as it comes, cut into lines that people read: at pauses, and where a line gets long."""

    def __init__(self, *, longest: int = 76, pause: float = 1.2) -> None:
        self._longest = longest
        self._pause = pause
        self._start = 0.0
        self._last = 0.0
        self.current = ""
        """The line that is being said."""

    def add(self, seconds: float, piece: str) -> str | None:
        """The next frame's text, "" if it has none. Returns a line, "[mm:ss.s] text", when one is complete."""
        # The model can say any byte; a terminal must not obey it.
        piece = "".join(letter if letter.isprintable() else " " for letter in piece)
        silent = not piece and seconds - self._last >= self._pause
        full = piece.startswith(" ") and len(self.current) + len(piece) > self._longest
        line = self.flush() if silent or full else None
        if piece:
            if not self.current:
                self._start, piece = seconds, piece.lstrip()
            self.current += piece
            self._last = seconds
        return line

    def flush(self) -> str | None:
        """The line that is being said, as it is; None if there is none."""
        text, self.current = self.current.strip(), ""
        return f"[{clock(self._start)}] {text}" if text else None


def clock(seconds: float) -> str:
    """Seconds as mm:ss.s."""
    tenths = round(seconds * 10)
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
