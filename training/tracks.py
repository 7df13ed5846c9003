"""Users of whole conversations, as the codec hears them: what the language model trains with."""

import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training import codec
from training.audio import FRAME, RATE, Mask, Sound, as_int16, at_level, frames_of
from training.dialogue import Assets, play, sound_of
from training.scenes import in_a_room, pool_of, track

log = logging.getLogger("training")

SECONDS = 44.0
FRAMES = int(SECONDS * 12.5)
WITH_ECHO = 0.25  # of the tracks: the microphone also hears the assistant
_TOGETHER = 4  # tracks in one pass of the encoder


def render_tracks(target: Path, codec_path: Path, assets: Assets, people: Path, sounds: Path, count: int) -> None:
    """Writes tracks.npz: codes int16 [count, CODEBOOKS, FRAMES], speaks [count, FRAMES], seeds [count].

    A seed that is not negative is that of the dialogue whose echo is in the track: the track fits no other.
    """
    jobs = [(people, sounds, assets, seed, 20) for seed in range(count // 20)]
    model = codec.load(codec_path)
    model.encoder.compile()
    codes, speaks, seeds = [], [], []
    with ProcessPoolExecutor(1) as pool, torch.no_grad():
        for sounds_of_job, speaks_of_job, seeds_of_job in pool.map(_render, jobs):
            whole = torch.tensor(sounds_of_job.astype(np.float32) / 32768)[:, None]
            codes += [model.encode(part).numpy().astype(np.int16) for part in whole.split(_TOGETHER)]
            speaks.append(speaks_of_job)
            seeds += seeds_of_job
    np.savez(target, codes=np.concatenate(codes), speaks=np.concatenate(speaks), seeds=np.array(seeds))
    log.info("%d tracks of %.0f s, speech in %.0f %%", count, SECONDS, 100 * float(np.concatenate(speaks).mean()))


def _render(job: tuple[Path, Path, Assets, int, int]) -> tuple[NDArray[np.int16], Mask, list[int]]:
    people, sounds, assets, number, count = job
    draw = np.random.default_rng((2, number))
    pool = pool_of(people, sounds)
    made, speaks, seeds = [], [], []
    for _ in range(count):
        user = track(SECONDS, pool, draw)
        speaking = frames_of(user.mask)
        seed = int(draw.integers(0, 2**31)) if draw.random() < WITH_ECHO else -1
        sound = user.sound
        if seed >= 0:
            answer = play(speaking, assets, np.random.default_rng(seed))
            sound = sound + _echo(sound_of(answer, assets), draw)
        made.append(as_int16(sound))
        speaks.append(speaking)
        seeds.append(seed)
    return np.stack(made), np.stack(speaks), seeds


def _echo(sound: Sound, draw: np.random.Generator) -> Sound:
    """What comes back from the loudspeaker: later, coloured, quieter."""
    late = int(draw.uniform(0.02, 0.25) * RATE)
    echo = at_level(in_a_room(sound, draw), -22.5 - draw.uniform(14, 42))
    return np.concatenate([np.zeros(late, np.float32), echo])[: FRAMES * FRAME]
