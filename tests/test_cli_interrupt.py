"""Ctrl-C and a polite kill: what was said so far is kept."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_talk_leaves_whole_files(
    number: signal.Signals, code: int, moshi_folder: Path, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "long.wav", np.tile(speech, 300), 24000)  # 20 minutes
    command = [sys.executable, "-m", "pymoshi", "talk", "-i", "long.wav", "-o", "a.wav", "--transcript", "a.json"]
    with subprocess.Popen(
        [
            *command,
            "--model",
            str(moshi_folder),
            "--device",
            "cpu",
            "--threads",
            "1",
            "--seed",
            "1",
            "--text-temperature",
            "2",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as talk:
        assert talk.stdout is not None
        assert talk.stdout.readline().startswith("[00:")  # it is in the middle of the conversation now
        talk.send_signal(number)
        _, stderr = talk.communicate(timeout=60)
    assert talk.returncode == code
    assert "Traceback" not in stderr
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["complete"] is False
    assert 0 < report["stats"]["frames"] < 15000
    written = soundfile.info(tmp_path / "a.wav").frames
    assert written - report["stats"]["frames"] * 1920 in (0, 1920)
