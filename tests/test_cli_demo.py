"""`pymoshi demo`: the README's first command."""

import inspect
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pymoshi.audio import stream
from pymoshi.audio.signals import ArraySink
from pymoshi.cli import talk
from pymoshi.cli.demo import Room, demo_command, open_speaker
from pymoshi.demo import RecordedUser, load
from pymoshi.errors import AudioDeviceError

LINE = re.compile(r"\[(\d\d):(\d\d\.\d)\] (user |model)  (.+)")


@dataclass(frozen=True)
class Demo:
    """A run of `pymoshi demo` to its end."""

    folder: Path
    code: int
    stdout: str
    stderr: str


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pymoshi", "demo", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    with start(folder) as ran:
        stdout, stderr = ran.communicate(timeout=600)
    return Demo(folder, ran.returncode, stdout, stderr)


def test_it_needs_no_options_and_shows_both_sides(demo: Demo) -> None:
    assert demo.code == 0, demo.stderr
    said = [LINE.fullmatch(line) for line in demo.stdout.splitlines()]
    lines = [(match[3].strip(), match[4]) for match in said if match]
    assert len(lines) == len(said)
    assert lines[0][0] == "model"
    assert [text for who, text in lines if who == "user"] == [line.text for line in load()[0]]
    assert sum(who == "model" for who, _ in lines) >= 5
    assert any(text.endswith(" ...") for who, text in lines if who == "model")  # the interruption
    times = [60 * int(match[1]) + float(match[2]) for match in said if match]
    assert times == sorted(times)


def test_it_leaves_a_recording_with_one_side_on_each_channel(demo: Demo) -> None:
    recording, rate = soundfile.read(demo.folder / "pymoshi-demo.wav")
    assert rate == 24_000
    assert recording.shape[1] == 2
    assert recording.shape[0] > 30 * rate
    user, model = np.abs(recording).max(axis=0)
    assert user > 0.1
    assert model > 0.1
    alone = recording[: 2 * rate]  # the greeting
    assert not alone[:, 0].any()
    assert np.abs(alone[:, 1]).max() > 0.1


def test_it_says_that_it_does_not_understand_words_and_what_to_try_next(demo: Demo) -> None:
    assert "not what they say" in demo.stderr
    assert "pymoshi demo --live" in demo.stderr
    assert re.search(r"A frame of 80 ms took \d+\.\d ms", demo.stderr)


@pytest.mark.parametrize("arguments", [("-o", "said.mp3"), ("-o", "nowhere/said.wav"), ("--live", "--no-play")])
def test_what_cannot_be_is_refused_before_it_begins(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with start(tmp_path, *arguments) as ran:
        stdout, stderr = ran.communicate(timeout=60)
    assert ran.returncode == 2
    assert stdout == ""
    assert "error:" in stderr
    assert "Traceback" not in stderr


def test_ctrl_c_completes_the_recording(tmp_path: Path) -> None:
    with start(tmp_path) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline().startswith("[00:")
        ran.send_signal(signal.SIGINT)
        _, stderr = ran.communicate(timeout=60)
    assert ran.returncode == 130
    assert "Traceback" not in stderr
    assert 1.0 < soundfile.info(tmp_path / "pymoshi-demo.wav").duration < 60.0


def test_live_is_the_talk_command_with_the_demo_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, object]] = []
    signature = inspect.signature(talk.talk_command)
    monkeypatch.setattr(talk, "talk_command", lambda **options: asked.append(signature.bind(**options).arguments))
    demo_command(live=True, output=tmp_path / "mine.wav")
    assert asked[0]["model"] == "demo"
    assert asked[0]["record"] == tmp_path / "mine.wav"


def test_who_plays_it_hears_both_sides() -> None:
    user, speaker = RecordedUser(), ArraySink()
    room = Room(user, speaker)
    for _ in range(60):  # the model greets, then it is the user's turn
        user.read(1920, 0)
        room.write(np.full(1920, 0.25, np.float32) if speaker.pcm.size < 20 * 1920 else np.zeros(1920, np.float32))
    assert len(user.spoken) == 1
    assert speaker.pcm[: 20 * 1920].min() == 0.25
    assert np.abs(speaker.pcm[40 * 1920 :]).max() > 0.1


def test_without_a_speaker_it_is_silent_unless_sound_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_card(*_: object) -> None:
        raise AudioDeviceError("There is no speaker.")

    monkeypatch.setattr(stream, "open_output", no_card)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert open_speaker(None) is None
    with pytest.raises(AudioDeviceError):
        open_speaker(True)


def test_into_a_pipe_it_does_not_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "open_output", lambda: pytest.fail("the speaker was opened"))
    assert open_speaker(None) is None
    assert open_speaker(False) is None
