"""Synthetic models have the published shapes, sizes and types, and numbers of a sane size."""

from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
from numpy.typing import NDArray

from pymoshi.errors import InputError
from pymoshi.hub.config import MIMI_24KHZ, MOSHI_7B
from pymoshi.hub.gguf_header import read_gguf_header
from pymoshi.hub.layout import resolve
from pymoshi.hub.storage import lm_type, mimi_type, row_bytes, stored_bytes
from pymoshi.hub.synth import synthesize
from pymoshi.hub.synth_tokenizer import tokenizer_model
from pymoshi.hub.synth_weights import RandomTensors, random_rows
from pymoshi.hub.tensors import lm_tensors, mimi_tensors

GGML = {"q4_k": "Q4_K", "q4_0": "Q4_0", "q8_0": "Q8_0", "f16": "F16", "bf16": "BF16", "f32": "F32"}


@pytest.mark.parametrize(("dep_q", "parameters", "q4_k_bytes"), [(8, 7_687_729_152, 4_325_305_088),
                                                                (16, 8_371_408_896, 4_709_874_944)])  # fmt: skip
def test_full_size_models_have_the_published_size(dep_q: int, parameters: int, q4_k_bytes: int) -> None:
    tensors = list(lm_tensors(MOSHI_7B | {"dep_q": dep_q}, 11264, 2816))
    assert sum(prod(tensor.shape) for tensor in tensors) == parameters
    assert sum(stored_bytes(tensor, lm_type(tensor, "q4_k", "bf16")) for tensor in tensors) == q4_k_bytes


def test_full_size_mimi_has_the_published_size() -> None:
    tensors = list(mimi_tensors(MIMI_24KHZ))
    usage_and_flags = 32 * (2048 + 1)  # in the checkpoint, divided out of ours
    assert sum(prod(tensor.shape) for tensor in tensors) + usage_and_flags == 96_151_393
    kinds = [mimi_type(tensor, "f16") for tensor in tensors]
    assert (kinds.count("f16"), kinds.count("f32")) == (29 + 4 + 8 * 4, 225 - 4 - 8 * 4)  # the decoder's besides
    assert sum(stored_bytes(t, mimi_type(t, "f16-all")) for t in tensors) < 231_000_000


@pytest.mark.parametrize("kind", GGML)
def test_random_weights_have_the_wanted_mean_and_spread(kind: str) -> None:
    rows = random_rows(np.random.default_rng(0), kind, 64, 4096, 1 / 64)
    assert rows.shape == (64, row_bytes(kind, 4096))
    stored: NDArray[Any] = rows.view({"f16": np.float16, "f32": np.float32}.get(kind, np.uint8))
    values = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[GGML[kind]])
    assert abs(float(values.mean())) < 5e-3 / 64
    assert float(values.std()) == pytest.approx(1 / 64, rel=0.01)


@pytest.mark.parametrize("kind", GGML)
def test_large_tensors_are_as_random_as_small_ones(kind: str) -> None:
    random = RandomTensors(np.random.default_rng(0))
    row = row_bytes(kind, 4096)
    one, other = (random.take(kind, 1024, 4096, 1 / 64).reshape(-1, row) for _ in range(2))
    stored: NDArray[Any] = one[:64].view({"f16": np.float16, "f32": np.float32}.get(kind, np.uint8))
    values = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[GGML[kind]])
    assert abs(float(values.mean())) < 5e-3 / 64
    assert float(values.std()) == pytest.approx(1 / 64, rel=0.01)
    assert len(np.unique(one, axis=0)) == 1024
    assert not (one == other).all(axis=1).any()


def test_tensors_of_another_spread_are_other_numbers() -> None:
    random = RandomTensors(np.random.default_rng(0))
    narrow, wide = (random.take("f32", 256, 1024, std).view(np.float32) for std in (0.25, 0.5))
    assert float(wide.std() / narrow.std()) == pytest.approx(2, rel=0.01)
    assert abs(float(np.corrcoef(narrow, wide)[0, 1])) < 0.01


def test_a_tiny_model_is_complete_and_describes_itself(tmp_path: Path) -> None:
    files = resolve(synthesize("tiny", tmp_path / "tiny"))
    assert files.lm is not None
    assert files.mimi is not None
    assert files.tokenizer is not None
    assert files.lm_metadata is None
    assert files.name == "synthetic tiny"
    assert read_gguf_header(files.lm).metadata["moshi.dim"] == 256


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    one, same, other = (synthesize("tiny", tmp_path / str(i), seed=seed) for i, seed in enumerate((5, 5, 6)))
    for name in ("model-q4_k.gguf", "mimi-f16.gguf"):
        assert (one / name).read_bytes() == (same / name).read_bytes()
        assert (one / name).read_bytes() != (other / name).read_bytes()


@pytest.mark.parametrize("quantize", ["q8_0", "f32", "bf16"])
def test_types_are_those_asked_for(tmp_path: Path, quantize: str) -> None:
    path = synthesize("tiny", tmp_path / "tiny", quantize=quantize) / f"model-{quantize}.gguf"
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}
    assert kinds["lm.transformer.layers.0.gating.linear_in.weight"] == quantize.upper()
    assert kinds["lm.out_norm.alpha"] == "F32"


def test_all_float_weights_are_finite_and_not_all_alike(tmp_path: Path) -> None:
    path = synthesize("tiny", tmp_path / "tiny", quantize="f32", mimi_type="f32")
    for file in ("model-f32.gguf", "mimi-f32.gguf"):
        for tensor in gguf.GGUFReader(path / file).tensors:
            assert np.isfinite(tensor.data).all()
            assert "norm" in tensor.name or tensor.data.size < 600 or tensor.data.std() > 1e-3


@pytest.mark.parametrize("size", [512, 32000])
def test_the_made_up_tokenizer_encodes_every_text(size: int) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model(size))
    assert processor.vocab_size() == size
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id()] == [0, 1, 2, 3]
    for text in ("You enjoy having a good conversation.", "<system> na\u00efve \u2603 <system>", "banana 3.14"):
        ids = processor.encode(text)
        assert processor.decode(ids) == text
        assert min(ids) > 3


def test_interrupted_making_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int, _: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize("tiny", tmp_path / "tiny", progress=interrupt)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("wrong", [{"name": "gpt"}, {"quantize": "q2"}, {"mimi_type": "q8_0"}, {"seed": -1}])
def test_what_cannot_be_made_is_said(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        synthesize(**({"name": "tiny", "out_dir": tmp_path / "out"} | wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
