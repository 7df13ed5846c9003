"""The rules that the demo model is taught: when its assistant speaks, and when it does not."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # behind all else: pymoshi stays the one that is installed

from training.dialogue import ANSWER_AFTER, CUT_COUNT, GREET_AFTER, MOST_LATE, Assets, Dialogue, play, sound_of
from training.script import FIRST, LAST, LINES, LONG_LINE, NUDGE_LINES, RESUME_LINE, WELCOME
from training.vocabulary import EPAD, PAD

LENGTH = 20  # frames of every line here
WELCOMED = GREET_AFTER + 1 + LENGTH * len(WELCOME)  # the first frame after the welcome
SILENCE = 9


@pytest.fixture(scope="module")
def assets() -> Assets:
    """Lines whose text and codes are their number."""
    numbers = range(len(LINES))
    return Assets(
        codes=[np.full((8, LENGTH), number) for number in numbers],
        texts=[np.full(LENGTH, 100 + number) for number in numbers],
        sounds=[np.full(LENGTH * 1920, 0.001 * number, np.float32) for number in numbers],
        silence=np.full(8, SILENCE),
    )


def talk(assets: Assets, *spoken: tuple[int, int], frames: int = 400, last: int = FIRST - 1) -> Dialogue:
    """The answer to a user who speaks from one frame until before another, and again."""
    speaks = np.zeros(frames, bool)
    for start, end in spoken:
        speaks[start:end] = True
    return play(speaks, assets, np.random.default_rng(0), last)


def lines(dialogue: Dialogue) -> list[int]:
    return [line for _, line, _ in dialogue.said]


def test_it_welcomes_everybody_within_a_second(assets: Assets) -> None:
    said = talk(assets, frames=100).said
    assert [line for _, line, _ in said] == list(range(len(WELCOME)))
    assert said[0][0] == GREET_AFTER + 1 <= 12


def test_who_speaks_first_is_welcomed_after_it(assets: Assets) -> None:
    said = talk(assets, (2, 30), frames=120).said
    assert said[0][1] == 0
    assert said[0][0] > 30


def test_a_turn_is_answered_with_the_next_line_once_it_is_over(assets: Assets) -> None:
    answer = talk(assets, (100, 120), (170, 190)).said[len(WELCOME) :]
    assert [line for _, line, _ in answer[:2]] == [FIRST, FIRST + 1]
    assert all(
        ANSWER_AFTER < frame - end <= ANSWER_AFTER + MOST_LATE + 1
        for (frame, _, _), end in zip(answer[:2], (119, 189), strict=True)
    )


def test_a_pause_for_thought_is_not_the_end_of_a_turn(assets: Assets) -> None:
    assert lines(talk(assets, (100, 110), (110 + ANSWER_AFTER - 1, 130), frames=200))[len(WELCOME) :] == [FIRST]


def test_a_cough_is_no_turn(assets: Assets) -> None:
    assert lines(talk(assets, (100, 101), frames=140)) == list(range(len(WELCOME)))


def test_it_stops_when_interrupted_and_takes_the_line_up_again_once(assets: Assets) -> None:
    dialogue = talk(assets, (100, 110), (124, 134), frames=250)
    first, *rest = dialogue.said[len(WELCOME) :]
    assert first[1] == FIRST
    assert 124 < first[0] + first[2] <= 127 + MOST_LATE
    assert [line for _, line, _ in rest[:2]] == [RESUME_LINE, FIRST]


def test_a_short_sound_does_not_interrupt_it(assets: Assets) -> None:
    first = talk(assets, (100, 110), (124, 125), frames=250).said[len(WELCOME)]
    assert first[2] == LENGTH


def test_a_long_turn_is_thanked_for(assets: Assets) -> None:
    assert lines(talk(assets, (100, 200)))[len(WELCOME) : len(WELCOME) + 2] == [LONG_LINE, FIRST]


def test_a_silent_user_is_asked_twice_and_then_left_alone(assets: Assets) -> None:
    assert lines(talk(assets, frames=900))[len(WELCOME) :] == list(NUDGE_LINES)


def test_after_the_last_line_comes_the_first(assets: Assets) -> None:
    assert lines(talk(assets, (100, 110), last=LAST))[len(WELCOME)] == FIRST


def test_text_and_codes_are_those_of_the_lines_and_silence_between(assets: Assets) -> None:
    dialogue = talk(assets, (100, 110), frames=160)
    spoken = np.zeros(160, bool)
    for frame, line, n in dialogue.said:
        assert (dialogue.text[frame : frame + n] == 100 + line).all()
        assert (dialogue.codes[:, frame : frame + n] == line).all()
        spoken[frame : frame + n] = True
    assert (dialogue.codes[:, ~spoken] == SILENCE).all()
    assert set(dialogue.text[~spoken]) == {PAD, EPAD}


def test_the_loudspeaker_plays_a_cut_line_up_to_the_cut(assets: Assets) -> None:
    dialogue = talk(assets, (100, 110), (124, 134), frames=250)
    sound = sound_of(dialogue, assets)
    start, line, n = dialogue.said[len(WELCOME)]
    assert len(sound) == 250 * 1920
    assert np.allclose(sound[start * 1920 : (start + n) * 1920], 0.001 * line)
    assert not sound[(start + n) * 1920 : (start + n + 1) * 1920].any()


def test_a_late_assistant_is_told_in_every_frame_what_is_due(assets: Assets) -> None:
    late_stops = 0
    for seed in range(40):
        speaks = np.zeros(150, bool)
        speaks[100:110] = speaks[134:144] = True
        dialogue = play(speaks, assets, np.random.default_rng(seed))
        start, _, said = dialogue.said[len(WELCOME)]
        waiting = slice(109 + ANSWER_AFTER, start - 1)  # until the frame that announces the line
        assert (dialogue.due[0, waiting] == EPAD).all()
        talking_on = slice(134 + CUT_COUNT - 1, start + said)
        assert (dialogue.due[:, talking_on] == [[PAD], [SILENCE]]).all()
        late_stops += talking_on.stop > talking_on.start
        punctual = (dialogue.due[0] == dialogue.text) & (dialogue.due[1] == dialogue.codes[0])
        assert punctual.sum() == 150 - sum(max(0, late.stop - late.start) for late in (waiting, talking_on))
    assert 5 < late_stops < 35
