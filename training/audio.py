"""Levels, speech masks and resampling, shared by everything that touches sound here."""

from itertools import pairwise

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 24_000
FRAME = 1920  # 80 ms: what the codec turns into one column of codes
HOP = 240  # 10 ms: resolution of speech masks
HOPS = FRAME // HOP

Sound = NDArray[np.float32]
Mask = NDArray[np.bool_]


def resampled(sound: Sound, rate: float) -> Sound:
    """From `rate` to 24 kHz. A wrong rate on purpose shifts pitch and speed together."""
    if rate == RATE:
        return sound.astype(np.float32)
    return np.asarray(soxr.resample(sound.astype(np.float32), rate, RATE), np.float32)


def rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


def at_level(sound: Sound, decibels: float) -> Sound:
    """With an RMS of so many dBFS."""
    return (sound * (10 ** (decibels / 20) / rms(sound))).astype(np.float32)


def envelope(sound: Sound) -> Sound:
    """RMS of each 10 ms."""
    n = len(sound) // HOP
    return np.sqrt(np.square(sound[: n * HOP].reshape(n, HOP)).mean(1) + 1e-12).astype(np.float32)


def speech_mask(sound: Sound, below_loudest: float = -32.0) -> Mask:
    """Where a clean utterance is speech: within 32 dB of its own loud part; holes of less than 200 ms are filled."""
    level = 20 * np.log10(envelope(sound) + 1e-9)
    mask = level > np.percentile(level, 95) + below_loudest
    places = np.flatnonzero(mask)
    for left, right in pairwise(places):
        if right - left <= 20:
            mask[left:right] = True
    return mask


def trimmed(sound: Sound, margin: float = 0.0) -> Sound | None:
    """Without the silence around it, but for `margin` seconds; None if there is no speech."""
    places = np.flatnonzero(speech_mask(sound))
    if len(places) < 8:
        return None
    keep = int(margin * RATE)
    return sound[max(0, places[0] * HOP - keep) : (places[-1] + 1) * HOP + keep]


def frames_of(mask: Mask) -> Mask:
    """A 10 ms mask as one flag for each 80 ms frame: speech in a third of it counts."""
    n = len(mask) // HOPS
    return np.asarray(mask[: n * HOPS].reshape(n, HOPS).mean(1) > 0.3)


def as_float(samples: NDArray[np.int16]) -> Sound:
    """In [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)


def as_int16(sound: Sound) -> NDArray[np.int16]:
    return (sound * 32768).round().clip(-32768, 32767).astype(np.int16)
