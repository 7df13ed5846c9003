"""Arguments that cannot be and objects that are closed or in use: a typed error, and nothing has changed."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pymoshi
from pymoshi import InputError, Model, Session, StateError
from pymoshi.errors import DeviceError, OutOfMemoryError, PymoshiError, UnsupportedModelError

FRAME = 1920
SILENCE = np.zeros(FRAME, np.float32)


def but(index: int, value: float) -> np.ndarray[Any, Any]:
    """Silence but for one sample."""
    pcm = SILENCE.copy()
    pcm[index] = value
    return pcm


BAD_FRAMES = [
    pytest.param(but(0, np.nan), id="nan"),
    pytest.param(but(1919, np.nan), id="nan_at_the_end"),
    pytest.param(but(7, np.inf), id="infinity"),
    pytest.param(but(7, -np.inf), id="minus_infinity"),
    pytest.param(but(7, 32767.0), id="integers_cast_to_float"),
    pytest.param(but(7, 3e38), id="largest_float"),
    pytest.param(SILENCE[:-1], id="a_sample_less"),
    pytest.param(np.zeros(FRAME + 1, np.float32), id="a_sample_more"),
    pytest.param(np.zeros(0, np.float32), id="nothing"),
    pytest.param(np.zeros(FRAME, np.int16), id="int16"),
    pytest.param(np.zeros(FRAME, np.uint8), id="uint8"),
    pytest.param(np.zeros(FRAME, bool), id="bool"),
    pytest.param(np.zeros(FRAME, complex), id="complex"),
    pytest.param(np.zeros((FRAME, 1), np.float32), id="column"),
    pytest.param(np.zeros((2, FRAME), np.float32), id="stereo"),
    pytest.param(np.full(FRAME, "0"), id="texts"),
    pytest.param(b"\0" * FRAME, id="bytes"),
    pytest.param(None, id="none"),
    pytest.param(0.0, id="number"),
    pytest.param([None] * FRAME, id="list_of_none"),
]


@pytest.mark.parametrize("pcm", BAD_FRAMES)
def test_frame_that_is_no_sound_is_refused_and_changes_nothing(pcm: Any, session: Session) -> None:
    with pytest.raises(InputError):
        session.step(pcm)
    assert session.offset == 0


@pytest.mark.parametrize("pcm", BAD_FRAMES)
def test_stream_takes_sound_alone(pcm: Any, model: Model) -> None:
    with model.mimi.stream() as stream, pytest.raises(InputError):
        stream.encode(pcm)


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(np.full((8, 1), 128), id="too_large"),
        pytest.param(np.full((8, 1), -1), id="negative"),
        pytest.param(np.full((8, 1), 2**31), id="beyond_int32"),
        pytest.param(np.full((8, 1), 2**63, np.uint64), id="beyond_int64"),
        pytest.param(np.zeros((8, 1), np.float32), id="floats"),
        pytest.param(np.zeros((8, 1), bool), id="bools"),
        pytest.param(np.zeros((33, 1), np.int32), id="too_many_codebooks"),
        pytest.param(np.zeros((0, 1), np.int32), id="no_codebooks"),
        pytest.param(np.zeros((8, 0), np.int32), id="no_columns"),
        pytest.param(np.zeros(8, np.int32), id="one_dimension"),
        pytest.param(np.zeros((1, 8, 1), np.int32), id="three_dimensions"),
        pytest.param("codes", id="text"),
        pytest.param(None, id="none"),
    ],
)
def test_codes_that_cannot_be_are_refused(codes: Any, model: Model) -> None:
    with pytest.raises(InputError):
        model.mimi.decode(codes)
    with model.mimi.stream() as stream, pytest.raises(InputError):
        stream.decode(codes)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": "tpu"}, DeviceError),
        ({"device": "cpu:7"}, DeviceError),
        ({"device": ""}, DeviceError),
        ({"device": "cpu\0"}, InputError),
        ({"device": "x" * 100_000}, DeviceError),
        ({"threads": 0}, InputError),
        ({"threads": -1}, InputError),
        ({"threads": 2**40}, InputError),
        ({"threads": 1.5}, InputError),
        ({"threads": "two"}, InputError),
        ({"threads": 1000}, InputError),
    ],
    ids=lambda found: None if isinstance(found, type) else str(found)[:40],
)
def test_wrong_options_of_load_are_refused(
    options: dict[str, Any], error: type[PymoshiError], moshi_folder: Path
) -> None:
    with pytest.raises(error):
        pymoshi.load(moshi_folder, **options).close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"context": 7}, InputError),
        ({"context": -1}, InputError),
        ({"context": 2**31}, InputError),
        ({"context": True}, InputError),
        ({"temperature": 101}, InputError),
        ({"temperature": "hot"}, InputError),
        ({"text_temperature": -0.1}, InputError),
        ({"top_k": 2**31}, InputError),
        ({"text_top_k": -1}, InputError),
        ({"kv_type": "F16"}, InputError),
        ({"kv_type": None}, InputError),
        ({"kv_type": ["f16"]}, InputError),
        ({"kv_type": "q8_0"}, UnsupportedModelError),  # heads of 16 channels
        ({"window": 0}, InputError),
        ({"window": ""}, InputError),
        ({"depformer_steps": 7}, InputError),
        ({"seed": 1.0}, InputError),
    ],
    ids=lambda found: None if isinstance(found, type) else str(found)[:40],
)
def test_wrong_options_of_a_session_are_refused(
    options: dict[str, Any], error: type[PymoshiError], model: Model
) -> None:
    with pytest.raises(error):
        model.session(**options).close()


@pytest.mark.parametrize(
    "options",
    [{"n_codebooks": 0}, {"n_codebooks": 33}, {"window": "x"}, {"frames_per_call": 0}, {"frames_per_call": 65},
     {"frames_per_call": 2**31}],
    ids=str,
)  # fmt: skip
def test_wrong_options_of_a_stream_are_refused(options: dict[str, Any], model: Model) -> None:
    with pytest.raises(InputError):
        model.mimi.stream(**options).close()


def test_context_that_no_memory_holds_is_refused(personaplex_folder: Path) -> None:
    """Memory is asked for before the first frame, not found to be missing in the middle of a conversation."""
    try:
        with pymoshi.load(personaplex_folder, device="cpu") as model, model.session(context=2**20, kv_type="f32") as s:
            assert s.context == 2**20  # there was room
    except OutOfMemoryError as error:
        assert "context" in str(error)


CLOSED: list[Any] = [
    pytest.param(lambda s: s.step(SILENCE), id="step"),
    pytest.param(lambda s: s.step_codes([0] * 8), id="step_codes"),
    pytest.param(lambda s: s.reset(), id="reset"),
    pytest.param(lambda s: s.set_sampling(temperature=0), id="set_sampling"),
    pytest.param(lambda s: s.snapshot(), id="snapshot"),
    pytest.param(lambda s: s.fork(), id="fork"),
    pytest.param(lambda s: s.offset, id="offset"),
    pytest.param(lambda s: s.tap("text_logits"), id="tap"),
]


@pytest.mark.parametrize("call", CLOSED)
def test_closed_session_says_so(call: Callable[[Session], Any], model: Model) -> None:
    session = model.session()
    session.close()
    session.close()
    with pytest.raises(StateError, match="closed"):
        call(session)


@pytest.mark.parametrize("call", CLOSED)
def test_session_in_use_says_so(call: Callable[[Session], Any], session: Session) -> None:
    answers: list[BaseException] = []

    def second() -> None:
        try:
            call(session)
        except PymoshiError as error:
            answers.append(error)

    with session._native.use():  # as a call that has not returned yet
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert [type(error) for error in answers] == [StateError]
    assert "another thread" in str(answers[0])


def test_closed_stream_says_so(model: Model) -> None:
    stream = model.mimi.stream()
    stream.close()
    for call in (lambda: stream.encode(SILENCE), lambda: stream.decode([[0]] * 8), stream.reset):
        with pytest.raises(StateError, match="closed"):
            call()


def test_threads_that_fight_for_a_session_do_not_harm_it(session: Session) -> None:
    done, refusals = [], []

    def fight() -> None:
        for _ in range(50):
            try:
                session.step_codes([1] * 8)
                done.append(1)
            except StateError:
                refusals.append(1)

    threads = [threading.Thread(target=fight) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) + len(refusals) == 150
    assert session.offset == len(done) > 0


@pytest.mark.parametrize("data", [b"", b"MOSHISNP", b"x" * 4096, b"MOSHISNP" + b"\xff" * 4096], ids=len)
def test_snapshot_that_is_none_is_refused_and_changes_nothing(data: bytes, model: Model, tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(data)
    with model.session(seed=4) as session, model.session(seed=4) as undisturbed:
        for one in (session, undisturbed):
            one.step_codes([2] * 8)
        with pytest.raises(pymoshi.SnapshotError):
            session.restore(tmp_path / "snapshot")
        found, expected = session.step_codes([3] * 8), undisturbed.step_codes([3] * 8)
        assert found is not None
        assert expected is not None
        assert found[0] == expected[0]
        assert np.array_equal(found[1], expected[1])
