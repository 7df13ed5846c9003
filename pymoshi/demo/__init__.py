"""The recorded user of `pymoshi demo`: a person to talk with, where there is no microphone.

Its lines are a recording (user.ogg) with captions (user.json). Only the pauses between them are not: it listens, and
says the next line once the model has fallen silent, or interrupts it. So the conversation works out with any model,
however long its answers are.
"""

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Final, Literal

import numpy as np

from pymoshi.audio import files as sound_files
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.ports import EndOfAudio, Samples

_RATE: Final = sound_files.SAMPLE_RATE
_AUDIBLE: Final = 10 ** (-44 / 20)  # RMS; the codec's silence is below -60 dBFS, speech above -40
_PATIENCE: Final = 8.0  # seconds without a word of the model, after which the user goes on
_LONGEST_TURN: Final = 30.0  # seconds of the model's, after which the user stops being polite
_FAREWELL: Final = 1.5  # seconds of silence after the last answer


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the recording, in seconds of it, and the cue that it waits for."""

    start: float
    end: float
    text: str
    when: Literal["quiet", "speaking"]
    """After the model has been quiet for `seconds`, or after it has been speaking for as long: an interruption."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line that was said, in seconds of the conversation."""

    start: float
    end: float
    text: str
    interrupts: bool


class RecordedUser:
    """An `AudioSource` that waits for its turn.

    Whoever plays the model's voice tells `listen` of it, frame by frame. Time passes as samples are read, so that a
    conversation is the same at any speed.

    paced: whether the samples arrive in real time, as a microphone's would; else at once, when asked.
    """

    def __init__(self, *, paced: bool = False, clock: Clock | None = None) -> None:
        self.paced = paced
        self._clock = clock or SystemClock()
        self._started: float | None = None
        self._lines, self._pcm = load()
        self._saying: Samples = np.zeros(0, np.float32)
        """What is left of the line that is being said."""
        self.last: Samples = np.zeros(0, np.float32)
        """What was read last."""
        self._next = 0
        self._position = 0
        self._quiet = 0.0
        self._speaking = 0.0
        self._answered = False
        self.spoken: list[Spoken] = []

    def read(self, n: int, timeout: float) -> Samples | None:
        """The next n samples. Raises EndOfAudio when everything is said and answered."""
        if not self._wait(n, timeout):
            return None
        if self._saying.size == 0:
            if self._next == len(self._lines):
                if self._done():
                    raise EndOfAudio("The recorded user has said everything.")
            elif self._cue(self._lines[self._next]):
                self._begin(self._lines[self._next])
        said, self._saying = self._saying[:n], self._saying[n:]
        self._position += n
        self.last = np.pad(said, (0, n - said.size))
        return self.last

    def _wait(self, n: int, timeout: float) -> bool:
        """Whether n more samples have arrived, if need be after `timeout` seconds."""
        if not self.paced:
            return True
        if self._started is None:
            self._started = self._clock.now()
        due = self._started + (self._position + n) / _RATE - self._clock.now()
        self._clock.sleep(min(due, timeout))
        return due <= timeout

    def listen(self, pcm: Samples) -> None:
        """Some of the model's voice, as it is played. Nobody listens while they talk."""
        if self._saying.size:
            return
        seconds = pcm.size / _RATE
        if pcm.size and float(np.sqrt(np.mean(pcm**2))) > _AUDIBLE:
            self._speaking += seconds
            self._quiet = 0.0
            self._answered = True
        else:
            self._quiet += seconds

    def pending(self) -> int:
        """Nothing waits: where the model is late, the user is."""
        return 0

    def skip(self, n: int) -> int:
        """None of it."""
        return 0

    def close(self) -> None:
        """Nothing to give back."""

    def _cue(self, line: Line) -> bool:
        if self._lost_patience():
            return True
        if line.when == "speaking":
            return self._speaking >= line.seconds and self._quiet == 0
        return self._answered and self._quiet >= line.seconds

    def _done(self) -> bool:
        return self._lost_patience() or (self._answered and self._quiet >= _FAREWELL)

    def _lost_patience(self) -> bool:
        return self._quiet > _PATIENCE or self._speaking > _LONGEST_TURN

    def _begin(self, line: Line) -> None:
        start, end = round(line.start * _RATE), round(line.end * _RATE)
        self._saying = self._pcm[start:end]
        now = self._position / _RATE
        self.spoken.append(Spoken(now, now + line.end - line.start, line.text, self._quiet == 0))
        self._next += 1
        self._speaking, self._quiet, self._answered = 0.0, 0.0, False


def load() -> tuple[list[Line], Samples]:
    """The lines and the recording, float32 mono at 24 kHz."""
    folder = files("pymoshi.demo")
    content = json.loads(folder.joinpath("user.json").read_text(encoding="utf-8"))
    with as_file(folder.joinpath("user.ogg")) as path:
        pcm = sound_files.read(path)
    return [Line(**line) for line in content["lines"]], pcm
