"""The bundled model in a few of the conversations of benchmarks/demo_behaviour.py: it must hold its own there.

The users are simulated and react to what the model does; their voices are not among those that it was trained with.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from demo_behaviour import converse, read_script
from demo_score import Score, Trace, score
from demo_users import Background, Manner, Scene, SimulatedUser, make_background, room
from demo_voices import Voice, folder_voice

import pymoshi

Converse = Callable[..., Trace]


@pytest.fixture(scope="module")
def demo() -> Iterator[pymoshi.Model]:
    with pymoshi.load("demo", device="cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def voices(fixtures: Path) -> dict[str, Voice]:
    clips = sorted((fixtures / "voices").glob("*.ogg"))
    return {name: Voice(name, [clip for clip in clips if clip.name.startswith(name)]) for name in ("annie", "m7")}


@pytest.fixture
def talk(demo: pymoshi.Model, voices: dict[str, Voice]) -> Converse:
    """A conversation with a user of some manner; the same at each call."""

    def run(
        manner: Manner,
        voice: str | None,
        *,
        level: float = -24.0,
        background: Background = "noise",
        echo: bool = False,
        temperature: float = 0.0,
        seconds: float = 40.0,
    ) -> Trace:
        draw = np.random.default_rng(3)
        n = int(seconds * 12.5) * demo.frame_size
        noise = make_background(background, n, level - 20, draw, [], list(voices.values()))
        scene = Scene(noise, level, room(draw) if echo else None)
        user = SimulatedUser(manner, voices[voice] if voice else None, scene, draw)
        about = {"background": background, "voice": voice, "level_dbfs": level}
        return converse(demo, user, about, read_script(), temperature=temperature, seed=1).trace

    return run


def assert_well_behaved(found: Score) -> None:
    assert found.greeted == found.to_greet
    assert found.to_answer >= 2
    assert len(found.answers) == found.to_answer
    assert found.false_while_user + found.false_alone == 0
    assert found.lines >= 2
    assert found.lines_right == found.lines


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_it_greets_and_answers_each_turn_in_time(talk: Converse, temperature: float) -> None:
    assert_well_behaved(score(talk("calm", "annie", temperature=temperature)))


def test_it_answers_a_quiet_voice_in_a_reverberant_room(talk: Converse) -> None:
    assert_well_behaved(score(talk("calm", "m7", level=-38.0, echo=True)))


def test_it_keeps_up_with_quick_exchanges(talk: Converse) -> None:
    assert_well_behaved(score(talk("quick", "m7")))


def test_it_falls_silent_when_it_is_interrupted(talk: Converse) -> None:
    found = score(talk("interrupting", "annie"))
    assert found.interruptions >= 2
    assert len(found.stops) == found.interruptions
    assert sum(stop > 0.6 for stop in found.stops) <= 1  # of six


@pytest.mark.parametrize("background", ["silence", "noise", "knocks", "breath"])
def test_to_an_empty_room_it_says_no_more_than_greeting_and_nudges(talk: Converse, background: Background) -> None:
    trace = talk("nobody", None, background=background, seconds=24.0)
    found = score(trace)
    assert found.greeted == 1
    assert found.false_alone == 0
    assert {said.line.kind for said in trace.said if said.line} <= {"greeting", "nudge"}


def test_a_folder_of_recordings_is_a_voice(fixtures: Path) -> None:
    voice = folder_voice(fixtures / "voices")
    clip = voice.clip(np.random.default_rng(0), longest=1.0)
    assert clip.seconds <= 1.0
    assert clip.mask.any()
