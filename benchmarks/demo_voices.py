"""Voices and noise that the demo model was not trained on: recordings of Debian packages, and espeak-ng.

The packages are unpacked anywhere (`apt-get download NAME && dpkg -x NAME*.deb FOLDER`) or installed:

    asterisk-core-sounds-ru-wav   a Russian announcer             fillets-ng-data-nl   Dutch actors
    ktuberling-data               people who name things          alsa-utils           a man who names loudspeakers
    fillets-ng-data, frozen-bubble-data   music                   espeak-ng            the voices Annie, m7 and john
"""

import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pymoshi.audio import files

Samples = NDArray[np.float32]
Random = np.random.Generator

RATE = files.SAMPLE_RATE
HOP = RATE // 100  # 10 ms

RECORDED = {
    "asterisk-ru": "usr/share/asterisk/sounds/ru_RU_*/*.wav",
    "fillets-nl": "usr/share/games/fillets-ng/sound/*/nl/*.ogg",
    "ktuberling-en": "usr/share/ktuberling/sounds/en/*.ogg",
    "ktuberling-fr": "usr/share/ktuberling/sounds/fr/*.ogg",
    "ktuberling-uk": "usr/share/ktuberling/sounds/uk/*.ogg",
    "alsa": "usr/share/sounds/alsa/*_*.wav",
}
MUSIC = {
    "fillets": "usr/share/games/fillets-ng/music/*.ogg",
    "frozen-bubble": "usr/share/games/frozen-bubble/snd/*zik*.ogg",
}
NOT_SPEECH = ("beep", "tone", "ring", "silence", "dtmf", "ascending", "descending", "noise")
ESPEAK = ("en-us+Annie", "en-gb+m7", "en-us+john", "de+m7", "sv+Annie", "nl+john")
SENTENCES = (
    "Yes.", "Why?", "All right.", "Of course not.", "Tell me more.", "I never thought of that.",
    "Could you say that a little slower?", "There are nine cats on the roof of my house.",
    "Yesterday I repaired the old bicycle in the shed.", "Do you know a good place for lunch?",
    "When I was young we had no telephone, and nobody missed it.", "Which of the two would you choose?",
    "The train to the mountains leaves every morning at half past six, and it is always late.",
    "I have been waiting for the bus since eight, so I walked.", "Listen, there is somebody at the door.",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """Something that was said, at -21 dBFS, silence at its ends cut off; its length is a multiple of 10 ms."""

    pcm: Samples
    mask: NDArray[np.bool_]
    """Where it is speech, [10 ms]."""

    @property
    def seconds(self) -> float:
        return self.pcm.size / RATE


class Voice:
    """One speaker's clips, read when they are needed."""

    def __init__(self, name: str, sources: Sequence[Path | str]) -> None:
        self.name = name
        self._sources = sources
        """Files; or texts, to be said by the voice `name` of espeak-ng."""

    def clip(self, draw: Random, longest: float) -> Clip:
        """One of them, at most `longest` seconds long if there is such a one among the first dozen drawn."""
        tried: list[Clip] = []
        for _ in range(12):
            found = self._clips[int(draw.integers(len(self._sources)))].clip
            if found is not None:
                tried.append(found)
                if found.seconds <= longest:
                    return found
        if not tried:
            raise SystemExit(f"{self.name}: none of the recordings is speech.")
        return min(tried, key=lambda one: one.seconds)

    @cached_property
    def _clips(self) -> list["_Lazy"]:
        return [_Lazy(self.name, source) for source in self._sources]


class _Lazy:
    """A clip that is made once."""

    def __init__(self, voice: str, source: Path | str) -> None:
        self._voice = voice
        self._source = source

    @cached_property
    def clip(self) -> Clip | None:
        return to_clip(say(self._voice, self._source) if isinstance(self._source, str) else read(self._source))


def recorded_voices(roots: Sequence[Path]) -> list[Voice]:
    """Those of the packages that are there."""
    voices = []
    for name, pattern in RECORDED.items():
        paths = [path for path in _find(roots, pattern) if not any(word in path.name for word in NOT_SPEECH)]
        if paths:
            voices.append(Voice(name, paths))
    return voices


def synthetic_voices() -> list[Voice]:
    """Those of espeak-ng, if it is installed."""
    return [Voice(name, SENTENCES) for name in ESPEAK] if shutil.which("espeak-ng") else []


def folder_voice(folder: Path) -> Voice:
    """All sound files of a folder."""
    return Voice(folder.name, sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".ogg", ".flac")))


def music_files(roots: Sequence[Path]) -> list[Path]:
    return [path for pattern in MUSIC.values() for path in _find(roots, pattern)]


def _find(roots: Sequence[Path], pattern: str) -> list[Path]:
    return sorted({path.resolve() for root in roots for path in root.glob(pattern)})


def read(path: Path, longest: float = 120.0) -> Samples:
    """The first two minutes, at 24 kHz mono."""
    with soundfile.SoundFile(path) as file:
        pcm = file.read(round(longest * file.samplerate), dtype="float32", always_2d=True).mean(axis=1)
        rate = file.samplerate
    return pcm if rate == RATE else np.asarray(soxr.resample(pcm, rate, RATE), np.float32)


def say(voice: str, text: str) -> Samples:
    """By espeak-ng."""
    run = subprocess.run(["espeak-ng", "-v", voice, "--stdout", text], capture_output=True, check=True)
    pcm, rate = soundfile.read(io.BytesIO(run.stdout), dtype="float32")
    return np.asarray(soxr.resample(pcm, rate, RATE), np.float32)


def to_clip(pcm: Samples) -> Clip | None:
    """Trimmed, levelled and with its mask; None if it is shorter than 0.25 s or longer than 20 s."""
    mask = speech_mask(pcm)
    where = np.flatnonzero(mask)
    if where.size < 25 or where[-1] - where[0] > 2000:
        return None
    first, last = int(where[0]), int(where[-1]) + 1
    return Clip(at_level(pcm[first * HOP : last * HOP], -21), mask[first:last])


def speech_mask(pcm: Samples) -> NDArray[np.bool_]:
    """[10 ms]: louder than 30 dB below the loud parts of a clean recording; holes of up to 0.2 s are speech, too."""
    power = rms(pcm)
    mask = power > np.percentile(power, 95) * 10 ** (-30 / 20) if power.size else np.zeros(0, bool)
    mask &= power > 1e-4
    where = np.flatnonzero(mask)
    for before, after in pairwise(where):
        if after - before <= 20:
            mask[before:after] = True
    return mask


def rms(pcm: Samples, hop: int = HOP) -> Samples:
    """[n // hop]"""
    whole = pcm[: pcm.size // hop * hop].reshape(-1, hop)
    return np.sqrt(np.mean(whole**2, axis=1, dtype=np.float32))


def at_level(pcm: Samples, dbfs: float) -> Samples:
    """Scaled to this RMS."""
    return np.asarray(pcm * (10 ** (dbfs / 20) / (np.sqrt(np.mean(pcm**2)) + 1e-9)), np.float32)
