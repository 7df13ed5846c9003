"""A SentencePiece vocabulary of any size, made up: for synthetic models, which need one that encodes every text.

The file format is a small protocol buffer, written here field by field; SentencePiece's own trainer would need
minutes and a corpus for 32,000 pieces.
"""

import itertools
import struct
from collections.abc import Iterator

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # SentencePiece.Type
_UNIGRAM = 1  # TrainerSpec.ModelType
_SPACE = "\u2581"
SMALLEST = 512  # pieces: special ones, 256 bytes, ASCII, and some syllables


def tokenizer_model(size: int) -> bytes:
    """Content of a `.model` file of `size` pieces: ids 0 to 3 are special, as in the published vocabularies."""
    if size < SMALLEST:
        raise ValueError(f"{size} pieces are too few; at least {SMALLEST}")
    pieces = b"".join(_message(1, piece) for piece in itertools.islice(_pieces(), size))
    special = b"".join(_number(field, index) for index, field in enumerate((40, 41, 42, 43)))  # unk, bos, eos, pad
    trainer = _number(3, _UNIGRAM) + _number(4, size) + _number(35, 1) + special  # 35: unknown characters as bytes
    normalizer = _text(1, "identity")
    return pieces + _message(2, trainer) + _message(3, normalizer)


def _pieces() -> Iterator[bytes]:
    yield _piece("<unk>", 0, _UNKNOWN)
    for name in ("<s>", "</s>", "<pad>"):
        yield _piece(name, 0, _CONTROL)
    for byte in range(256):
        yield _piece(f"<0x{byte:02X}>", 0, _BYTE)
    for character in (_SPACE, *map(chr, range(0x21, 0x7F))):
        yield _piece(character, -20, _NORMAL)
    for index, word in enumerate(_words()):
        yield _piece(word, -5 - index * 1e-4, _NORMAL)


def _words() -> Iterator[str]:
    """Syllables, alone and at the start of a word, then words of two and of three."""
    syllables = [consonant + vowel for vowel in "aeiou" for consonant in "bdfghjklmnprstvwz"]
    for length in itertools.count(1):
        for parts in itertools.product(syllables, repeat=length):
            yield _SPACE + "".join(parts)
            yield "".join(parts)


def _piece(text: str, score: float, kind: int) -> bytes:
    return _text(1, text) + _varint(2 << 3 | 5) + struct.pack("<f", score) + _number(3, kind)


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
