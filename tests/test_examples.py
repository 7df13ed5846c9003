"""Every example runs, as it stands, in a process of its own and without a sound card."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pymoshi.audio import files

EXAMPLES = Path(__file__).parents[1] / "examples"

SOUND_CARD = """
import runpy, sys
from pymoshi.audio import signals, stream

script, heard = sys.argv[1:]

class Card(signals.FileSource, signals.NullSink):
    "Both directions, as a sound card."

stream.open_duplex = lambda *_, **__: Card(heard)
sys.argv = [script]
runpy.run_path(script, run_name="__main__")
"""
"""Runs an example with a file in place of the microphone."""

FASTRTC = """
class StreamHandler:
    def __init__(self, expected_layout="mono", output_sample_rate=24000, *, input_sample_rate=48000):
        self.output_sample_rate, self.input_sample_rate = output_sample_rate, input_sample_rate

class Stream:
    pass
"""
"""What fastrtc_app.py takes from FastRTC."""

CALL = """
import sys
import numpy as np
import pymoshi
from fastrtc_app import Caller
from pymoshi.audio import files

speech = (files.read(sys.argv[1]) * 32767).astype(np.int16)
with pymoshi.load("demo", device="cpu") as model:
    caller = Caller(model).copy()
    caller.start_up()
    said, place = [], 0
    while len(said) < 40 and place < 100 * 1920:
        for block in speech[place : place + 1920].reshape(-1, 480):
            caller.receive((24000, block.reshape(1, -1)))
        place += 1920
        answer = caller.emit()
        if answer is not None:
            rate, pcm = answer
            assert rate == 24000 and pcm.shape == (1, 1920) and pcm.dtype == np.int16
            said.append(pcm)
    caller.shutdown()
print(len(said), max(int(np.abs(pcm).max()) for pcm in said))
"""


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """The first twelve seconds of the recording beside the examples."""
    path = tmp_path / "question.flac"
    soundfile.write(path, files.read(EXAMPLES / "question.flac")[: 150 * 1920], 24_000)
    return path


def run(folder: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    ran = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLES)])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


def test_talk(tmp_path: Path, question: Path) -> None:
    assert "Hello!" in run(tmp_path, "-c", SOUND_CARD, EXAMPLES / "talk.py", question).stdout
    assert len([line for line in (EXAMPLES / "talk.py").read_text().splitlines() if line]) <= 11


def test_file_to_file(tmp_path: Path, question: Path) -> None:
    ran = run(tmp_path, EXAMPLES / "file_to_file.py", question, "reply.wav")
    assert "12.0 s of conversation" in ran.stdout
    reply, rate = soundfile.read(tmp_path / "reply.wav")
    assert (reply.size, rate) == (150 * 1920, 24_000)
    assert np.abs(reply).max() > 0.1


def test_own_microphone(tmp_path: Path, question: Path) -> None:
    raw = (files.read(question) * 32767).astype("<i2").tobytes()
    (tmp_path / "in.raw").write_bytes(raw)
    with (tmp_path / "in.raw").open("rb") as stdin:
        ran = subprocess.run(
            [sys.executable, EXAMPLES / "own_microphone.py"], stdin=stdin, capture_output=True, check=False, timeout=300
        )
    assert ran.returncode == 0, ran.stderr
    said = np.frombuffer(ran.stdout, "<i2")
    assert said.size == 150 * 1920
    assert np.abs(said).max() > 3000
    assert b"Hello!" in ran.stderr


def test_callbacks(tmp_path: Path, question: Path) -> None:
    said = run(tmp_path, EXAMPLES / "callbacks.py", question).stdout
    for part in (
        "the model begins to speak",
        "the user has spoken for",
        "now speaking",
        "'Hello",
        "the slowest of 150 frames",
    ):
        assert part in said


def test_two_personas(tmp_path: Path) -> None:
    said = run(tmp_path, EXAMPLES / "two_personas.py", "talk.wav", "16").stdout
    recording, _ = soundfile.read(tmp_path / "talk.wav")
    assert recording.shape == (200 * 1920, 2)
    assert (np.abs(recording).max(axis=0) > 0.1).all()
    assert {line.split()[2] for line in said.splitlines()} == {"first", "second"}


def test_fastrtc_app(tmp_path: Path, question: Path) -> None:
    (tmp_path / "fastrtc.py").write_text(FASTRTC)
    frames, loudest = run(tmp_path, "-c", CALL, question).stdout.split()
    assert int(frames) == 40
    assert int(loudest) > 1000


def test_the_readme_names_every_example() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".flac"):
            assert f"`{path.name}`" in readme
