"""A conversation can be left and taken up again at any frame, to the bit.

The model's memory wraps after 256 frames (its context of 24, rounded up to the size of a graph), the codec's after 128:
the moments below lie on both sides of each edge, and after several rounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from behaviour.spoken import Said, said
from checkpoints import read_tensors, write_tensors
from pymoshi import Model, Session, Snapshot
from pymoshi.hub.convert import convert

MOMENTS = (0, 1, 2, 24, 25, 127, 128, 129, 255, 256, 257, 384, 512, 513, 531)
AFTER = 6
LENGTH = max(MOMENTS) + AFTER


@dataclass(frozen=True)
class Whole:
    """A conversation without interruption, and the moments that were kept of it."""

    heard: NDArray[np.float32]  # [LENGTH, 1920]
    said: Said
    moments: dict[int, Snapshot]


@pytest.fixture(scope="module")
def heard(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same words over and over, each time with other noise below them."""
    frames = np.resize(speech.reshape(-1, 1920), (LENGTH, 1920))
    return frames + np.random.default_rng(2).uniform(-0.02, 0.02, frames.shape).astype(np.float32)


@pytest.fixture(scope="module")
def whole(model: Model, heard: NDArray[np.float32]) -> Whole:
    out: Said = []
    moments = {}
    with model.session(seed=11) as session:
        for index, pcm in enumerate(heard):
            if index in MOMENTS:
                moments[index] = session.snapshot()
            out += said(session, [pcm])
    return Whole(heard, out, moments)


@pytest.fixture(scope="module")
def elsewhere(model: Model, heard: NDArray[np.float32]) -> Iterator[Session]:
    """A session that is in the middle of another conversation, its memory full."""
    with model.session(seed=99) as session:
        said(session, heard[::-1][:300])
        yield session


@pytest.mark.parametrize("moment", np.random.default_rng(0).permutation(MOMENTS).tolist())  # late ones first, too
def test_a_conversation_goes_on_from_any_moment(moment: int, whole: Whole, elsewhere: Session) -> None:
    elsewhere.restore(whole.moments[moment])
    assert said(elsewhere, whole.heard[moment : moment + AFTER]) == whole.said[moment : moment + AFTER]


@pytest.mark.parametrize("moment", [129, 513])
def test_a_moment_kept_in_a_file_is_the_same_moment(
    moment: int, whole: Whole, elsewhere: Session, tmp_path: Path
) -> None:
    whole.moments[moment].write(tmp_path / "moment")
    elsewhere.restore(tmp_path / "moment")
    assert said(elsewhere, whole.heard[moment : moment + AFTER]) == whole.said[moment : moment + AFTER]


def test_forks_neither_disturb_nor_are_disturbed(model: Model, whole: Whole) -> None:
    forks: dict[int, Session] = {}
    out: Said = []
    with model.session(seed=11) as session:
        for index, pcm in enumerate(whole.heard):
            if index in (3, 128, 257):
                forks[index] = session.fork()
                with session.fork() as astray:
                    said(astray, whole.heard[:4])
            out += said(session, [pcm])
    assert out == whole.said
    for index, fork in forks.items():  # as they were left, hundreds of frames ago
        with fork:
            assert said(fork, whole.heard[index : index + AFTER]) == whole.said[index : index + AFTER]


def test_a_fork_of_a_fork_is_no_different(whole: Whole, elsewhere: Session) -> None:
    elsewhere.restore(whole.moments[255])
    with elsewhere.fork() as first, first.fork() as second:
        assert said(second, whole.heard[255 : 255 + AFTER]) == whole.said[255 : 255 + AFTER]


def test_a_conversation_that_is_begun_anew_is_the_same_again(model: Model, whole: Whole) -> None:
    with model.session(seed=11) as session:
        said(session, whole.heard[::-1])  # past the end of every ring
        session.reset()
        assert said(session, whole.heard[:300]) == whole.said[:300]


