"""Keepers beside a conversation: nothing of theirs holds it up, nothing that goes wrong with them is lost."""

import threading
from pathlib import Path

import pytest
import soundfile

import pymoshi
from frames import made_up_record
from pymoshi.background import InBackground
from pymoshi.conversation.events import FrameRecord
from pymoshi.recording import Recording


class Memory:
    def __init__(self, fail_at: int = -1) -> None:
        self.indices: list[int] = []
        self.threads: set[int] = set()
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self._fail_at = fail_at

    def add(self, record: FrameRecord) -> None:
        self.gate.wait(60)
        if record.index == self._fail_at:
            raise pymoshi.AudioFileError("the disk is full")
        self.indices.append(record.index)
        self.threads.add(threading.get_ident())

    def close(self) -> None:
        self.closed += 1


def test_frames_are_kept_in_order_by_another_thread() -> None:
    memory = Memory()
    with InBackground(memory, "recording") as background:
        for index in range(100):
            background.add(made_up_record(index))
    background.close()
    assert memory.indices == list(range(100))
    assert threading.get_ident() not in memory.threads
    assert memory.closed == 1


def test_stalled_disk_does_not_hold_up_the_conversation_until_it_is_a_minute_behind() -> None:
    memory = Memory()
    memory.gate.clear()
    background = InBackground(memory, "recording")
    with pytest.raises(pymoshi.PymoshiError, match="The recording is a minute behind"):
        for index in range(1000):
            background.add(made_up_record(index))
    memory.gate.set()
    background.close()
    assert len(memory.indices) >= 750


def test_failure_is_told_once_and_nothing_is_written_after_it() -> None:
    memory = Memory(fail_at=3)
    background = InBackground(memory, "recording")
    for index in range(10):
        try:
            background.add(made_up_record(index))
        except pymoshi.AudioFileError:
            background.close()
            break
    else:
        with pytest.raises(pymoshi.AudioFileError, match="full"):
            background.close()
    assert memory.indices == [0, 1, 2]
    assert memory.closed == 1


def test_recording_of_frames_has_both_sides(tmp_path: Path) -> None:
    with InBackground(Recording(tmp_path / "a.wav"), "recording") as background:
        for index in range(30):
            background.add(made_up_record(index))
    sound = soundfile.read(tmp_path / "a.wav")[0]
    assert sound.shape == (30 * 1920, 2)
    assert (sound == [0.25, -0.25]).all()
