"""Can the model be understood? Its words, as an independent recogniser hears them (pocketsphinx, on PyPI)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from demo_score import plain
from demo_voices import RATE, Samples

import pymoshi

PHONES = {  # words that its dictionary lacks
    "pymoshi": "P AY M OW SH IY",
    "codec": "K OW D EH K",
    "duplex": "D UW P L EH K S",
    "milliseconds": "M IH L AH S EH K AH N D Z",
}
FRAME = 1920
WARM_UP = 26  # frames of silence before a line that goes through the codec alone


class Recogniser:
    """pocketsphinx with its general English model, which knows nothing of the script."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=16000, loglevel="FATAL")
        for word, phones in PHONES.items():
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, phones, True)

    def words(self, pcm: Samples) -> list[str]:
        """What it hears in 24 kHz mono."""
        loud = np.pad(pcm / (np.abs(pcm).max() + 1e-9) * 0.6, RATE // 5)
        narrow = (soxr.resample(loud, RATE, 16000) * 32767).astype(np.int16)
        self._decoder.start_utt()
        self._decoder.process_raw(narrow.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return plain(heard.hypstr) if heard else []


def word_error_rate(spoken: Iterable[tuple[str, Samples]], recogniser: Recogniser) -> dict[str, Any]:
    """Of (text, sound): wrong, missing and surplus words per word of the text."""
    wrong = words = count = 0
    for text, pcm in spoken:
        expected = plain(text)
        wrong += edits(expected, recogniser.words(pcm))
        words += len(expected)
        count += 1
    return {"utterances": count, "words": words, "word_error_rate": round(wrong / words, 4) if words else None}


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def original_lines(path: Path) -> list[Samples]:
    """The lines as the voice spoke them, in the order of the script: sound0, sound1, ... of training's lines.npz."""
    with np.load(path) as content:
        return [content[f"sound{number}"] for number in range(sum(name.startswith("sound") for name in content))]


def through_codec(model: pymoshi.Model, pcm: Samples) -> Samples:
    """Encoded and decoded, at the place within a frame that the codec was trained with."""
    whole = np.pad(pcm, (WARM_UP * FRAME, FRAME + -pcm.size % FRAME))
    back = model.mimi.decode(model.mimi.encode(whole))
    return np.asarray(back[WARM_UP * FRAME :], np.float32)
