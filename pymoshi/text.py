"""The tokenizer: text tokens of the model as text that people read, and prompts as tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import sentencepiece

from pymoshi.errors import InputError, ModelFormatError, ModelNotFoundError

_LARGEST_FILE: Final = 64 << 20  # published tokenizers have half a megabyte
_SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
SILENT_TOKENS: Final = frozenset({0, 1, 2, 3})
"""End of padding, beginning and end of sequence, padding: moments of the conversation, not text."""


class Tokenizer:
    """A SentencePiece model.

    Raises ModelNotFoundError if the file cannot be read, ModelFormatError if it is not a SentencePiece model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        serialized = self._read()
        sentencepiece.set_min_log_level(3)  # its complaint would go to stderr; ours is an exception
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(serialized)
            self.vocabulary_size = int(self._processor.GetPieceSize())
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelFormatError(
                f"{self.path} is not a SentencePiece model ({error}). Fetch the model's tokenizer file again."
            ) from error
        if self.vocabulary_size == 0:
            raise ModelFormatError(f"{self.path} is a SentencePiece model without a vocabulary.")

    def _read(self) -> bytes:
        try:
            size = self.path.stat().st_size
            if size > _LARGEST_FILE:
                raise ModelFormatError(
                    f"{self.path} has {size / 1e6:.0f} MB, which is not a tokenizer; published ones have 0.5 MB."
                )
            serialized = self.path.read_bytes()
        except OSError as error:
            raise ModelNotFoundError(f"The tokenizer {self.path} cannot be read: {error.strerror}.") from error
        if not serialized:
            raise ModelFormatError(f"The tokenizer {self.path} is empty.")
        return serialized

    def piece(self, token: int) -> str:
        """The token as SentencePiece writes it, "▁" for a space; "" for tokens that are not in the vocabulary."""
        return str(self._processor.IdToPiece(token)) if 0 <= token < self.vocabulary_size else ""

    def byte(self, token: int) -> int | None:
        """The byte that the token stands for, if it is one of those for characters outside of the vocabulary."""
        if 0 <= token < self.vocabulary_size and self._processor.IsByte(token):
            return int(self.piece(token)[3:5], 16)  # "<0xE2>"
        return None

    def encode(self, text: str) -> list[int]:
        """Text as tokens, without those for beginning and end. Raises InputError if it is not proper Unicode."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"The text is not proper Unicode: {error.reason}.") from error
        return [int(token) for token in self._processor.EncodeAsIds(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a whole sequence of the model's tokens, silent ones included."""
        stream = self.stream()
        return "".join([stream.push(token) for token in tokens]) + stream.flush()

    def stream(self, pending: bytes = b"") -> "TextStream":
        """Turns one token after the other into text, going on after the bytes of an incomplete character."""
        return TextStream(self, pending)


class TextStream:
    """Text as it comes. A character that arrives in several bytes is given back with its last one."""

    def __init__(self, tokenizer: Tokenizer, pending: bytes = b"") -> None:
        self._tokenizer = tokenizer
        self._bytes = bytearray(pending)

    @property
    def pending(self) -> bytes:
        """The bytes of a character that is not complete yet."""
        return bytes(self._bytes)

    def push(self, token: int) -> str:
        """What the token adds to the text."""
        if token in SILENT_TOKENS:
            return ""  # padding may come between the bytes of one character
        byte = self._tokenizer.byte(token)
        if byte is None:
            return self.flush() + self._tokenizer.piece(token).replace(_SPACE, " ")
        self._bytes.append(byte)
        try:
            character = self._bytes.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                return ""
            # The bytes before this one led nowhere, but this one may begin a character.
            self._bytes = bytearray([byte]) if 0xC0 <= byte < 0xF8 and len(self._bytes) > 1 else bytearray()
            return _REPLACEMENT
        self._bytes.clear()
        return character

    def flush(self) -> str:
        """What is left at the end, or before something else: an incomplete character becomes one replacement."""
        left = _REPLACEMENT if self._bytes else ""
        self._bytes.clear()
        return left
