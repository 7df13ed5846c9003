"""What a microphone hears: utterances in a room, over noise, hum, music, far talkers, breath and knocks."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.audio import HOP, RATE, Mask, Sound, as_float, at_level, speech_mask
from training.people import read_pool

Random = np.random.Generator


@dataclass(frozen=True)
class Utterance:
    voice: str
    samples: NDArray[np.int16]
    mask: Mask
    """[10 ms]"""


class Pool:
    """The sounds that scenes are made of."""

    def __init__(self, people: Path, sounds: Path) -> None:
        self.utterances = [
            Utterance(voice, samples, speech_mask(as_float(samples))) for voice, samples in read_pool(people)
        ]
        self._music = [samples for kind, samples in read_pool(sounds) if kind == "music"]
        self._noises = [samples for kind, samples in read_pool(sounds) if kind == "noise"]

    def of_a_voice(self, draw: Random, shorter: float) -> list[Utterance]:
        """All of one kind of voice that last less than so many seconds."""
        kind = self.utterances[draw.integers(len(self.utterances))].voice.split("-")[0]
        alike = [one for one in self.utterances if one.voice.split("-")[0] == kind]
        return [one for one in alike if len(one.samples) < shorter * RATE] or alike

    def utterance(self, draw: Random, among: list[Utterance] | None = None) -> tuple[Sound, Mask]:
        """One of them, perhaps in a room; at -21 dBFS, and where it is speech."""
        choice = among or self.utterances
        found = choice[draw.integers(len(choice))]
        sound = as_float(found.samples[: len(found.mask) * HOP])
        if draw.random() < 0.35:
            sound = in_a_room(sound, draw)
        return at_level(sound, -21), found.mask

    def background(self, n: int, loudest: float, draw: Random) -> Sound:
        """n samples without a nearby talker, at most `loudest` dBFS on the whole."""
        sound = noise(n, draw) if draw.random() < 0.85 else np.zeros(n, np.float32)
        level = draw.uniform(-80, -42)
        sound = sound * 10 ** (min(level, loudest) / 20)
        kind = draw.random()
        if kind < 0.3:
            sound += at_level(self._excerpt(self._music, n, draw), draw.uniform(-58, max(loudest, -57)))
        elif kind < 0.46:
            sound += at_level(self._far_talkers(n, draw), draw.uniform(-62, max(min(loudest - 2, -38), -61)))
        if draw.random() < 0.3:
            self._knock(sound, draw)
        if draw.random() < 0.3:
            breathe(sound, draw)
        return sound

    def _excerpt(self, among: list[NDArray[np.int16]], n: int, draw: Random) -> Sound:
        samples = among[draw.integers(len(among))]
        start = int(draw.integers(len(samples)))
        return as_float(np.resize(np.roll(samples, -start)[: max(n, 1)], n))

    def _far_talkers(self, n: int, draw: Random) -> Sound:
        sound = np.zeros(n, np.float32)
        for _ in range(int(draw.integers(2, 6))):
            place = int(draw.integers(0, RATE))
            while place < n:
                said, _mask = self.utterance(draw)
                said = in_a_room(said, draw)[: n - place]
                sound[place : place + len(said)] += said
                place += len(said) + int(draw.uniform(0.1, 1.5) * RATE)
        return sound + 1e-6

    def _knock(self, sound: Sound, draw: Random) -> None:
        """Clicks, knocks and signals of things: not speech."""
        for _ in range(int(draw.integers(1, 3 + len(sound) // (4 * RATE)))):
            place, level = int(draw.integers(0, len(sound))), draw.uniform(-48, -20)
            if draw.random() < 0.3:
                hit = at_level(as_float(self._noises[draw.integers(len(self._noises))]), level)
            else:
                n = int(draw.integers(100, 2400))
                decay = draw.standard_normal(n) * np.exp(-6 * np.arange(n) / n)
                hit = (decay * 10 ** ((level + 6) / 20)).astype(np.float32)
            hit = hit[: len(sound) - place]
            sound[place : place + len(hit)] += hit


@cache
def pool_of(people: Path, sounds: Path) -> Pool:
    """Read once a process."""
    return Pool(people, sounds)


def noise(n: int, draw: Random) -> Sound:
    """Colourless to brown, perhaps with a band limit and a hum; RMS 1."""
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(draw.standard_normal(n)) / np.maximum(frequencies, 60) ** draw.uniform(0, 1.3)
    if draw.random() < 0.3:
        spectrum[frequencies > draw.uniform(3000, 9000)] = 0
    sound = np.fft.irfft(spectrum, n)
    sound /= sound.std() + 1e-9
    if draw.random() < 0.3:
        sound += draw.uniform(0.2, 1) * np.sin(2 * np.pi * draw.choice([50, 60, 100, 120]) * np.arange(n) / RATE)
    return sound.astype(np.float32)


def breathe(sound: Sound, draw: Random) -> None:
    """Breath into the microphone: soft band noise that swells and fades, now and then."""
    for _ in range(int(draw.integers(1, 2 + len(sound) // (3 * RATE)))):
        n = min(int(draw.uniform(0.25, 1.1) * RATE), len(sound))
        place = int(draw.integers(0, len(sound) - n + 1))
        spectrum = np.fft.rfft(draw.standard_normal(n))
        frequencies = np.fft.rfftfreq(n, 1 / RATE)
        centre = draw.uniform(500, 2500)
        spectrum *= np.exp(-(np.log((frequencies + 50) / centre) ** 2) / draw.uniform(0.5, 1.5))
        swell = np.sin(np.pi * np.arange(n) / n) ** draw.uniform(1, 3)
        sound[place : place + n] += at_level(
            (np.fft.irfft(spectrum, n) * swell).astype(np.float32), draw.uniform(-58, -34)
        )


def in_a_room(sound: Sound, draw: Random) -> Sound:
    """Convolved with a decaying echo: a small room, and a cheap microphone's colour."""
    n = 4800
    reply = np.exp(-np.arange(n) / draw.uniform(150, 1500)) * draw.standard_normal(n)
    reply[0] = draw.uniform(4, 16)
    size = 1 << int(np.ceil(np.log2(len(sound) + n)))
    both = np.fft.rfft(sound, size) * np.fft.rfft(reply / np.abs(reply).max(), size)
    return np.fft.irfft(both, size)[: len(sound)].astype(np.float32)