def test_sampling_that_changed_on_the_way_is_part_of_the_moment(model: Model, whole: Whole) -> None:
    with model.session(seed=11) as session, model.session(seed=5) as other:
        said(session, whole.heard[:5])
        session.set_sampling(temperature=0, text_temperature=1.5, text_top_k=7)
        moment = session.snapshot()
        expected = said(session, whole.heard[5:12])
        other.restore(moment)
        assert said(other, whole.heard[5:12]) == expected


def test_a_moment_of_another_version_is_refused(whole: Whole, elsewhere: Session) -> None:
    moment = whole.moments[24]
    data = moment.data.copy()
    data[8] += 1  # the number after the eight bytes of the magic
    with pytest.raises(pymoshi.SnapshotError, match="version"):
        elsewhere.restore(Snapshot(data, moment.index, moment.seed, moment.sampling, moment.text))


def test_a_moment_of_a_finetuned_model_is_refused(
    whole: Whole, moshi_source: Path, device: str, tmp_path: Path
) -> None:
    for file in moshi_source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = read_tensors(tmp_path / "model.safetensors")
    dtype, shape, data = tensors["out_norm.alpha"]
    tensors["out_norm.alpha"] = (dtype, shape, bytes([data[0] ^ 1]) + data[1:])  # training leaves nothing as it was
    write_tensors(tmp_path / "model.safetensors", tensors)
    folder = convert(tmp_path, tmp_path / "converted", quantize="f32", mimi_type="f32")
    with (
        pymoshi.load(folder, device=device, threads=1) as tuned,
        tuned.session() as session,
        pytest.raises(pymoshi.SnapshotError, match="another model"),
    ):
        session.restore(whole.moments[24])


@pytest.mark.parametrize("kept", [2, 257])
def test_every_damage_to_a_moment_is_noticed_and_changes_nothing(kept: int, model: Model, whole: Whole) -> None:
    moment, rng = whole.moments[kept], np.random.default_rng(kept)
    with model.session(seed=11) as session:
        said(session, whole.heard[:5])
        for at in rng.integers(100, moment.data.size, 60):  # beyond the first hundred bytes, which are looked at below
            data = moment.data.copy()
            data[at] ^= 1 << rng.integers(8)
            with pytest.raises(pymoshi.SnapshotError):
                session.restore(Snapshot(data, moment.index, moment.seed, moment.sampling, moment.text))
        for size in rng.integers(0, moment.data.size, 10):
            with pytest.raises(pymoshi.SnapshotError):
                session.restore(Snapshot(moment.data[:size], moment.index, moment.seed, moment.sampling, moment.text))
        assert said(session, whole.heard[5:9]) == whole.said[5:9]


def test_a_moment_whose_first_bytes_are_damaged_is_refused_or_goes_on(whole: Whole, elsewhere: Session) -> None:
    moment = whole.moments[257]
    refused = 0
    for at in range(100):
        data = moment.data.copy()
        data[at] ^= 0x80
        try:
            elsewhere.restore(Snapshot(data, moment.index, moment.seed, moment.sampling, moment.text))
        except pymoshi.SnapshotError:
            refused += 1
        assert np.isfinite(elsewhere.step(whole.heard[0]).audio).all()
    assert refused > 50


def test_a_moment_with_sampling_that_cannot_be_changes_nothing(model: Model, whole: Whole) -> None:
    moment = whole.moments[24]
    with model.session(seed=11) as session:
        said(session, whole.heard[:5])
        for wrong in ({"temperature": -1.0}, {"text_top_k": 0.5}, {"top_k": 2.0**40}, {"text_temperature": np.nan}):
            with pytest.raises(pymoshi.InputError, match=next(iter(wrong))):
                session.restore(Snapshot(moment.data, moment.index, moment.seed, moment.sampling | wrong, moment.text))
        assert said(session, whole.heard[5:9]) == whole.said[5:9]
