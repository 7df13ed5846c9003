"""Simulated users: they say recordings, and react to what the model really does.

A user has a voice, a distance to the microphone, a room, a background and a manner. It waits for its turn, or talks
into the model's, and notes when it truly spoke: what the scores are measured against.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from demo_voices import HOP, RATE, Clip, Random, Samples, Voice, at_level, rms

Manner = Literal["calm", "quick", "long", "interrupting", "early", "nobody"]
Background = Literal["silence", "noise", "music", "breath", "knocks", "babble"]

FRAME: Final = 1920
FRAME_SECONDS: Final = FRAME / RATE
AUDIBLE: Final = 10 ** (-44 / 20)

# Seconds: how long a turn is, and how long the model has been quiet before it.
_TURNS: Final[dict[Manner, tuple[float, float]]] = {
    "calm": (1.0, 6.0),
    "quick": (0.4, 1.5),
    "long": (8.0, 20.0),
    "interrupting": (0.8, 4.0),
    "early": (0.8, 4.0),
}
_WAITS: Final[dict[Manner, tuple[float, float]]] = {
    "calm": (1.0, 2.5),
    "quick": (0.9, 1.0),  # the model itself pauses for up to 0.8 s between sentences
    "long": (1.0, 2.0),
    "interrupting": (1.0, 2.0),
    "early": (1.0, 2.0),
}
_PAUSES: Final = (0.1, 0.42)  # within a turn
_PATIENCE: Final = 4.5  # without an answer, the user says something else


@dataclass(frozen=True, slots=True)
class Turn:
    """When the user truly spoke, in seconds of the conversation."""

    start: float
    end: float


@dataclass
class Scene:
    """What a microphone hears besides the user."""

    background: Samples
    """As long as the conversation."""
    level: float
    """Of the user's voice, dBFS."""
    echo: Samples | None = None
    """The room's impulse response."""


@dataclass
class SimulatedUser:
    """One side of a conversation. `speak` gives the next frame; `hear` must be told what the model said to it."""

    manner: Manner
    voice: Voice | None
    scene: Scene
    draw: Random
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sound = self.scene.background.copy()
        """What the microphone hears."""
        self._now = 0  # samples
        self._end = 0  # of the turn that was begun last
        self._quiet = 0.0  # seconds of the model's silence, and of its speech
        self._talking = 0.0
        self._answered = False
        self._choose()

    @property
    def frames(self) -> int:
        return self.sound.size // FRAME

    def speak(self) -> Samples:
        """float32 [1920]"""
        if self.voice is not None and self._now >= self._end and self._cue():
            self._begin(self.voice)
        frame = self.sound[self._now : self._now + FRAME]
        self._now += FRAME
        return np.asarray(np.tanh(frame), np.float32)

    def hear(self, said: Samples) -> None:
        """The model's frame beside the one that `speak` gave last."""
        if float(rms(said, FRAME)[0]) > AUDIBLE:
            self._talking += FRAME_SECONDS
            self._quiet = 0.0
            self._answered = self._answered or self._now > self._end
        else:
            self._quiet += FRAME_SECONDS
            if self._quiet > 0.9:
                self._talking = 0.0

    def _choose(self) -> None:
        """How to take the next turn."""
        self._wait = float(self.draw.uniform(*_WAITS.get(self.manner, (1.0, 1.0))))
        interrupts = self.manner == "interrupting" and self.draw.random() < 0.7
        self._into = float(self.draw.uniform(0.6, 2.0)) if interrupts else np.inf
        self._early = float(self.draw.uniform(0.1, 0.5)) if self.manner == "early" and not self.turns else np.inf

    def _cue(self) -> bool:
        waited = (self._now - self._end) / RATE
        return (
            waited >= self._early
            or (self._answered and self._talking >= self._into)
            or (self._answered and self._quiet >= self._wait)
            or (waited > _PATIENCE and self._quiet > _PATIENCE)
        )

    def _begin(self, voice: Voice) -> None:
        target = float(self.draw.uniform(*_TURNS[self.manner]))
        parts = [voice.clip(self.draw, target)]
        while (left := target - sum(part.seconds for part in parts)) > 0.8:
            parts.append(voice.clip(self.draw, left))
        start = self._now + int(self.draw.integers(0, FRAME))  # people do not know of frames
        place = start
        for number, part in enumerate(parts):
            if number:
                place += round(float(self.draw.uniform(*_PAUSES)) * RATE)
            self._put(part, place)
            place += part.pcm.size
        self.turns.append(Turn(start / RATE, place / RATE))
        self._end, self._answered = place, False
        self._quiet = self._talking = 0.0
        self._choose()

    def _put(self, clip: Clip, place: int) -> None:
        said = at_level(clip.pcm, self.scene.level + float(self.draw.uniform(-2, 2)))
        if self.scene.echo is not None:
            said = convolved(said, self.scene.echo)
        said = said[: max(0, self.sound.size - place)]
        self.sound[place : place + said.size] += said


