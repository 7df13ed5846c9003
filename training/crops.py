"""Two seconds of somebody at a time: what the encoder learns from."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import codec
from training.audio import FRAME, RATE, Sound, as_float, as_int16, frames_of
from training.scenes import Pool, crop, pool_of

FRAMES = 24  # of a crop: 1.92 s, the reach of the encoder's attention
HELD_OUT = 200
_TOGETHER = 100  # crops of a seed


def render_crops(target: Path, people: Path, sounds: Path, count: int) -> None:
    """Writes crops.npz: int16 sounds [count, samples], and speech flags [count, FRAMES]."""
    jobs = [(people, sounds, seed) for seed in range(count // _TOGETHER)]
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(_render, jobs))
    heard, speech = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.savez(target, sounds=heard, speech=speech)


def _render(job: tuple[Path, Path, int]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    people, sounds, seed = job
    draw = np.random.default_rng((1, seed))
    heard, _clean, masks = zip(
        *(crop(FRAMES * FRAME, pool_of(people, sounds), draw) for _ in range(_TOGETHER)), strict=True
    )
    return np.stack([as_int16(sound) for sound in heard]), np.stack([frames_of(mask) for mask in masks])


class Crops:
    """Batches of users that were rendered before: sounds [B, 1, samples] and speech flags [B, FRAMES]."""

    def __init__(self, crops: Path) -> None:
        content = np.load(crops)
        self._sounds, self._speech = content["sounds"], content["speech"]

    def users(self, draw: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        return self._chosen(draw.integers(0, len(self._sounds) - HELD_OUT, count))

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Fifty at a time."""
        first = len(self._sounds) - HELD_OUT
        return (self._chosen(np.arange(start, start + 50)) for start in range(first, first + HELD_OUT, 50))

    def _chosen(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.tensor(as_float(self._sounds[numbers]))[:, None], torch.tensor(self._speech[numbers]).float()


def fresh_users(pool: Pool, draw: np.random.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `Crops.users`, rendered now; and coarse log-mels [count, COARSE, FRAMES] of the speech without the room."""
    heard, clean, masks = zip(*(crop(FRAMES * FRAME, pool, draw) for _ in range(count)), strict=True)
    speech = torch.tensor(np.stack([frames_of(mask) for mask in masks])).float()
    return torch.tensor(np.stack(heard))[:, None], speech, codec.coarse_mels(torch.tensor(np.stack(clean)))


class OwnVoice:
    """Crops of the assistant's lines: [count, 1, samples]."""

    def __init__(self, lines: Path) -> None:
        content = np.load(lines)
        spoken: list[Sound] = [np.pad(content[name], RATE // 2) for name in content if name.startswith("sound")]
        self._sound = np.concatenate(spoken)

    def crops(self, draw: np.random.Generator, count: int) -> Tensor:
        n = FRAMES * FRAME
        starts = draw.integers(0, len(self._sound) - n, count)
        return torch.tensor(np.stack([self._sound[start : start + n] for start in starts]))[:, None]
