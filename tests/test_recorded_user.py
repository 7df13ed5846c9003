"""The recorded user of `pymoshi demo`: polite, patient, and not forever."""

import threading

import numpy as np
import pytest

from pymoshi.audio import files
from pymoshi.audio.ports import AudioSource, EndOfAudio
from pymoshi.demo import Line, RecordedUser, load

FRAME = 1920
SILENCE = np.zeros(FRAME, np.float32)
SPEECH = np.full(FRAME, 0.1, np.float32)


class FakeClock:
    """Time passes while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 0.0)

    def wait(self, event: threading.Event, timeout: float) -> bool:
        self.sleep(timeout)
        return event.is_set()


def pass_time(user: RecordedUser, seconds: float, said: np.ndarray) -> int:
    """Lets the model say the same for so long; returns how many lines the user has said by then."""
    for _ in range(round(seconds / 0.08)):
        assert user.read(FRAME, 0) is not None
        user.listen(said)
    return len(user.spoken)


def lines() -> list[Line]:
    return load()[0]


def length(number: int) -> float:
    return lines()[number].end - lines()[number].start


def test_it_is_a_source() -> None:
    user = RecordedUser()
    assert isinstance(user, AudioSource)
    assert user.pending() == 0
    assert user.skip(100) == 0
    user.close()


def test_all_that_is_audible_in_the_recording_is_captioned() -> None:
    captions, pcm = load()
    covered = np.zeros(pcm.size, bool)
    for line in captions:
        covered[round(line.start * files.SAMPLE_RATE) : round(line.end * files.SAMPLE_RATE)] = True
    assert np.abs(pcm[~covered]).max() < 0.01
    assert np.abs(pcm[covered]).max() > 0.2


def test_the_conversation_has_four_turns_and_an_interruption() -> None:
    assert [line.when for line in lines()].count("speaking") == 1
    assert len(lines()) >= 5


def test_it_waits_for_the_greeting_and_speaks_after_it() -> None:
    user = RecordedUser()
    assert pass_time(user, 2.0, SILENCE) == 0
    assert pass_time(user, 4.0, SPEECH) == 0
    assert pass_time(user, 1.3, SILENCE) == 1
    assert user.spoken[0].start == pytest.approx(7.0, abs=0.2)


def test_what_it_says_is_the_recording() -> None:
    user = RecordedUser()
    pass_time(user, 1.0, SPEECH)
    heard = []
    for _ in range(round((1.1 + length(0)) / 0.08)):
        heard.append(user.read(FRAME, 0))
        user.listen(SILENCE)
    pcm = np.concatenate([block for block in heard if block is not None])
    start = round(user.spoken[0].start * files.SAMPLE_RATE) - FRAME * round(1.0 / 0.08)
    line = load()[1][round(lines()[0].start * files.SAMPLE_RATE) : round(lines()[0].end * files.SAMPLE_RATE)]
    np.testing.assert_array_equal(pcm[start : start + line.size], line)
    assert not pcm[:start].any()


def test_it_interrupts_where_its_script_says_so() -> None:
    user = RecordedUser()
    number = next(index for index, line in enumerate(lines()) if line.when == "speaking")
    for index in range(number):
        pass_time(user, 1.0, SPEECH)
        assert pass_time(user, 1.3, SILENCE) == index + 1
        pass_time(user, length(index), SILENCE)
    assert pass_time(user, lines()[number].seconds - 0.5, SPEECH) == number
    assert pass_time(user, 0.8, SPEECH) == number + 1
    assert user.spoken[number].interrupts


def test_a_model_that_never_answers_is_not_waited_for_forever() -> None:
    user = RecordedUser()
    with pytest.raises(EndOfAudio):
        pass_time(user, 120.0, SILENCE)
    assert len(user.spoken) == len(lines())


def test_a_model_that_never_stops_does_not_keep_it_forever() -> None:
    user = RecordedUser()
    with pytest.raises(EndOfAudio):
        pass_time(user, 300.0, SPEECH)
    assert len(user.spoken) == len(lines())


def test_a_paced_recording_comes_in_real_time() -> None:
    clock = FakeClock()
    user = RecordedUser(paced=True, clock=clock)
    assert user.paced
    for _ in range(10):
        assert user.read(FRAME, 1.0) is not None
    assert clock.time == pytest.approx(0.8)
    assert user.read(FRAME, 0.02) is None
    assert user.read(FRAME, 0.1) is not None
    assert clock.time == pytest.approx(0.88)
