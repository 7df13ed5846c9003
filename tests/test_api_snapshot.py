"""A conversation can be kept, gone back to, and split in two."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Frame, Model, Session


def frames_of(pcm: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    return pcm[first * 1920 : last * 1920].reshape(-1, 1920)


def heard_and_said(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [(frame.index, frame.text_token, frame.text, frame.audio.tobytes()) for frame in frames]


@pytest.fixture
def snapshot_file(session: Session, speech: NDArray[np.float32], tmp_path: Path) -> Path:
    """Of `session`, after three frames."""
    for _ in session.run(frames_of(speech, 0, 3)):
        pass
    session.save(tmp_path / "moment.snapshot")
    return tmp_path / "moment.snapshot"


@pytest.mark.parametrize("context", [8, 24])
def test_restored_session_goes_on_as_it_would_have(
    context: int, model: Model, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    with model.session(seed=4, context=context, temperature=0.9) as session:
        list(session.run(frames_of(speech, 0, 15)))  # past the end of the shorter ring
        session.save(tmp_path / "moment")
        offset = session.offset
        expected = heard_and_said(list(session.run(frames_of(speech, 15, 25))))
    with model.session(seed=1, context=context) as other:
        other.step(speech[:1920])
        other.restore(tmp_path / "moment")
        assert (other.offset, other.seed) == (offset, 4)
        assert other.sampling["temperature"] == pytest.approx(0.9)
        assert heard_and_said(list(other.run(frames_of(speech, 15, 25)))) == expected


def test_fork_goes_its_own_way(session: Session, speech: NDArray[np.float32]) -> None:
    list(session.run(frames_of(speech, 0, 5)))
    with session.fork() as twin:
        expected = heard_and_said(list(session.run(frames_of(speech, 5, 10))))
        assert heard_and_said(list(twin.run(frames_of(speech, 5, 10)))) == expected
        twin.reset(seed=99)
    assert session.offset == 10
    assert session.seed == 7


def test_snapshot_can_be_restored_twice(session: Session, speech: NDArray[np.float32]) -> None:
    list(session.run(frames_of(speech, 0, 5)))
    moment = session.snapshot()
    once = heard_and_said(list(session.run(frames_of(speech, 5, 8))))
    session.restore(moment)
    assert heard_and_said(list(session.run(frames_of(speech, 5, 8)))) == once


def test_snapshot_of_another_model_is_refused(snapshot_file: Path, personaplex_folder: Path, device: str) -> None:
    with pymoshi.load(personaplex_folder, device=device) as other, other.session() as session:
        with pytest.raises(pymoshi.SnapshotError):
            session.restore(snapshot_file)
        session.step(np.zeros(1920, np.float32))


@pytest.mark.parametrize("options", [{"context": 16}, {"kv_type": "f32"}, {"window": "full"}])
def test_snapshot_of_other_settings_is_refused(options: dict[str, Any], snapshot_file: Path, model: Model) -> None:
    with model.session(**options) as session, pytest.raises(pymoshi.SnapshotError):
        session.restore(snapshot_file)


@pytest.mark.parametrize("kept", [0, 5, 30, 200, -1])
def test_truncated_snapshot_is_refused(kept: int, snapshot_file: Path, session: Session) -> None:
    snapshot_file.write_bytes(snapshot_file.read_bytes()[:kept])
    with pytest.raises(pymoshi.SnapshotError):
        session.restore(snapshot_file)


def test_flipped_bit_is_noticed(snapshot_file: Path, session: Session) -> None:
    content = bytearray(snapshot_file.read_bytes())
    content[-10] ^= 1
    snapshot_file.write_bytes(content)
    with pytest.raises(pymoshi.SnapshotError, match="checksum"):
        session.restore(snapshot_file)


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"seed": "x"},
        {"size": 2**60},
        {"sampling": {}},
        {"sampling": []},
        {"text": "zz"},
        {"crc32": None},
    ],
)
def test_snapshot_that_lies_about_itself_is_refused(
    change: dict[str, object], snapshot_file: Path, session: Session
) -> None:
    magic, state, data = snapshot_file.read_bytes().split(b"\n", 2)
    state = json.dumps(json.loads(state) | change).encode()
    snapshot_file.write_bytes(b"\n".join([magic, state, data]))
    with pytest.raises(pymoshi.SnapshotError):
        session.restore(snapshot_file)


def test_state_that_the_engine_did_not_write_is_refused(session: Session) -> None:
    moment = session.snapshot()
    for data in (moment.data[:-1], np.zeros_like(moment.data), np.zeros(0, np.uint8)):
        wrong = pymoshi.Snapshot(data, moment.index, moment.seed, moment.sampling, moment.text)
        with pytest.raises(pymoshi.SnapshotError):
            session.restore(wrong)
    session.step(np.zeros(1920, np.float32))


def test_snapshot_needs_a_folder(session: Session, tmp_path: Path) -> None:
    with pytest.raises(pymoshi.SnapshotError, match="cannot be written"):
        session.save(tmp_path / "nowhere" / "moment")
    with pytest.raises(pymoshi.SnapshotError, match="cannot be read"):
        session.restore(tmp_path / "moment")


def test_closed_session_has_no_snapshot(model: Model) -> None:
    session = model.session()
    moment = session.snapshot()
    session.close()
    for call in (session.snapshot, session.fork, lambda: session.restore(moment)):
        with pytest.raises(pymoshi.StateError, match="closed"):
            call()
