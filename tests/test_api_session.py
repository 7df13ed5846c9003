"""A conversation, frame by frame."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Frame, Model, Session

Goldens = Callable[[str], dict[str, NDArray[Any]]]


def frames_of(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    return pcm[: pcm.size // 1920 * 1920].reshape(-1, 1920)


def same(one: list[Frame], other: list[Frame]) -> bool:
    return [frame.text_token for frame in one] == [frame.text_token for frame in other] and all(
        np.array_equal(a.audio, b.audio) for a, b in zip(one, other, strict=True)
    )


def test_frame_holds_what_was_said_and_heard(session: Session, speech: NDArray[np.float32]) -> None:
    frames = list(session.run(frames_of(speech)[:4]))
    first, last = frames[0], frames[-1]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert first.text_token is None
    assert first.codes is None
    assert first.text == ""
    assert not first.audio.any()
    assert last.text_token is not None
    assert 0 <= last.text_token < 400
    assert last.codes is not None
    assert last.codes.shape == (8,)
    assert last.codes.dtype == np.int32
    assert last.user_codes.shape == (8,)
    assert last.audio.shape == (1920,)
    assert last.audio.dtype == np.float32
    assert np.isfinite(last.audio).all()
    assert last.audio.any()
    assert min(last.encode_ms, last.lm_ms, last.decode_ms) > 0


def test_frames_do_not_change_with_the_next_one(session: Session, speech: NDArray[np.float32]) -> None:
    frames = frames_of(speech)
    session.step(frames[0])
    held = session.step(frames[1])
    before = held.audio.copy(), held.user_codes.copy()
    session.step(frames[2])
    assert np.array_equal(before[0], held.audio)
    assert np.array_equal(before[1], held.user_codes)


def test_what_is_heard_is_what_the_codec_encodes(session: Session, model: Model, speech: NDArray[np.float32]) -> None:
    heard = [frame.user_codes for frame in session.run(frames_of(speech)[:12])]
    np.testing.assert_array_equal(np.stack(heard, axis=1), model.mimi.encode(speech[: 12 * 1920], 8))


def test_greedy_tokens_are_the_references(model: Model, goldens: Goldens) -> None:
    golden = goldens("moshi")
    with model.session(temperature=0, text_temperature=0, kv_type="f32", taps=True) as session:
        for step, codes in enumerate(golden["user_tokens"][0].T):
            result = session.step_codes(codes)
            np.testing.assert_allclose(session.tap("text_logits"), golden["text_logits"][step], atol=1e-4)
            if result is None:
                assert (golden["lmgen_out"][step] == -2).all()
            else:
                assert [result[0], *result[1]] == golden["lmgen_out"][step].tolist()


def test_seed_repeats_a_conversation(model: Model, speech: NDArray[np.float32]) -> None:
    def converse(seed: int) -> list[Frame]:
        with model.session(seed=seed) as session:
            assert session.seed == seed
            return list(session.run(frames_of(speech)[:10]))

    assert same(converse(2**64 - 1), converse(2**64 - 1))
    assert not same(converse(1), converse(2))


def test_seed_that_was_drawn_repeats_the_conversation(model: Model, speech: NDArray[np.float32]) -> None:
    with model.session() as drawn, model.session(seed=drawn.seed) as given, model.session() as other:
        assert same(list(drawn.run(frames_of(speech)[:6])), list(given.run(frames_of(speech)[:6])))
        assert other.seed != drawn.seed


def test_reset_begins_anew(model: Model, speech: NDArray[np.float32]) -> None:
    with model.session(seed=5, context=8) as session:
        first = list(session.run(frames_of(speech)[:20]))  # past the end of the ring
        session.reset()
        assert session.offset == 0
        again = list(session.run(frames_of(speech)[:20]))
        session.reset(seed=6)
        assert session.seed == 6
        other = list(session.run(frames_of(speech)[:20]))
    assert same(first, again)
    assert again[0].index == 0
    assert not same(first, other)


def test_interleaved_sessions_do_not_hear_each_other(model: Model, speech: NDArray[np.float32]) -> None:
    frames = frames_of(speech)[:10]
    with model.session(seed=1) as alone:
        expected = list(alone.run(frames))
    with model.session(seed=1) as one, model.session(seed=2) as other:
        found = [(one.step(frame), other.step(frame[::-1]))[0] for frame in frames]
    assert same(expected, found)


def test_sessions_on_threads_give_what_each_gives_alone(model: Model, speech: NDArray[np.float32]) -> None:
    frames = frames_of(speech)[:10]

    def converse(seed: int) -> list[Frame]:
        with model.session(seed=seed) as session:
            return list(session.run(frames))

    expected = [converse(seed) for seed in range(4)]
    found: dict[int, list[Frame]] = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: converse(seed)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(expected[seed], found[seed]) for seed in range(4))


def test_number_of_threads_does_not_change_what_is_said(
    moshi_folder: Path, device: str, model: Model, speech: NDArray[np.float32]
) -> None:
    frames = frames_of(speech)[:6]
    with pymoshi.load(moshi_folder, device=device, threads=2) as other:
        assert same(list(model.session(seed=2).run(frames)), list(other.session(seed=2).run(frames)))


def test_session_in_use_refuses_another_thread(session: Session) -> None:
    answers: list[object] = []

    def use_it() -> None:
        try:
            session.step_codes([1] * 8)
        except pymoshi.StateError as error:
            answers.append(error)

    with session._native.use():  # as a call that has not returned yet
        thread = threading.Thread(target=use_it)
        thread.start()
        thread.join()
    assert "another thread" in str(answers[0])
    assert session.offset == 0


def test_session_outlives_its_model(moshi_folder: Any, device: str, speech: NDArray[np.float32]) -> None:
    model = pymoshi.load(moshi_folder, device=device)
    session = model.session(seed=3)
    model.close()
    assert session.step(speech[:1920]).audio.shape == (1920,)
    session.close()


@pytest.mark.parametrize("size", [0, 1, 1919, 1921, 3840])
def test_wrong_frame_size_is_refused(size: int, session: Session) -> None:
    with pytest.raises(pymoshi.InputError, match="1920"):
        session.step(np.zeros(size, np.float32))


def test_refused_frame_leaves_the_conversation_as_it_was(model: Model, speech: NDArray[np.float32]) -> None:
    frames = frames_of(speech)[:6]
    with model.session(seed=9) as undisturbed:
        expected = list(undisturbed.run(frames))
    with model.session(seed=9) as session:
        found = []
        for frame in frames:
            with pytest.raises(pymoshi.InputError):
                session.step(np.full(1920, np.nan, np.float32))
            found.append(session.step(frame))
    assert same(expected, found)


@pytest.mark.parametrize(
    "codes", [[1] * 7, [1] * 9, [[1] * 8], [], [1] * 7 + [128], [-1] * 8, [0.5] * 8, None, "codes"]
)
def test_wrong_user_codes_are_refused(codes: Any, session: Session) -> None:
    with pytest.raises(pymoshi.InputError, match="user_codes"):
        session.step_codes(codes)


def test_offset_counts_frames(session: Session) -> None:
    assert session.offset == 0
    session.step_codes([1] * 8)
    session.step_codes([1] * 8)
    assert session.offset == 2


def test_sampling_starts_as_the_models_authors_recommend(session: Session, model: Model) -> None:
    info = model.info
    assert session.sampling == {
        "temperature": info.temperature,
        "top_k": info.top_k,
        "text_temperature": info.text_temperature,
        "text_top_k": info.text_top_k,
    }


def test_sampling_can_become_greedy_in_between(model: Model, goldens: Goldens) -> None:
    golden = goldens("moshi")
    with model.session(temperature=50, text_temperature=50, kv_type="f32") as session:
        session.set_sampling(temperature=0, text_temperature=0)
        assert session.sampling["temperature"] == 0
        tokens = [session.step_codes(codes) for codes in golden["user_tokens"][0].T[:10]]
    assert tokens[-1] is not None
    assert tokens[-1][0] == golden["lmgen_out"][9][0]


@pytest.mark.parametrize(
    "sampling", [{"temperature": -1}, {"top_k": -1}, {"text_temperature": "x"}, {"text_top_k": 0.5}]
)
def test_wrong_sampling_is_named(sampling: dict[str, Any], session: Session) -> None:
    with pytest.raises(pymoshi.InputError, match=next(iter(sampling))):
        session.set_sampling(**sampling)


def test_top_k_of_1_is_greedy(model: Model, goldens: Goldens) -> None:
    golden = goldens("moshi")
    with model.session(top_k=1, text_top_k=1, kv_type="f32") as session:
        for step, codes in enumerate(golden["user_tokens"][0].T[:20]):
            result = session.step_codes(codes)
            assert result is None or [result[0], *result[1]] == golden["lmgen_out"][step].tolist()


def test_memory_does_not_grow_with_the_conversation(moshi_folder: Path, device: str) -> None:
    code = f"""
