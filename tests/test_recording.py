"""Recordings: both sides beside each other, in a file that is whole even after kill -9."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import pymoshi
from pymoshi.recording import Recording

FRAME = 1920


def ramp(n: int) -> NDArray[np.float32]:
    """Samples that tell their own position, exact in 16 bits."""
    return ((np.arange(n) % 20000) / 32768).astype(np.float32)


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac"])
def test_user_is_left_and_model_right(name: str, tmp_path: Path) -> None:
    with Recording(tmp_path / name) as recording:
        for _ in range(30):
            recording.write(ramp(FRAME), -ramp(FRAME))
    sound, rate = soundfile.read(tmp_path / name, dtype="float32")
    assert (rate, sound.shape) == (24000, (30 * FRAME, 2))
    assert np.array_equal(sound[:, 0], np.tile(ramp(FRAME), 30))
    assert np.array_equal(sound[:, 1], -np.tile(ramp(FRAME), 30))


KILLED = """
import os, signal, sys
import numpy as np
from pymoshi.recording import Recording
recording = Recording(sys.argv[1])
position = 0
for _ in range(int(sys.argv[2])):
    pcm = ((np.arange(position, position + 1920) % 20000) / 32768).astype(np.float32)
    recording.write(pcm, -pcm)
    position += 1920
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac"])
@pytest.mark.parametrize("frames", [13, 100, 137])
def test_killed_process_leaves_all_but_the_last_second(name: str, frames: int, tmp_path: Path) -> None:
    path = tmp_path / name
    done = subprocess.run([sys.executable, "-c", KILLED, path, str(frames)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    sound, rate = soundfile.read(path, dtype="float32")
    written = frames * FRAME
    # A FLAC lacks up to a block of 4096 samples more when a second has just begun.
    slack = 24000 + FRAME + (4096 if name.endswith("flac") else 0)
    assert rate == 24000
    assert written - slack <= len(sound) <= written
    assert np.array_equal(sound[:, 0], ramp(len(sound)))
    assert np.array_equal(sound[:, 1], -ramp(len(sound)))


def test_whole_flac_carries_its_checksum(tmp_path: Path) -> None:
    with Recording(tmp_path / "a.flac") as recording:
        for _ in range(30):
            recording.write(ramp(FRAME), ramp(FRAME))
    assert (tmp_path / "a.flac").read_bytes()[26:42] != bytes(16)


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    with Recording(tmp_path / "a.wav") as recording:
        recording.write(np.full(FRAME, 3, np.float32), np.full(FRAME, -3, np.float32))
    sound = soundfile.read(tmp_path / "a.wav")[0]
    assert sound[:, 0].min() > 0.99
    assert sound[:, 1].max() < -0.99


def test_conversation_of_nothing_is_a_whole_file(tmp_path: Path) -> None:
    Recording(tmp_path / "a.wav").close()
    assert soundfile.info(tmp_path / "a.wav").frames == 0


def test_recording_ends_where_no_file_could_hold_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymoshi.recording.LONGEST_SECONDS", 0.08)
    with Recording(tmp_path / "a.wav") as recording:
        recording.write(ramp(FRAME), ramp(FRAME))
        assert recording.full
        recording.write(ramp(FRAME), ramp(FRAME))
    assert soundfile.info(tmp_path / "a.wav").frames == FRAME


def test_sides_of_unequal_length_are_refused(tmp_path: Path) -> None:
    with Recording(tmp_path / "a.wav") as recording, pytest.raises(pymoshi.InputError, match="same length"):
        recording.write(ramp(FRAME), ramp(FRAME - 1))


@pytest.mark.parametrize(("name", "error"), [("a.mp3", pymoshi.InputError), ("nowhere/a.wav", pymoshi.AudioFileError)])
def test_file_that_cannot_be_is_refused_at_once(name: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        Recording(tmp_path / name)


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="Linux has a device that is always full; this system has none"
)
def test_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("/dev/full")
    with pytest.raises(pymoshi.AudioFileError, match=r"written|completed"), Recording(tmp_path / "a.wav") as recording:
        for _ in range(30):
            recording.write(ramp(FRAME), ramp(FRAME))
