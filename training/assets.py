"""The lines as the model must produce them: codes, and text in time with them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training import codec
from training.audio import FRAME, Sound
from training.dialogue import Assets, Codes
from training.script import LINES
from training.vocabulary import EPAD, PAD

TAIL = 2  # frames after a line until its sound has died away
PAST = 26  # frames of silence before it, more than the encoder remembers


@torch.no_grad()
def encode(model: Any, sound: Sound) -> Codes:
    """[samples] -> [CODEBOOKS, frames]"""
    return np.asarray(model.encode(torch.as_tensor(sound)[None, None])[0].numpy(), np.int64)


def make_assets(codec_path: Path, lines: Path, tokenizer: Path, target: Path) -> None:
    """Writes assets.pkl."""
    import sentencepiece

    model, content = codec.load(codec_path), np.load(lines)
    pieces = sentencepiece.SentencePieceProcessor(str(tokenizer))
    codes, texts, sounds = [], [], []
    for number, text in enumerate(LINES):
        sound = content[f"sound{number}"]
        n = -(-len(sound) // FRAME) + TAIL
        sound = np.pad(sound, (0, n * FRAME - len(sound)))
        codes.append(encode(model, np.pad(sound, (FRAME * PAST, FRAME)))[:, PAST : PAST + n])
        texts.append(_laid_out(text, content[f"words{number}"], n, pieces))
        sounds.append(sound)
    silence = encode(model, np.zeros(FRAME * 60, np.float32))[:, -1]
    target.write_bytes(pickle.dumps(Assets(codes, texts, sounds, silence)))


def _laid_out(text: str, times: NDArray[np.float32], n: int, pieces: Any) -> Codes:
    row, free = np.full(n, PAD), 0
    for word, (start, _end) in zip(text.split(), times, strict=True):
        place = max(free, int(max(start, 0) * 12.5))
        if place > free and row[place - 1] == PAD:
            row[place - 1] = EPAD
        for piece in pieces.encode(word):
            if place < n:
                row[place] = piece
                place += 1
        free = place
    return row