import resource, numpy as np, pymoshi
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
noise = np.random.default_rng(1).uniform(-0.3, 0.3, (40, 1920)).astype(np.float32)
model = pymoshi.load({str(moshi_folder)!r}, device={device!r}, threads=1)
with model.session(seed=1, context=16) as session:
    for round in range(10):
        for frame in noise:
            session.step(frame)
        print(peak())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peaks = [int(line) for line in done.stdout.split()]  # kB, after each 40 frames
    assert peaks[-1] - peaks[1] < (512 << 10 if sys.platform == "darwin" else 512)


def test_closed_session_is_an_error(model: Model, speech: NDArray[np.float32]) -> None:
    session = model.session()
    session.close()
    session.close()
    assert session.closed
    for call in (
        lambda: session.step(speech[:1920]),
        lambda: session.step_codes([1] * 8),
        lambda: session.offset,
        session.reset,
        lambda: session.set_sampling(top_k=1),
        lambda: session.tap("text_logits"),
    ):
        with pytest.raises(pymoshi.StateError, match="closed"):
            call()


def test_tap_without_taps_is_an_error(session: Session, speech: NDArray[np.float32]) -> None:
    session.step(speech[:1920])
    with pytest.raises(pymoshi.InputError, match="taps"):
        session.tap("text_logits")


