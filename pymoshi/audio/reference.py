"""What another device plays, told in the microphone's time.

If microphone and speaker are two devices, they run on two clocks and call back in turns that do not match. An echo
canceller wants both sides sample by sample, with a delay that stays the same. So what was played waits here, and is
read at a rate that follows the difference of the clocks.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pymoshi.audio.ports import Samples
from pymoshi.audio.ring import Ring

_LEAD: Final = 0.02  # s that played samples wait here: longer than a block, shorter than the way to the microphone
_CAPACITY: Final = 1.0  # s
_LOST_TRACK: Final = 0.1  # s off: one of the devices stalled; begin anew
_SETTLING: Final = 2.0  # s over which it is found out how much waits here on the average
_SMOOTHING: Final = 5.0  # s over which the callbacks' jitter averages out
_GAIN: Final = 0.1  # per second: a millisecond off is answered by 100 ppm
_FASTEST: Final = 0.001


class EchoReference:
    """Written by the speaker's callback, read by the microphone's. rates: Hz."""

    def __init__(self, rate_played: int, rate_recorded: int) -> None:
        self._rate = rate_played
        self._step = rate_played / rate_recorded
        self._ring = Ring(round(_CAPACITY * rate_played))
        self._tail = np.zeros(4, np.float32)  # of what was read before: a curve needs its neighbours
        self._at = 1.0  # where the next sample lies, counted from the tail's begin
        self._lead: float | None = None  # s, smoothed; None before the first sample and after losing track
        self._kept = _LEAD  # s, what the lead is held at
        self._age = 0.0  # s since the first sample
        self._played_at = 0.0

    def played(self, pcm: Samples, now: float) -> None:
        """A block that the speaker got, float32 [n]. What there is no room for is left out: nobody records."""
        self._played_at = now
        self._ring.write(pcm)

    def take(self, n: int, now: float) -> Samples:
        """What was played while the microphone recorded its next n samples, at the microphone's rate, float32 [n].

        now: the callback's time in seconds, as in `played`.
        """
        if not self._on_track(n, now):
            return np.zeros(n, np.float32)
        places = self._at + self._step * (1 + self._correction()) * np.arange(n + 1)
        needed = max(0, int(places[-1]) + 3 - self._tail.size)
        line = np.concatenate([self._tail, np.zeros(needed, np.float32)])
        got = self._ring.read_into(line[self._tail.size :])
        used = min(int(places[-1]) - 1, line.size - 4)
        self._at = float(places[-1]) - used
        self._tail = line[used:].copy()
        if got < needed:
            self._lead = None
        return _curve(line, places[:-1])

    def _on_track(self, n: int, now: float) -> bool:
        """Whether enough waits here to begin with, and how much it is since."""
        # Between two blocks of the speaker time goes on, which a count of samples does not show.
        lead = (self._ring.available - n * self._step) / self._rate + max(0.0, now - self._played_at)
        seconds = n * self._step / self._rate
        if self._lead is None:
            if lead < _LEAD:
                return False
            self._ring.skip(round((lead - _LEAD) * self._rate))
            self._tail, self._at = np.zeros(4, np.float32), 1.0
            self._lead = lead = _LEAD
            self._age = 0.0
        self._age += seconds
        self._lead += (lead - self._lead) * seconds / min(max(self._age, seconds), _SMOOTHING)
        if self._age <= _SETTLING:
            self._kept = self._lead  # what it is on the average is what it shall stay
        if abs(self._lead - self._kept) > _LOST_TRACK:
            self._lead = None
        return self._lead is not None

    def _correction(self) -> float:
        """How much faster to read than the rates say."""
        off = 0.0 if self._lead is None else self._lead - self._kept
        return float(np.clip(off * _GAIN, -_FASTEST, _FASTEST))


def _curve(line: Samples, places: NDArray[np.floating]) -> Samples:
    """`line` between its samples, by Catmull-Rom splines: exact enough for a reference that nobody hears."""
    index = places.astype(np.intp)
    t = (places - index).astype(np.float32)
    a, b, c, d = line[index - 1], line[index], line[index + 1], line[index + 2]
    curve: Samples = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve
