"""What one frame of a loaded model must read from memory at least, counted from the tensors of its files."""

import platform
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

from pymoshi._native import GgufFile, GgufTensor, row_size
from pymoshi.cost import Weight, reads
from pymoshi.hub.names import LM_PREFIX, MIMI_PREFIX, stored_name
from pymoshi.model import Model

_CODEC_PARTS: Final = ("encoder_transformer", "decoder_transformer")
_HASHED_LEAVES: Final = (
    "self_attn.in_projs.0.weight", "self_attn.out_projs.0.weight", "layer_scale_1.scale", "layer_scale_2.scale",
)  # fmt: skip
_MOST_CODEC_LAYERS: Final = 64
_SHORT_ROW: Final = 1024  # kShortRow in vendor/moshi.cpp/src/nn/weights.h, in f32


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of a frame, by stage: each weight that it uses, and a row of each embedding."""

    encode: int
    lm: int
    decode: int
    kv_per_frame: int
    """Keys and values that the language model reads of each frame that it remembers."""


def traffic(model: Model, *, kv_type: str, depformer_steps: int | None = None) -> Traffic:
    """depformer_steps: as in `Model.session`."""
    info, lm, codec = model.info, 0, Counter[str]()
    if info.has_lm and model.files.lm is not None:
        steps = depformer_steps or min(info.dep_q, info.n_agent)
        with GgufFile(model.files.lm) as file:
            read, _ = reads(_weights(file), _schedule(file, model), steps)
        lm = sum(read.values())
    if info.has_mimi and model.files.mimi is not None:
        codebooks = codebooks_of(model)
        with GgufFile(model.files.mimi) as file:
            halves = _halves(file) if info.device == "cpu" else frozenset()
            for tensor in file.tensors.values():
                stage, n_bytes = _codec_bytes(tensor, codebooks, halves)
                codec[stage] += n_bytes
    kv = 2 * info.n_layers * row_size(kv_type, info.dim) if info.has_lm else 0
    return Traffic(codec["encode"], lm, codec["decode"], kv)


def codebooks_of(model: Model) -> int:
    """How many the language model uses; of a codec alone, as many as the published language models do."""
    info = model.info
    return min(info.mimi_codebooks, max(info.n_user, info.n_agent) or 8)


def _weights(file: GgufFile) -> Iterator[Weight]:
    for tensor in file.tensors.values():
        name = tensor.name.removeprefix(LM_PREFIX)
        yield Weight(name, tensor.type.lower(), tensor.n_bytes, tensor.n_bytes // tensor.shape[0])


def _schedule(file: GgufFile, model: Model) -> list[int]:
    """The set of weights of each depformer step."""
    key = "depformer_weights_per_step_schedule"
    if f"moshi.{key}" in file.keys:
        return [int(number) for number in re.findall(r"\d+", file.keys[f"moshi.{key}"].value)]
    return (model.files.config or {}).get(key) or list(range(model.info.dep_q))


def _codec_name(tensor: GgufTensor) -> str:
    return _HASHED.get(tensor.name, tensor.name).removeprefix(MIMI_PREFIX)


def _halves(file: GgufFile) -> frozenset[str]:
    """Tensors of the codec that a CPU computes with as they are stored, not widened to f32.

    All of the decoder; of the encoder, long rows that few columns meet (`Halves` in vendor/moshi.cpp/src/nn/weights.h).
    """
    names = {_codec_name(tensor): tensor for tensor in file.tensors.values()}
    layers = [int(found[1]) for name in names if (found := re.match(r"encoder\.model\.(\d+)\.", name))]
    few = ("encoder_transformer.", "downsample.", *(f"encoder.model.{max(layers) - n}." for n in (0, 2)))
    keeps = platform.machine().lower() in ("x86_64", "amd64")
    return frozenset(
        name
        for name, tensor in names.items()
        if name.startswith("decoder") or (keeps and name.startswith(few) and prod(tensor.shape[1:]) > _SHORT_ROW)
    )


def _codec_bytes(tensor: GgufTensor, codebooks: int, halves: Collection[str]) -> tuple[str, int]:
    """The stage that reads a tensor of the codec, and how much of it. halves: those that are not widened to f32."""
    name = _codec_name(tensor)
    if match := re.fullmatch(r"quantizer\.rvq_(first|rest)\.vq\.layers\.(\d+)\._codebook\.embedding", name):
        level = int(match[2]) + (match[1] == "rest")
        return "encode", tensor.n_bytes if level < codebooks else 0  # decoding takes a row of each, next to nothing
    encodes = name.startswith(("encoder", "downsample")) or name.endswith("input_proj.weight")
    return "encode" if encodes else "decode", tensor.n_bytes if name in halves else 4 * prod(tensor.shape)


_HASHED: Final = {
    stored_name(name): name
    for part in _CODEC_PARTS
    for layer in range(_MOST_CODEC_LAYERS)
    for leaf in _HASHED_LEAVES
    for name in [f"{MIMI_PREFIX}{part}.transformer.layers.{layer}.{leaf}"]
}