def test_unknown_tap_is_an_error(model: Model, speech: NDArray[np.float32]) -> None:
    with model.session(taps=True) as session:
        session.step(speech[:1920])
        with pytest.raises(pymoshi.InputError, match="soul"):
            session.tap("soul")


@pytest.mark.parametrize("kv_type", ["f16", "f32"])
def test_memory_of_either_float_type_says_the_same(kv_type: Any, model: Model, goldens: Goldens) -> None:
    golden = goldens("moshi")
    with model.session(temperature=0, text_temperature=0, kv_type=kv_type) as session:
        results = [session.step_codes(codes) for codes in golden["user_tokens"][0].T[:30]]
    assert [result[0] for result in results if result] == golden["lmgen_out"][1:30, 0].tolist()


def test_memory_in_8_bits_needs_heads_of_whole_blocks(model: Model) -> None:
    with pytest.raises(pymoshi.UnsupportedModelError, match="q8_0"):
        model.session(kv_type="q8_0")  # heads of 16 values here; q8_0 stores 32 at a time


def test_settings_are_enough_to_begin_alike(model: pymoshi.Model) -> None:
    options = {"seed": 3, "temperature": 0.5, "context": 20, "kv_type": "f32", "window": "full"}
    options["depformer_steps"] = model.info.dep_q
    with model.session(**options) as one:  # type: ignore[arg-type]
        settings = one.settings
        assert options.items() <= settings.items()
        with model.session(**settings) as other:
            assert other.settings == settings
