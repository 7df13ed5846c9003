"""Mimi against the reference: every code of every codebook, every intermediate, the audio (MODELS.md 1)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi.hub.convert import convert

from .compare import LATENTS, PCM, worst

Goldens = dict[str, NDArray[Any]]
DIM = 64  # channels of the fixture's latents


@pytest.fixture(scope="module")
def golden(goldens: Callable[[str], Goldens]) -> Goldens:
    return goldens("mimi")


@pytest.fixture(scope="module")
def codec(fixtures: Path, tmp_path_factory: pytest.TempPathFactory, device: str) -> Iterator[pymoshi.Mimi]:
    folder = convert(fixtures / "mimi", tmp_path_factory.mktemp("mimi"), mimi_type="f32")
    with pymoshi.load(folder, device=device) as model:
        yield model.mimi


def frames(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    return pcm.reshape(-1, 1920)


def test_streamed_codes_of_all_32_codebooks_equal_the_reference(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    with codec.stream(n_codebooks=32) as stream:
        codes = np.concatenate([stream.encode(frame) for frame in frames(speech)], axis=1)
    np.testing.assert_array_equal(codes, golden["codes32"][0])


def test_every_intermediate_of_the_encoder_is_the_reference_s(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    names = ("enc_seanet", "enc_transformer", "enc_downsample")
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    with codec.stream(n_codebooks=32, taps=True) as stream:
        for frame in frames(speech):
            stream.encode(frame)
            for name in names:
                kept[name].append(stream.tap(name).reshape(-1, DIM))
    for name in names:
        assert worst(np.concatenate(kept[name]).T, golden[name][0]) < LATENTS, name


@pytest.mark.parametrize("n_codebooks", [8, 32])
def test_decoding_and_every_intermediate_of_it_are_the_reference_s(
    codec: pymoshi.Mimi, golden: Goldens, n_codebooks: int
) -> None:
    names = ("dec_latent", "dec_upsample", "dec_transformer")
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    pcm = []
    codes = golden["codes32"][0][:n_codebooks].astype(np.int32)
    with codec.stream(n_codebooks=n_codebooks, taps=True) as stream:
        for t in range(codes.shape[1]):
            pcm.append(stream.decode(codes[:, t : t + 1]))
            for name in names:
                kept[name].append(stream.tap(name).reshape(-1, DIM))
    for name in names:
        assert worst(np.concatenate(kept[name]).T, golden[f"{name}{n_codebooks}"][0]) < LATENTS, name
    assert worst(np.concatenate(pcm)[:48000], golden[f"pcm{n_codebooks}_first25frames"][0, 0]) < PCM


def test_two_frames_a_call_see_what_the_reference_s_ring_shows_them(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    with codec.stream(n_codebooks=32, frames_per_call=2) as stream:
        codes = np.concatenate([stream.encode(pair.reshape(-1)) for pair in speech.reshape(-1, 3840)], axis=1)
    np.testing.assert_array_equal(codes, golden["codes32_2frames_per_call"][0])


def test_a_whole_signal_is_encoded_as_the_stream_would(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    np.testing.assert_array_equal(codec.encode(speech, n_codebooks=32), golden["codes32"][0])


@pytest.mark.parametrize(("samples", "name"), [(96000, "codes32_offline"), (50000, "codes32_offline_len50000")])
def test_offline_encoding_with_a_full_window_equals_the_reference(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32], samples: int, name: str
) -> None:
    np.testing.assert_array_equal(codec.encode(speech[:samples], n_codebooks=32, window="full"), golden[name][0])


def test_fewer_codebooks_are_the_first_of_more(
    codec: pymoshi.Mimi, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    for n in (1, 2, 7):
        np.testing.assert_array_equal(codec.encode(speech, n_codebooks=n), golden["codes32"][0][:n])


def test_a_reset_stream_is_a_new_one(codec: pymoshi.Mimi, speech: NDArray[np.float32]) -> None:
    with codec.stream(n_codebooks=32) as stream:
        first = [stream.encode(frame) for frame in frames(speech)]
        sound = [stream.decode(code) for code in first]
        stream.reset()
        again = [stream.encode(frame) for frame in frames(speech)]
        sound_again = [stream.decode(code) for code in first]
    np.testing.assert_array_equal(np.concatenate(first, axis=1), np.concatenate(again, axis=1))
    np.testing.assert_array_equal(np.concatenate(sound), np.concatenate(sound_again))


def test_interleaved_streams_do_not_hear_each_other(codec: pymoshi.Mimi, speech: NDArray[np.float32]) -> None:
    with codec.stream(n_codebooks=8) as alone:
        expected = [alone.encode(frame) for frame in frames(speech)[:20]]
    with codec.stream(n_codebooks=8) as one, codec.stream(n_codebooks=8) as other:
        for frame, noise, want in zip(frames(speech)[:20], frames(speech)[::-1][:20], expected, strict=True):
            np.testing.assert_array_equal(one.encode(frame), want)
            other.encode(noise)


def test_f16_weights_change_few_codes_and_little_sound(
    fixtures: Path, tmp_path: Path, device: str, golden: Goldens, speech: NDArray[np.float32]
) -> None:
    with pymoshi.load(convert(fixtures / "mimi", tmp_path, mimi_type="f16"), device=device) as model:
        codes = model.mimi.encode(speech, n_codebooks=32)
        pcm = model.mimi.decode(golden["codes32"][0].astype(np.int32))
    assert np.mean(codes != golden["codes32"][0]) < 0.05
    assert worst(pcm[:48000], golden["pcm32_first25frames"][0, 0]) < 1e-2
