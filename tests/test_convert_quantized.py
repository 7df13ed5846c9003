"""Quantised conversion: ggml's own numbers, as the numpy quantiser of the gguf package confirms."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as GgmlType
from numpy.typing import NDArray

from checkpoints import FIXTURES, Tensors, read_tensors, write_tensors
from pymoshi.hub.convert import convert

MOSHI = FIXTURES / "moshi"
LINEAR = "transformer.layers.1.gating.linear_in.weight"  # [352, 64]


def weights(name: str) -> NDArray[np.float32]:
    """A tensor of the tiny Moshi, in f32."""
    _, shape, data = read_tensors(MOSHI / "model.safetensors")[name]
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)


def tensors_of(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("quantize", "kind"), [("q8_0", GgmlType.Q8_0), ("q4_0", GgmlType.Q4_0)])
def test_blocks_are_those_of_another_implementation(tmp_path: Path, quantize: str, kind: GgmlType) -> None:
    result = tensors_of(convert(MOSHI, tmp_path / "out", quantize=quantize) / f"model-{quantize}.gguf")
    for name in (LINEAR, "text_emb.weight", "linears.3.weight"):
        tensor = result["lm." + name]
        assert tensor.tensor_type == kind
        np.testing.assert_array_equal(tensor.data, gguf.quants.quantize(weights(name), kind))


def test_rows_too_short_for_q4_k_become_q4_0_and_those_too_short_for_both_stay(tmp_path: Path) -> None:
    result = tensors_of(convert(MOSHI, tmp_path / "out", quantize="q4_k") / "model-q4_k.gguf")
    kinds = {name: tensor.tensor_type for name, tensor in result.items()}
    assert kinds["lm." + LINEAR] == GgmlType.Q4_0  # rows of 64
    assert kinds["lm.depformer.layers.0.gating.0.linear_out.weight"] == GgmlType.BF16  # rows of 88
    assert kinds["lm.out_norm.alpha"] == GgmlType.F32


def test_a_wide_model_is_stored_in_q4_k_close_to_its_values(tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    tensors, expected = wide_model()
    write_tensors(folder / "model.safetensors", tensors)
    config = json.loads((MOSHI / "config.json").read_text()) | {"dim": 256, "num_layers": 1, "dep_q": 0}
    (folder / "config.json").write_text(json.dumps(config))
    result = tensors_of(convert(folder, tmp_path / "out", quantize="q4_k") / "model-q4_k.gguf")
    tensor = result["lm.text_linear.weight"]
    assert tensor.tensor_type == GgmlType.Q4_K
    assert result["lm.text_emb.weight"].tensor_type == GgmlType.Q4_0  # q4_K rows cannot be looked up everywhere
    found = gguf.quants.dequantize(tensor.data, GgmlType.Q4_K)
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 0.02 < error < 0.1  # four bits and a scale for 32 values


def wide_model() -> tuple[Tensors, NDArray[np.float32]]:
    """A checkpoint in F32 with rows of 256, speech recognition's shape (no depformer), and its text_linear.weight."""
    rng = np.random.default_rng(3)
    shapes = {f"emb.{k}.weight": [129, 256] for k in range(16)} | {
        "text_emb.weight": [401, 256],
        "text_linear.weight": [400, 256],
        "out_norm.alpha": [1, 1, 256],
        "transformer.layers.0.norm1.alpha": [1, 1, 256],
        "transformer.layers.0.norm2.alpha": [1, 1, 256],
        "transformer.layers.0.self_attn.in_proj_weight": [768, 256],
        "transformer.layers.0.self_attn.out_proj.weight": [256, 256],
        "transformer.layers.0.gating.linear_in.weight": [1024, 256],
        "transformer.layers.0.gating.linear_out.weight": [256, 512],
    }
    values: dict[str, NDArray[np.float32]] = {
        name: rng.standard_normal(shape, dtype=np.float32) / np.float32(16) for name, shape in shapes.items()
    }
    tensors = {name: ("F32", list(value.shape), value.tobytes()) for name, value in values.items()}
    return tensors, values["text_linear.weight"]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(tmp_path: Path, threads: int) -> None:
    all_cores = convert(MOSHI, tmp_path / "all", quantize="q8_0") / "model-q8_0.gguf"
    some = convert(MOSHI, tmp_path / "some", quantize="q8_0", threads=threads) / "model-q8_0.gguf"
    assert some.read_bytes() == all_cores.read_bytes()


def test_a_half_precision_checkpoint_quantises_too(tmp_path: Path) -> None:
    half = {
        name: ("F16", shape, (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
               .astype(np.float16).tobytes())
        for name, (_, shape, data) in read_tensors(MOSHI / "model.safetensors").items()
    }  # fmt: skip
    write_tensors(tmp_path / "half" / "model.safetensors", half)
    (tmp_path / "half" / "config.json").write_bytes((MOSHI / "config.json").read_bytes())
    result = tensors_of(convert(tmp_path / "half", tmp_path / "out", quantize="q8_0") / "model-q8_0.gguf")
    exact = weights(LINEAR).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(result["lm." + LINEAR].data, gguf.quants.quantize(exact, GgmlType.Q8_0))
