"""What users sound like: recorded people, synthetic voices, music and noises, as one pool on disk.

Debian packages bring the recordings (see README.md). None of them is contained in the model's output; they teach its
ear. Voices named in HELD_OUT are left for the evaluation.
"""

import io
import logging
import random
import re
import subprocess
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.audio import RATE, Sound, as_int16, at_level, resampled, trimmed
from training.script import SENTENCES_OF_USERS

log = logging.getLogger("training")

HELD_OUT = ("Annie", "m7", "john")  # variants of espeak-ng; and all of asterisk's Russian, ktuberling, fillets-ng
VARIANTS = (
    *[f"m{number}" for number in range(1, 7)],
    *[f"f{number}" for number in range(1, 6)],
    *["croak", "klatt", "klatt2", "klatt3", "whisper", "Alicia", "Andy", "Gene", "Jacky", "Lee", "Mario", "Michael"],
    *["Steph", "aunty", "rob"],
)
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "de", "nl", "pl", "sv")
FLITE_VOICES = ("awb", "rms", "kal16", "kal", "slt")
BACKGROUND = {
    "music": (
        "usr/share/asterisk/moh/**/*.wav",
        "usr/share/games/asc/music/*.mp3",
        "usr/share/games/etr/music/*.ogg",
        "usr/share/games/supertux2/music/**/*.ogg",
        "usr/share/tuxmath/sounds/0*.ogg",
        "usr/share/tuxtype/sounds/*.ogg",
    ),
    "noise": ("usr/share/sounds/freedesktop/**/*.oga", "usr/share/games/supertux2/sounds/**/*.wav"),
}
PROMPTS = {"en": 520, "fr": 300, "es": 300, "it": 360}  # of asterisk, a language: how many recordings
SYLLABLES = 260  # of klettres: letters and syllables read by people in twenty languages
NOT_SPEECH = re.compile("beep|tone|ring|silence|dtmf|ascending|descending|noise")
SHORTEST, LONGEST = 0.25, 9.0  # seconds


@dataclass(frozen=True)
class Job:
    """One utterance to fetch or to synthesise."""

    voice: str
    source: str
    """A file, or the text to say."""
    kind: str
    """ "file", "espeak", "flite" or "hibari"."""


def collect(target: Path, roots: list[Path], seed: int = 0) -> None:
    """Writes people.npz: voices, lengths and int16 samples of all utterances, at equal loudness."""
    jobs = _jobs(random.Random(seed), roots)
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_utterance, jobs, chunksize=16))
    voices, sounds = [], []
    for job, sound in zip(jobs, found, strict=True):
        if sound is not None:
            voices.append(job.voice)
            sounds.append(sound)
    _write(target, voices, sounds)
    seconds = sum(map(len, sounds)) / RATE
    log.info("%d utterances, %.0f s: %s", len(sounds), seconds, dict(Counter(voice.split("-")[0] for voice in voices)))


def collect_sounds(target: Path, roots: list[Path]) -> None:
    """Writes sounds.npz, as above: music (voice "music") and noises of things ("noise"), for the background."""
    kinds, sounds = [], []
    for kind, patterns in BACKGROUND.items():
        for path in _files(roots, *patterns):
            with soundfile.SoundFile(path) as file:
                sound = file.read(120 * file.samplerate, dtype="float32", always_2d=True)
                sound = resampled(sound[:, 0], file.samplerate)
            if len(sound) > RATE // 4:
                kinds.append(kind)
                sounds.append(as_int16(at_level(sound, -21)))
    _write(target, kinds, sounds)
    log.info("%s of background sounds, %.0f s", dict(Counter(kinds)), sum(map(len, sounds)) / RATE)


def _write(target: Path, voices: list[str], sounds: list[NDArray[np.int16]]) -> None:
    lengths = np.array([len(sound) for sound in sounds])
    np.savez(target, voices=np.array(voices), lengths=lengths, samples=np.concatenate(sounds))


def read_pool(path: Path) -> list[tuple[str, NDArray[np.int16]]]:
    """(voice, samples) of each."""
    content = np.load(path)
    ends = np.cumsum(content["lengths"])
    samples = content["samples"]
    return [
        (str(voice), samples[end - length : end])
        for voice, length, end in zip(content["voices"], content["lengths"], ends, strict=True)
    ]


