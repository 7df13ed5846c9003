"""What the loop adds to the delay, beyond collecting a frame (80 ms) and computing it: at most 60 ms, at any device."""

import numpy as np
import pytest

from pymoshi.audio.capture import Capture
from pymoshi.audio.playout import Playout
from realtime.virtual import Call, EchoingModel, Microphone, Samples, Speaker, VirtualClock


def added_ms(rate: int, block_seconds: float, compute: float) -> list[float]:
    """Milliseconds from the microphone to the speaker, of each of some beeps, without the 80 and the computing."""
    clock, heard = VirtualClock(), list[float]()
    call = Call(clock, EchoingModel(clock, lambda _: compute), Capture(rate, clock=clock), Playout(rate))

    def beep(first: int, n: int) -> Samples:
        """A beep of 20 ms every second."""
        phase = np.arange(first, first + n) % rate
        return np.where(phase < rate // 50, 0.5 * np.sin(2 * np.pi * 1000 * phase / rate), 0).astype(np.float32)

    def listen(time: float, block: Samples) -> None:
        loud = np.flatnonzero(np.abs(block) > 0.1)
        if loud.size and (not heard or time - heard[-1] > 0.5):
            heard.append(time + float(loud[0]) / rate)

    block = round(rate * block_seconds)
    Microphone(clock, call.capture, beep, block, rate=rate).start()
    Speaker(clock, call.playout, listen, block, rate=rate).start()
    call.run(12.0)
    return [1000 * (time % 1.0 - 0.08 - compute) for time in heard[2:]]


@pytest.mark.parametrize("block_seconds", [0.01, 0.02])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_the_loop_adds_at_most_60_ms(rate: int, block_seconds: float) -> None:
    added = added_ms(rate, block_seconds, compute=0.04)
    assert len(added) >= 8
    assert 0 < min(added) <= max(added) < 60


def test_a_usual_sound_card_costs_less_than_half_of_that() -> None:
    assert max(added_ms(48_000, 0.01, compute=0.025)) < 30
