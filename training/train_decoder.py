"""Second stage: the codec's voice. The decoder learns the very sound of the lines, from codes that stay.

It hears what the language model will emit: lines between silences, lines cut short, a wrong code now and then.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import codec
from training.audio import FRAME
from training.dialogue import Assets
from training.means import Means

BATCH, FRAMES, WARM_UP = 4, 24, 4  # frames of a crop, of which the first have no past and do not count,
COUNTED = FRAMES - WARM_UP  # except in the batch's last crop, which is the beginning of a conversation
FADE = 960  # samples: how a line that was cut short dies away
WRONG = 0.01  # of the codes, fewer of the first three codebooks
RATE_OF_LEARNING = 1.5e-3
IN_FULL_PRECISION = 0.25  # of the steps, at the end
# Two resolutions a step, taking turns: half the work, and every pair knows about phase.
PAIRS = tuple((one, other) for one in codec.SCALES[1:3] for other in (codec.SCALES[0], codec.SCALES[3]))


class Speech:
    """Crops of the assistant's side of conversations."""

    def __init__(self, assets: Assets, seed: int) -> None:
        self._assets = assets
        self._draw = np.random.default_rng(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """(codes [BATCH, CODEBOOKS, FRAMES], sound [BATCH, FRAMES * FRAME])"""
        codes, sounds = zip(*(self._crop(number == BATCH - 1) for number in range(BATCH)), strict=True)
        made = torch.tensor(np.stack(codes))
        slip = torch.rand(made.shape) < WRONG
        slip[:, :3] &= torch.rand(slip[:, :3].shape) < 0.2
        made[slip] = torch.randint(0, codec.CARD, (int(slip.sum()),))
        return made, torch.tensor(np.stack(sounds))

    def _crop(self, begins: bool) -> tuple[np.ndarray, np.ndarray]:
        draw, assets = self._draw, self._assets
        codes = np.repeat(assets.silence[:, None], FRAMES, 1)
        sound = np.zeros((FRAMES + 1) * FRAME, np.float32)
        place = -int(draw.integers(0, 100)) if draw.random() < 0.8 else int(draw.integers(0, 12))
        line = int(draw.integers(len(assets.codes)))
        if begins:
            place, line = int(draw.integers(5, 12)), line if draw.random() < 0.3 else 0
        while place < FRAMES:
            n = assets.codes[line].shape[1]
            said = int(draw.integers(3, n)) if draw.random() < 0.2 else n
            begin, end = max(place, 0), min(place + said, FRAMES)
            if end > begin:
                codes[:, begin:end] = assets.codes[line][:, begin - place : end - place]
                part = _faded(assets.sounds[line], said)
                stop = min(place * FRAME + len(part), len(sound))
                sound[begin * FRAME : stop] += part[(begin - place) * FRAME : stop - place * FRAME]
            place += said + (int(draw.integers(1, 16)) if draw.random() < 0.8 else 0)
            line = int(draw.integers(len(assets.codes)))
        return codes, sound[: FRAMES * FRAME]


def _faded(sound: np.ndarray, frames: int) -> np.ndarray:
    """The first frames of a line; what follows them, if anything, dies away."""
    n = frames * FRAME
    part = sound[: n + FADE].copy()
    part[n:] *= np.linspace(1, 0, FADE, dtype=np.float32)[: len(part) - n] ** 2
    return part


def _counted(sound: Tensor) -> Tensor:
    """[BATCH, FRAMES * FRAME] -> [BATCH, COUNTED * FRAME]"""
    return torch.cat([sound[:-1, WARM_UP * FRAME :], sound[-1:, : COUNTED * FRAME]])


def train(target: Path, source: Path, assets: Assets, steps: int, seed: int = 0) -> None:
    """Writes the codec of `source` with a trained decoder."""
    torch.manual_seed(seed)
    model = codec.load(source)
    decoder, data = codec.Decoder(model), Speech(assets, seed)
    model.decoder.compile()
    learning = decoder.learning()
    optimiser = torch.optim.AdamW(learning, RATE_OF_LEARNING, betas=(0.8, 0.99), weight_decay=1e-4)
    means = Means(every=100)
    for step in range(steps):
        rate = RATE_OF_LEARNING * min(1, (step + 1) / 50) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        codes, wanted = data.batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=step < steps * (1 - IN_FULL_PRECISION)):
            made = decoder(codes)
        scales = PAIRS[step % len(PAIRS)]
        losses = codec.distance(_counted(made.float()), _counted(wanted), scales)
        optimiser.zero_grad()
        (losses["mel"] + 0.5 * losses["magnitude"] + losses["phase"]).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        means.add(losses)
        if (step + 1) % 500 == 0:
            torch.save(codec.weights(model), target)
    torch.save(codec.weights(model), target)