def _files(roots: list[Path], *patterns: str) -> list[Path]:
    """Of those packages that are there; one must be."""
    found = list[Path]()
    for pattern in patterns:
        here = sorted({path for root in roots for path in root.glob(pattern)})
        if not here:
            places = ", ".join(map(str, roots))
            log.warning("no file %s below %s: training/README.md names the packages", pattern, places)
        found += here
    if not found:
        raise SystemExit("None of these packages is there: the model would not learn what it needs.")
    return found


def _jobs(draw: random.Random, roots: list[Path]) -> list[Job]:
    jobs = []
    for language, count in PROMPTS.items():
        paths = [
            path
            for path in _files(roots, f"usr/share/asterisk/sounds/{language}*/**/*.wav")
            if 6_000 < path.stat().st_size < 150_000 and not NOT_SPEECH.search(str(path))
        ]
        jobs += [Job(f"person-{language}", str(path), "file") for path in draw.sample(paths, min(count, len(paths)))]
    syllables = _files(roots, "usr/share/klettres/**/*.ogg")
    jobs += [Job("syllable", str(path), "file") for path in draw.sample(syllables, SYLLABLES)]
    for _ in range(700):
        voice = f"{draw.choice(ACCENTS)}+{draw.choice(VARIANTS)}"
        jobs.append(Job(f"espeak-{voice}", f"{voice}|{draw.choice(SENTENCES_OF_USERS)}", "espeak"))
    for _ in range(300):
        voice = draw.choice(FLITE_VOICES)
        jobs.append(Job(f"flite-{voice}", f"{voice}|{draw.choice(SENTENCES_OF_USERS)}", "flite"))
    jobs += [Job("hibari", draw.choice(SENTENCES_OF_USERS), "hibari") for _ in range(180)]
    return jobs


def _utterance(job: Job) -> NDArray[np.int16] | None:
    draw = random.Random(repr(job))
    sound, rate = _SOURCES[job.kind](job.source, draw)
    spoken = trimmed(resampled(sound, rate))
    if spoken is None or not SHORTEST * RATE <= len(spoken) <= LONGEST * RATE:
        return None
    return as_int16(at_level(spoken, -21))


def _recording(source: str, _draw: random.Random) -> tuple[Sound, float]:
    sound, rate = soundfile.read(source, dtype="float32", always_2d=True)
    return sound[:, 0], rate


def _espeak(source: str, draw: random.Random) -> tuple[Sound, float]:
    voice, text = source.split("|")
    speed, pitch = str(draw.randint(120, 220)), str(draw.randint(10, 90))
    run = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "--stdout", text], capture_output=True, check=True
    )
    sound, rate = soundfile.read(io.BytesIO(run.stdout), dtype="float32")
    return _shifted(sound, rate, draw)


def _flite(source: str, draw: random.Random) -> tuple[Sound, float]:
    voice, text = source.split("|")
    settings = [f"duration_stretch={draw.uniform(0.8, 1.3):.2f}", f"int_f0_target_mean={draw.randint(85, 230)}"]
    with TemporaryDirectory() as folder:
        path = f"{folder}/said.wav"
        command = ["flite", "-voice", voice, "-t", text, "-o", path]
        subprocess.run([*command, "--setf", settings[0], "--setf", settings[1]], capture_output=True, check=True)
        sound, rate = soundfile.read(path, dtype="float32")
    return _shifted(sound, rate, draw)


_hibari = None


def _hibari_voice(source: str, draw: random.Random) -> tuple[Sound, float]:
    """The assistant's own synthesiser at another pitch: another person."""
    global _hibari  # noqa: PLW0603 - loaded once a process
    if _hibari is None:
        from hibari import Hibari

        _hibari = Hibari()
    sound = np.asarray(_hibari(source, speed=draw.uniform(0.8, 1.3), seed=draw.randint(0, 9999)), np.float32)
    return sound, RATE * draw.choice([0.62, 0.7, 0.78, 0.85, 1.15, 1.25])


def _shifted(sound: Sound, rate: float, draw: random.Random) -> tuple[Sound, float]:
    return sound, rate * draw.uniform(0.85, 1.18) if draw.random() < 0.5 else rate


_SOURCES = {"file": _recording, "espeak": _espeak, "flite": _flite, "hibari": _hibari_voice}
