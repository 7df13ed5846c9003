"""The bundled model in conversation, against the reference implementation on the same weights (training/golden.py)."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import gguf_edit
import pymoshi
from pymoshi.audio import files
from pymoshi.hub.layout import DEMO_FOLDER

from .compare import PCM, worst

Golden = dict[str, NDArray[Any]]
NOTHING = -2


def in_f32(source: Path, target: Path) -> None:
    """The same weights, as they were rounded, in a type that adds no rounding of its own to the computation."""
    whole = gguf_edit.read(source)
    for tensor in whole.tensors:
        kind = gguf.GGMLQuantizationType(tensor.kind)
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.I32):
            continue
        block, size = gguf.GGML_QUANT_SIZES[kind]
        stored = np.frombuffer(tensor.data, np.uint8, prod(tensor.extents) // block * size)
        values = gguf.dequantize(stored.view(np.float16) if kind == gguf.GGMLQuantizationType.F16 else stored, kind)
        tensor.data, tensor.kind = values.astype(np.float32).tobytes(), gguf_edit.TYPE_F32
    whole.write(target)


@pytest.fixture(scope="module")
def conversation(fixtures: Path, tmp_path_factory: pytest.TempPathFactory, device: str) -> Iterator[Golden]:
    folder = tmp_path_factory.mktemp("demo")
    for path in DEMO_FOLDER.iterdir():
        if path.suffix == ".gguf":
            in_f32(path, folder / path.name)
        elif path.suffix in (".json", ".model"):
            (folder / path.name).write_bytes(path.read_bytes())
    heard = files.read(fixtures / "demo" / "heard.flac").reshape(-1, 1920)
    with (
        pymoshi.load(folder, device=device) as model,
        model.session(temperature=0, text_temperature=0, kv_type="f32") as session,
    ):
        frames = [session.step(pcm) for pcm in heard]
        nothing = np.full(1 + model.info.n_agent, NOTHING)
        yield {
            "user_codes": np.stack([frame.user_codes for frame in frames], 1),
            "tokens": np.stack(
                [nothing if frame.codes is None else np.array([frame.text_token, *frame.codes]) for frame in frames]
            ),
            "pcm": np.concatenate([frame.audio for frame in frames]),
        }


@pytest.fixture(scope="module")
def golden(fixtures: Path) -> Golden:
    with np.load(fixtures / "demo" / "golden.npz") as content:
        return {**content, "pcm": files.read(fixtures / "demo" / "golden.flac")}


def test_it_hears_what_the_reference_hears(conversation: Golden, golden: Golden) -> None:
    np.testing.assert_array_equal(conversation["user_codes"], golden["user_codes"])


def test_it_thinks_and_says_what_the_reference_does(conversation: Golden, golden: Golden) -> None:
    np.testing.assert_array_equal(conversation["tokens"], golden["tokens"])


def test_its_voice_is_the_reference_s(conversation: Golden, golden: Golden) -> None:
    assert worst(conversation["pcm"], golden["pcm"]) < PCM
