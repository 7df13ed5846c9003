"""Loudness, and who is speaking: by level alone, so that it costs nothing and works for any voice."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pymoshi.conversation.events import FRAME_SECONDS, SILENCE_DB, SpeechEnded, SpeechStarted, Who

_BLOCK: Final = 480  # samples, 20 ms
_BLOCK_SECONDS: Final = 0.02
_SURE: Final = 3  # blocks in a row that make a beginning: a click is shorter
_FLOOR_BLOCKS: Final = 25  # half a second, of which the quietest block counts
_FLOOR_HALVES: Final = 16  # 8 s: long enough that speech has pauses, short enough to get used to a fan
_LOUDEST_FLOOR: Final = -30.0


def dbfs(pcm: NDArray[np.float32]) -> float:
    """RMS of float32 [n] in dB of full scale; -120 for silence."""
    power = float(np.dot(pcm, pcm)) / max(pcm.size, 1)
    return max(10 * math.log10(power), SILENCE_DB) if power > 0 else SILENCE_DB


@dataclass
class SpeechDetector:
    """Tells when one side starts and stops speaking.

    Speech is what stands `above_floor` dB above the quietest of the last 8 s, and above `threshold`; it ends after
    `hangover` seconds without. Something that goes on evenly (a fan, a hum) is taken for silence from the start or,
    if it begins later, after these 8 s.
    """

    who: Who
    threshold: float = -50.0
    """dBFS."""
    above_floor: float = 12.0
    """dB; 0 for a side without noise."""
    hangover: float = 0.5
    speaking: bool = False
    _started: float = 0.0
    _last_loud: float = 0.0
    _loud_blocks: int = 0
    _lowest: float = 0.0
    _blocks: int = 0
    _halves: deque[float] = field(default_factory=lambda: deque(maxlen=_FLOOR_HALVES))

    def hear(self, time: float, pcm: NDArray[np.float32]) -> list[SpeechStarted | SpeechEnded]:
        """The next frame, float32 [1920], which begins at `time` seconds. Returns what it changed."""
        events: list[SpeechStarted | SpeechEnded] = []
        blocks = pcm[: pcm.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        for i, block in enumerate(blocks):
            event = self._block(time + i * _BLOCK_SECONDS, dbfs(block))
            if event is not None:
                events.append(event)
        return events

    def finish(self, time: float) -> list[SpeechStarted | SpeechEnded]:
        """The conversation ends; so does the speech, if there is any."""
        if not self.speaking:
            return []
        self.speaking = False
        end = min(self._last_loud, time)
        return [SpeechEnded(round(end, 2), self.who, round(end - self._started, 2))]

    def _block(self, time: float, level: float) -> SpeechStarted | SpeechEnded | None:
        needed = self._needed(level) - (4.0 if self.speaking else 0.0)  # dB of hysteresis
        if level >= needed:
            self._loud_blocks += 1
            self._last_loud = time + _BLOCK_SECONDS
        else:
            self._loud_blocks = 0
        if not self.speaking and self._loud_blocks >= _SURE:
            self.speaking = True
            self._started = round(time - (_SURE - 1) * _BLOCK_SECONDS, 2)
            return SpeechStarted(self._started, self.who)
        if self.speaking and time + _BLOCK_SECONDS - self._last_loud > self.hangover - 1e-6:
            self.speaking = False
            return SpeechEnded(round(self._last_loud, 2), self.who, round(self._last_loud - self._started, 2))
        return None

    def _needed(self, level: float) -> float:
        """The level at which speech begins, now."""
        if self.above_floor == 0:
            return self.threshold
        self._lowest = level if self._blocks == 0 else min(self._lowest, level)
        self._blocks += 1
        if self._blocks == _FLOOR_BLOCKS:
            self._halves.append(self._lowest)
            self._blocks = 0
        floor = min([self._lowest, *self._halves])
        return max(self.threshold, min(floor, _LOUDEST_FLOOR) + self.above_floor)


class Pace:
    """How fast this machine computes, over the last 5 s of conversation."""

    FRAMES: Final = round(5 / FRAME_SECONDS)
    _RECOVERED: Final = 0.95  # of the budget

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=self.FRAMES)
        self.too_slow = False

    def add(self, step_ms: float) -> None:
        """The computing time of one more frame."""
        self._steps.append(step_ms)
        mean, budget = self.mean_ms, FRAME_SECONDS * 1000
        if len(self._steps) == self.FRAMES:
            self.too_slow = mean > (budget * self._RECOVERED if self.too_slow else budget)

    @property
    def mean_ms(self) -> float:
        """Milliseconds a frame."""
        return sum(self._steps) / max(len(self._steps), 1)

    @property
    def rate(self) -> float:
        """Frames a second that could be computed; a conversation takes 12.5."""
        return 1000 / max(self.mean_ms, 1e-6)
