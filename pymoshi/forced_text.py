"""Text laid out as the model's inner monologue, one token a frame, to be forced with `Session.force_text`.

Moshi was trained on transcripts with times: a word's pieces stand on consecutive frames from where its sound begins,
padding follows until the sound is over, and one "end of padding" announces the next word. The same layout is made here
with estimated durations, since nobody has spoken yet:

    for token in forced_text.monologue(model.tokenizer, "Let us talk about the weather."):
        session.force_text(token)
        frame = session.step(microphone())

Experimental, as forcing is.
"""

from collections.abc import Iterator
from typing import Final

from pymoshi.errors import InputError
from pymoshi.options import real
from pymoshi.text import SILENT_TOKENS, Tokenizer

__all__ = ["END_OF_PADDING", "PADDING", "monologue", "silence"]

END_OF_PADDING: Final = 0
PADDING: Final = 3
"""What published models use; `ModelInfo.text_padding` has a model's own."""

# Conversational English runs at some 15 letters a second (3 to 4 text tokens), 12.5 frames a second.
_FRAMES_PER_LETTER: Final = 0.85
_SHORTEST_WORD: Final = 2  # frames
_PAUSES: Final = {",": 3, ";": 3, ":": 3, ".": 6, "!": 6, "?": 6, "\N{HORIZONTAL ELLIPSIS}": 6}  # frames after a word
_CLOSING: Final = "\"')]}\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
_WORD_START: Final = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes the space before a word
_SLOWEST, _FASTEST = 0.25, 4.0


def monologue(tokenizer: Tokenizer, text: str, *, speed: float = 1.0, padding: int = PADDING) -> list[int]:
    """The text tokens of consecutive frames, 80 ms each, in which a model says `text`.

    speed: 1 for a conversational 3 to 4 tokens a second; 2 for twice as fast (0.25 to 4).
    padding: the model's, `ModelInfo.text_padding`.

    Raises InputError if there is nothing in the text that the tokenizer knows, or for a speed that cannot be.
    """
    pace = float(real("speed", speed, _SLOWEST, _FASTEST))
    tokens = [END_OF_PADDING]
    for pieces, spelled in _words(tokenizer, text):
        if tokens[-1] == padding:
            tokens[-1] = END_OF_PADDING
        tokens += pieces
        tokens += [padding] * max(0, round(_frames(spelled) / pace) - len(pieces))
    if len(tokens) == 1:
        raise InputError(f"There is nothing to say in {text!r:.80}: the model's tokenizer knows none of it.")
    return tokens


def silence(frames: int, padding: int = PADDING) -> list[int]:
    """Text tokens of that many frames in which a model is to say nothing, e.g. to make it stop."""
    return [padding] * frames


def _words(tokenizer: Tokenizer, text: str) -> Iterator[tuple[list[int], str]]:
    """Each word's tokens, and how it is spelled."""
    words: list[list[int]] = [[]]
    for token in tokenizer.encode(text):
        if token in SILENT_TOKENS:  # a character outside of the vocabulary; as text it would end the padding
            continue
        if tokenizer.piece(token).startswith(_WORD_START):
            words.append([])
        words[-1].append(token)
    for pieces in words:
        spelled = tokenizer.decode(pieces).strip()
        if spelled:
            yield pieces, spelled


def _frames(word: str) -> float:
    """How long a word takes, with the pause that its punctuation asks for."""
    letters = sum(character.isalnum() for character in word)
    pause = _PAUSES.get(word.rstrip(_CLOSING)[-1:], 0)
    return max(_SHORTEST_WORD, letters * _FRAMES_PER_LETTER) + pause