def crop(n: int, pool: Pool, draw: Random) -> tuple[Sound, Sound, Mask]:
    """n samples (whole 10 ms) cut out of somebody's conversation, the speech in them alone, and where it is."""
    level = draw.uniform(-46, -14)
    talks = draw.random() < 0.8
    background = pool.background(n, level - 9 if talks else -20, draw)
    speech, mask = np.zeros(n, np.float32), np.zeros(n // HOP, bool)
    place = int(draw.integers(-2 * RATE, n)) // HOP * HOP
    while talks and place < n:
        said, spoken = pool.utterance(draw)
        put(speech, mask, said * 10 ** ((level + draw.uniform(-3, 3) + 21) / 20), spoken, place)
        place += (len(said) + int(draw.uniform(0.1, 1.5) * RATE)) // HOP * HOP
    return np.tanh(background + speech).astype(np.float32), speech, mask


def put(sound: Sound, mask: Mask, said: Sound, spoken: Mask, place: int) -> int:
    """Adds an utterance at a sample (a multiple of 10 ms, perhaps before the start); returns where it ends."""
    start, end = max(0, place), min(len(sound), place + len(said))
    if end > start:
        sound[start:end] += said[start - place : end - place]
        mask[start // HOP : end // HOP] |= spoken[(start - place) // HOP : (end - place) // HOP]
    return end


@dataclass(frozen=True)
class Track:
    """One user's side of a conversation."""

    sound: Sound
    mask: Mask


# How somebody talks: seconds of silence after a turn.
_MANNERS = {"calm": (3.5, 9.0), "quick": (1.3, 3.0), "interrupting": (0.9, 4.0), "rare": (8.0, 22.0)}


def track(seconds: float, pool: Pool, draw: Random) -> Track:
    """A user with one voice, one level and one way to talk; or nobody at all, over noise or music."""
    n = int(seconds * 12.5) * 1920
    manner = str(draw.choice(["calm", "quick", "interrupting", "rare", "nobody"], p=[0.32, 0.28, 0.26, 0.07, 0.07]))
    level = draw.uniform(-46, -14)
    sound = pool.background(n, level - 9 if manner != "nobody" else -20, draw)
    mask = np.zeros(n // HOP, bool)
    if manner == "nobody":
        return Track(np.tanh(sound), mask)
    among = pool.of_a_voice(draw, shorter=1.5 if manner == "quick" else np.inf)
    early = draw.random() < 0.2
    place = int((draw.uniform(0.1, 4) if early else draw.uniform(4, 16)) * RATE)
    while place < n:
        for _ in range(int(draw.choice([1, 2, 3, 6], p=[0.72, 0.15, 0.08, 0.05]))):  # a turn, perhaps of several parts
            said, spoken = pool.utterance(draw, among)
            gain = 10 ** ((level + draw.uniform(-3, 3) + 21) / 20)
            place = put(sound, mask, said * gain, spoken, place // HOP * HOP) + int(draw.uniform(0.08, 0.42) * RATE)
            if place >= n:
                break
        place += int(draw.uniform(*_MANNERS[manner]) * RATE)
    return Track(np.tanh(sound).astype(np.float32), mask)
