"""The codec: the reference's codes and sound, whole and in frames."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Mimi

Goldens = Callable[[str], dict[str, NDArray[Any]]]


@pytest.fixture(scope="module")
def golden(goldens: Goldens) -> dict[str, NDArray[Any]]:
    return goldens("mimi")


@pytest.fixture(scope="module")
def mimi(model: pymoshi.Model) -> Mimi:
    return model.mimi


def test_codec_says_what_it_takes(mimi: Mimi) -> None:
    assert (mimi.n_codebooks, mimi.card, mimi.frame_size) == (32, 128, 1920)


def test_codes_are_the_references(mimi: Mimi, speech: NDArray[np.float32], golden: dict[str, NDArray[Any]]) -> None:
    codes = mimi.encode(speech)
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, golden["codes32"][0])


def test_offline_codes_are_the_references(
    mimi: Mimi, speech: NDArray[np.float32], golden: dict[str, NDArray[Any]]
) -> None:
    np.testing.assert_array_equal(mimi.encode(speech, window="full"), golden["codes32_offline"][0])
    np.testing.assert_array_equal(mimi.encode(speech[:50000], window="full"), golden["codes32_offline_len50000"][0])


@pytest.mark.parametrize("n", [8, 32])
def test_decoded_sound_is_the_references(n: int, mimi: Mimi, golden: dict[str, NDArray[Any]]) -> None:
    pcm = mimi.decode(golden["codes32"][0][:n, :25])
    assert pcm.dtype == np.float32
    np.testing.assert_allclose(pcm, golden[f"pcm{n}_first25frames"][0, 0], atol=1e-5)


def test_stream_gives_what_the_whole_gives(
    mimi: Mimi, speech: NDArray[np.float32], golden: dict[str, NDArray[Any]]
) -> None:
    with mimi.stream() as stream:
        columns = [stream.encode(frame) for frame in speech.reshape(-1, 1920)]
        sound = [stream.decode(column) for column in columns[:25]]
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), golden["codes32"][0])
    np.testing.assert_allclose(np.concatenate(sound), golden["pcm32_first25frames"][0, 0], atol=1e-5)


def test_two_frames_per_call_are_the_references(
    mimi: Mimi, speech: NDArray[np.float32], golden: dict[str, NDArray[Any]]
) -> None:
    with mimi.stream(frames_per_call=2) as stream:
        columns = [stream.encode(frames) for frames in speech.reshape(-1, 3840)]
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), golden["codes32_2frames_per_call"][0])


def test_fewer_codebooks_are_the_first_ones(mimi: Mimi, speech: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(mimi.encode(speech[:19200], 5), mimi.encode(speech[:19200])[:5])


def test_rest_of_a_frame_is_filled_with_silence(mimi: Mimi, speech: NDArray[np.float32]) -> None:
    padded = np.concatenate([speech[:2500], np.zeros(3840 - 2500, np.float32)])
    np.testing.assert_array_equal(mimi.encode(speech[:2500]), mimi.encode(padded))


def test_reset_forgets_everything(mimi: Mimi, speech: NDArray[np.float32]) -> None:
    with mimi.stream(8) as stream:
        first = [stream.encode(speech[: 1920 * 30]), stream.decode(np.ones((8, 12), np.int32))]
        stream.reset()
        again = [stream.encode(speech[: 1920 * 30]), stream.decode(np.ones((8, 12), np.int32))]
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_streams_do_not_disturb_each_other(mimi: Mimi, speech: NDArray[np.float32]) -> None:
    frames = speech.reshape(-1, 1920)[:10]
    with mimi.stream() as one, mimi.stream() as other:
        columns = [(one.encode(frame), other.encode(frame[::-1]))[0] for frame in frames]
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), mimi.encode(frames.ravel()))


@pytest.mark.parametrize("n", [0, 33, -1, 1.5, True])
def test_wrong_number_of_codebooks_is_refused(n: Any, mimi: Mimi) -> None:
    with pytest.raises(pymoshi.InputError, match="n_codebooks"):
        mimi.encode(np.zeros(1920, np.float32), n)


def test_nothing_cannot_be_encoded(mimi: Mimi) -> None:
    with pytest.raises(pymoshi.InputError, match="empty"):
        mimi.encode(np.zeros(0, np.float32))


@pytest.mark.parametrize("shape", [(0, 5), (33, 5), (5,), (1, 8, 5)])
def test_codes_of_a_wrong_shape_are_refused(shape: tuple[int, ...], mimi: Mimi) -> None:
    with pytest.raises(pymoshi.InputError, match="shape"):
        mimi.decode(np.zeros(shape, np.int32))


def test_no_columns_cannot_be_decoded(mimi: Mimi) -> None:
    with pytest.raises(pymoshi.InputError, match="no columns"):
        mimi.decode(np.zeros((8, 0), np.int32))


@pytest.mark.parametrize("code", [-1, 128])
def test_codes_out_of_range_are_refused(code: int, mimi: Mimi) -> None:
    with pytest.raises(pymoshi.InputError, match="from 0 to 127"):
        mimi.decode(np.full((8, 1), code))


@pytest.mark.parametrize("size", [0, 1919, 1920 * 3])
def test_stream_takes_whole_calls(size: int, mimi: Mimi) -> None:
    with mimi.stream(frames_per_call=2) as stream:
        with pytest.raises(pymoshi.InputError, match="3840"):
            stream.encode(np.zeros(size, np.float32))
        with pytest.raises(pymoshi.InputError, match="multiple of 2"):
            stream.decode(np.zeros((8, 3), np.int32))


def test_closed_stream_is_an_error(mimi: Mimi) -> None:
    stream = mimi.stream()
    stream.close()
    stream.close()
    assert stream.closed
    with pytest.raises(pymoshi.StateError, match="closed"):
        stream.encode(np.zeros(1920, np.float32))


@pytest.mark.parametrize(("name", "scale"), [("enc_seanet", 2), ("enc_transformer", 2), ("enc_downsample", 1)])
def test_encoder_stages_are_the_references(
    name: str, scale: int, mimi: Mimi, speech: NDArray[np.float32], golden: dict[str, NDArray[Any]]
) -> None:
    found = []
    with mimi.stream(taps=True) as stream:
        for frame in speech.reshape(-1, 1920)[:20]:
            stream.encode(frame)
            found.append(stream.tap(name).reshape(scale, 64))
    np.testing.assert_allclose(np.concatenate(found), golden[name][0].T[: 20 * scale], atol=2e-5)
