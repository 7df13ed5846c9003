"""Ctrl-C in a program that talks: it is over within a second, and what it was writing is whole."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pymoshi.audio import files

PROGRAM = """
import sys, time
import numpy as np
import pymoshi
from pymoshi.audio.signals import ArraySource, NullSink
from pymoshi.conversation import FrameDone, Progress

until, record = sys.argv[1:]
silence = np.zeros(3600 * 24_000, np.float32)
source = ArraySource(silence, paced=True)
conversation = pymoshi.Conversation("demo", source=source, sink=NullSink(), record=record, threads=1, device="cpu")
try:
    with conversation:
        for event in conversation:
            name = "loading" if isinstance(event, Progress) else "talking" if isinstance(event, FrameDone) else ""
            if name == until:
                print("now", flush=True)
                until = ""
except KeyboardInterrupt:
    print(f"ended {conversation.state.value} {conversation.stats.frames}", flush=True)
"""


@pytest.mark.parametrize("when", ["loading", "talking"])
def test_ctrl_c_ends_a_conversation_with_its_recording_complete(when: str, tmp_path: Path) -> None:
    record = tmp_path / "both.wav"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, when, str(record)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline() == "now\n", process.stderr.read()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert err == ""
    ended, state, frames = out.split()
    assert (ended, state) == ("ended", "ended")
    if when == "talking":
        assert files.read(record).size == int(frames) * 1920 > 0
    assert record.stat().st_size == 44 + int(frames) * 1920 * 4
