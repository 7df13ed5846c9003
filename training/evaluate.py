"""How well the codec keeps the voice: spectral distances, STOI, and the words that a recogniser gets wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import codec
from training.assets import PAST
from training.audio import FRAME, RATE, Sound
from training.dialogue import Assets
from training.script import LINES
from training.voice import for_recogniser, plain_words, recogniser


def recognised(decoder: Any, sound: Sound) -> list[str]:
    """The words that pocketsphinx hears, with its general English model."""
    decoder.start_utt()
    decoder.process_raw(for_recogniser(sound), no_search=False, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return plain_words(found.hypstr) if found else []


def errors(wanted: list[str], heard: list[str]) -> int:
    """Words to change, add or leave out: the edit distance."""
    row = np.arange(len(heard) + 1)
    for i, word in enumerate(wanted):
        previous, row[0] = row.copy(), i + 1
        for j, other in enumerate(heard):
            row[j + 1] = min(previous[j + 1] + 1, row[j] + 1, previous[j] + (word != other))
    return int(row[-1])


@torch.no_grad()
def spoken(codec_path: Path, assets: Assets) -> list[Sound]:
    """Each line as the decoder makes it from its codes, between silences."""
    model = codec.load(codec_path)
    made = []
    for codes in assets.codes:
        past = np.repeat(assets.silence[:, None], PAST, 1)
        whole = torch.tensor(np.concatenate([past, codes], 1))[None]
        made.append(model.decode(whole)[0, 0, PAST * FRAME :].numpy())
    return made


def evaluate(codec_path: Path, assets: Assets) -> dict[str, float]:
    """Means over the lines: mel, magnitude, phase, stoi, estoi; and word error rates of the original and the codec."""
    from pystoi import stoi

    decoder = recogniser()
    figures = dict[str, list[float]]()
    wrong = {"original": 0, "codec": 0}
    for wanted, decoded, text in zip(assets.sounds, spoken(codec_path, assets), LINES, strict=True):
        made = decoded[: len(wanted)]
        apart = codec.distance(torch.tensor(made)[None], torch.tensor(wanted)[None])
        for name, value in apart.items():
            figures.setdefault(name, []).append(float(value))
        figures.setdefault("stoi", []).append(stoi(wanted, made, RATE))
        figures.setdefault("estoi", []).append(stoi(wanted, made, RATE, extended=True))
        for name, sound in (("original", wanted), ("codec", made)):
            wrong[name] += errors(plain_words(text), recognised(decoder, sound))
    words = sum(len(plain_words(text)) for text in LINES)
    means = {name: round(float(np.mean(values)), 4) for name, values in figures.items()}
    return means | {f"word error rate, {name}": round(count / words, 4) for name, count in wrong.items()}
