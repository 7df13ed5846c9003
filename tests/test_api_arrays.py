"""What may go to the engine, and what is refused with words that help."""

import numpy as np
import pytest

from pymoshi import InputError, arrays
from pymoshi.options import one_of, real, whole


def test_float32_is_passed_on_without_a_copy() -> None:
    pcm = np.zeros(1920, np.float32)
    assert arrays.samples(pcm) is pcm


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_converted(dtype: type) -> None:
    converted = arrays.samples(np.full(8, 0.5, dtype))
    assert converted.dtype == np.float32
    assert (converted == 0.5).all()


def test_every_other_sample_is_made_contiguous() -> None:
    pcm = np.arange(8, dtype=np.float32)[::2]
    assert arrays.samples(pcm).flags.c_contiguous
    np.testing.assert_array_equal(arrays.samples(pcm), pcm)


def test_16_bit_samples_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="32768"):
        arrays.samples(np.zeros(4, np.int16))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -20000.0])
def test_samples_that_are_no_sound_are_refused(value: float) -> None:
    pcm = np.zeros(1920, np.float32)
    pcm[7] = value
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        arrays.samples(pcm)


@pytest.mark.parametrize("value", ["sound", None, np.zeros(4, complex), np.zeros(4, bool), object()])
def test_what_is_no_audio_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="float32"):
        arrays.samples(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (1920, 2), (1, 1920)])
def test_audio_that_is_not_mono_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="mono"):
        arrays.samples(np.zeros(shape, np.float32))


def test_integer_codes_of_any_width_are_taken() -> None:
    for dtype in (np.int16, np.uint16, np.int64):
        converted = arrays.codes(np.array([0, 127], dtype), 128)
        assert converted.dtype == np.int32
        assert converted.tolist() == [0, 127]


@pytest.mark.parametrize("code", [-1, 128, 2**40])
def test_codes_out_of_range_are_refused(code: int) -> None:
    with pytest.raises(InputError, match="from 0 to 127"):
        arrays.codes(np.array([[0, code]]), 128)


def test_float_codes_are_refused() -> None:
    with pytest.raises(InputError, match="int32"):
        arrays.codes(np.zeros((8, 2)), 128)


@pytest.mark.parametrize("value", [1.5, "3", True, None])
def test_whole_numbers_are_whole(value: object) -> None:
    with pytest.raises(InputError, match="top_k must be a whole number"):
        whole("top_k", value, 0, 10)


def test_numpy_integers_are_whole_numbers() -> None:
    assert whole("top_k", np.int64(3), 0, 10) == 3


@pytest.mark.parametrize("value", [-1, 11])
def test_whole_numbers_keep_their_range(value: int) -> None:
    with pytest.raises(InputError, match="from 0 to 10"):
        whole("top_k", value, 0, 10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, "warm", None, 1000])
def test_real_numbers_are_finite_and_keep_their_range(value: object) -> None:
    with pytest.raises(InputError, match="temperature must be"):
        real("temperature", value, 0, 100)


@pytest.mark.parametrize("value", ["F16", "", None, 1])
def test_choices_are_named(value: object) -> None:
    with pytest.raises(InputError, match="'f16' or 'f32'"):
        one_of("kv_type", value, ["f16", "f32"])
