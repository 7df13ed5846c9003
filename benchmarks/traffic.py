"""What one frame must read from memory at least: each weight that it uses, and the keys and values of the past.

One frame at a time, each weight takes part in one multiplication: no machine is faster than it can read them.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pymoshi
from pymoshi._native.gguf import GgufFile, GgufTensor, row_size
from pymoshi.hub.names import MIMI_PREFIX, stored_name

_CODEC_PARTS = ("encoder_transformer", "decoder_transformer")
_HASHED_LEAVES = (
    "self_attn.in_projs.0.weight", "self_attn.out_projs.0.weight", "layer_scale_1.scale", "layer_scale_2.scale",
)  # fmt: skip
_MOST_CODEC_LAYERS = 64


@dataclass(frozen=True)
class Traffic:
    """Bytes per frame, by stage."""

    encode: int
    lm: int
    decode: int
    kv: int
    """Those of `lm` that are keys and values."""

    @property
    def total(self) -> int:
        return self.encode + self.lm + self.decode


def traffic(model: pymoshi.Model, *, kv_type: str, remembered: int, depformer_steps: int | None = None) -> Traffic:
    """`remembered`: frames in the model's memory; at most its context counts."""
    info, read = model.info, Counter[str]()
    steps = min(info.dep_q, info.n_agent) if depformer_steps is None else depformer_steps
    if model.files.lm is not None:
        with GgufFile(model.files.lm) as file:
            schedule = _schedule(file, model, info.dep_q)
            sets = Counter(schedule[:steps])
            for tensor in file.tensors.values():
                read["lm"] += _lm_bytes(tensor, sets, steps)
    if model.files.mimi is not None:
        codebooks = max(info.n_user, info.n_agent) or info.mimi_codebooks
        with GgufFile(model.files.mimi) as file:
            for tensor in file.tensors.values():
                stage, n_bytes = _mimi_bytes(tensor, codebooks)
                read[stage] += n_bytes
    kv = 2 * info.n_layers * row_size(kv_type, info.dim) * min(remembered, info.context)
    return Traffic(read["encode"], read["lm"] + kv, read["decode"], kv)


def _schedule(file: GgufFile, model: pymoshi.Model, dep_q: int) -> list[int]:
    """The weight set of each depformer step."""
    key = "depformer_weights_per_step_schedule"
    if f"moshi.{key}" in file.keys:
        return [int(number) for number in re.findall(r"\d+", file.keys[f"moshi.{key}"].value)]
    return (model.files.config or {}).get(key) or list(range(dep_q))


def _lm_bytes(tensor: GgufTensor, sets: Counter[int], steps: int) -> int:
    name, n_bytes = tensor.name.removeprefix("lm."), tensor.n_bytes
    row = n_bytes // tensor.shape[0]
    if re.fullmatch(r"emb\.\d+\.weight|text_emb\.weight", name):
        return row
    if name == "depformer_text_emb.weight":
        return row if steps else 0
    if match := re.fullmatch(r"depformer_emb\.(\d+)\.(low_rank\.)?weight", name):
        return (n_bytes if match[2] else row) if int(match[1]) < steps - 1 else 0
    if match := re.fullmatch(r"linears\.(\d+)\.weight", name):
        return n_bytes if int(match[1]) < steps else 0
    if match := re.fullmatch(r"depformer_in\.(\d+)\.weight", name):
        return n_bytes * sets[int(match[1])]
    if match := re.search(r"^depformer\.layers\.\d+\.(?:self_attn\.(?:in|out)_projs|gating)\.(\d+)\.", name):
        return n_bytes * sets[int(match[1])]
    return n_bytes * steps if name.startswith("depformer.") else n_bytes


def _mimi_bytes(tensor: GgufTensor, codebooks: int) -> tuple[str, int]:
    """The stage that reads it, and how much of it."""
    name = _HASHED.get(tensor.name, tensor.name).removeprefix(MIMI_PREFIX)
    if match := re.fullmatch(r"quantizer\.rvq_(first|rest)\.vq\.layers\.(\d+)\._codebook\.embedding", name):
        level = int(match[2]) + (match[1] == "rest")
        return "encode", tensor.n_bytes if level < codebooks else 0  # decoding takes a row of each, next to nothing
    encodes = name.startswith(("encoder", "downsample")) or name.endswith("input_proj.weight")
    return "encode" if encodes else "decode", tensor.n_bytes


_HASHED = {
    stored_name(name): name
    for part in _CODEC_PARTS
    for layer in range(_MOST_CODEC_LAYERS)
    for leaf in _HASHED_LEAVES
    for name in [f"{MIMI_PREFIX}{part}.transformer.layers.{layer}.{leaf}"]
}