def convolved(pcm: Samples, response: Samples) -> Samples:
    """As loud as before, and longer by the echo."""
    n = pcm.size + response.size - 1
    size = 1 << (n - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(response, size), size)[:n]
    return np.asarray(wet * np.sqrt(np.mean(pcm**2) / (np.mean(wet[: pcm.size] ** 2) + 1e-12)), np.float32)


def room(draw: Random) -> Samples:
    """The impulse response of a small or middling room: reverberation of 0.15 to 0.5 s."""
    decay = float(draw.uniform(0.15, 0.5))
    seconds = np.arange(round(decay * RATE)) / RATE
    response = draw.standard_normal(seconds.size) * 10 ** (-3 * seconds / decay)
    direct = float(draw.uniform(4, 20))
    response[0] = direct
    return np.asarray(response, np.float32)


def make_background(
    kind: Background, n: int, loudest: float, draw: Random, music: list[Samples], voices: list[Voice]
) -> Samples:
    """float32 [n], at most `loudest` dBFS."""
    sound = np.zeros(n, np.float32)
    if kind == "silence":
        return sound
    sound += at_level(coloured_noise(n, draw), min(float(draw.uniform(-75, -45)), loudest))
    level = min(float(draw.uniform(-55, -32)), loudest)
    match kind:
        case "music":
            piece = music[int(draw.integers(len(music)))]
            sound += at_level(np.resize(np.roll(piece, -int(draw.integers(piece.size))), n), level)
        case "babble":
            sound += at_level(_babble(n, draw, voices), min(level, -42.0))
        case "breath":
            for start in range(int(draw.integers(RATE)), n, round(float(draw.uniform(2.5, 4)) * RATE)):
                breath = _breath(draw)[: n - start]
                sound[start : start + breath.size] += at_level(breath, level)
        case "knocks":
            for _ in range(n // (3 * RATE)):
                place, length = int(draw.integers(n)), int(draw.integers(150, 2000))
                knock = draw.standard_normal(length) * np.exp(-7 * np.arange(length) / length)
                knock = at_level(np.asarray(knock, np.float32), level + 10)[: n - place]
                sound[place : place + knock.size] += knock
    return sound


def coloured_noise(n: int, draw: Random) -> Samples:
    """Between white and brown, some with a hum of the mains."""
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(draw.standard_normal(n)) / np.maximum(frequencies, 50) ** draw.uniform(0, 1.2)
    sound = np.fft.irfft(spectrum, n)
    if draw.random() < 0.3:
        sound += sound.std() * np.sin(2 * np.pi * draw.choice([50, 60, 100, 120]) * np.arange(n) / RATE)
    return np.asarray(sound, np.float32)


def _breath(draw: Random) -> Samples:
    n = round(float(draw.uniform(0.3, 1.2)) * RATE)
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    shape = np.exp(-(np.log((frequencies + 50) / draw.uniform(600, 2200)) ** 2))
    swell = np.sin(np.pi * np.arange(n) / n) ** 2
    return np.asarray(np.fft.irfft(np.fft.rfft(draw.standard_normal(n)) * shape, n) * swell, np.float32)


def _babble(n: int, draw: Random, voices: list[Voice]) -> Samples:
    """People at the other end of a hall."""
    sound = np.zeros(n, np.float32)
    for _ in range(4):
        voice, place = voices[int(draw.integers(len(voices)))], int(draw.integers(RATE))
        while place < n:
            said = convolved(voice.clip(draw, 6.0).pcm, room(draw))[: n - place]
            sound[place : place + said.size] += said
            place += said.size + int(draw.integers(HOP, RATE))
    return sound
