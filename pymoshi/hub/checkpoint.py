"""A published checkpoint, seen as the tensors of `tensors.py` whatever naming it uses."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pymoshi.errors import ModelFormatError, UnsupportedModelError
from pymoshi.hub.safetensors_file import Entry

FLOAT_TYPES = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16"}

_PACKED = re.compile(r"(.*(?:self_attn|cross_attention))\.(in|out)_proj(?:_weight|\.weight)")
_CANDLE = re.compile(r"depformer\.(\d+)\.(linear_in|linear_out|emb|transformer)\b(.*)")
_CODEBOOK = re.compile(r"(.*_codebook)\.(\w+)")
_OLD_CODEBOOK = {"cluster_size": "cluster_usage", "embed_avg": "embedding_sum", "embed_sum": "embedding_sum"}


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of one tensor of the file, of the given shape."""

    entry: Entry
    first: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Codebook:
    """A codebook as it is trained: the sum of the vectors assigned to each entry, and how many there were."""

    total: Entry
    usage: Entry

    @property
    def shape(self) -> tuple[int, ...]:
        """[entries, width]"""
        return self.total.shape


Source = Rows | Codebook


def kind_of(names: Iterable[str]) -> str | None:
    """What a file's tensors make up: "lm", "mimi", "voice" or None. Prefixes as in GGUF files may be there or not."""
    for name in names:
        match name.split("."):
            case ["lm", *_] | ["text_emb" | "out_norm" | "text_linear" | "depformer_in", *_]:
                return "lm"
            case ["mimi", *_] | ["quantizer" | "encoder_transformer" | "decoder_transformer" | "encoder", *_]:
                return "mimi"
            case ["voice", *_] | ["speaker_wavs"] | ["embeddings"]:
                return "voice"
    return None


def codebooks_predicted(names: Iterable[str]) -> int:
    """How many codebooks the depformer of a checkpoint predicts, under either naming."""
    return sum(bool(re.fullmatch(r"linears\.\d+\.weight|depformer\.\d+\.linear_out\.weight", name)) for name in names)


def lm_sources(entries: Mapping[str, Entry], sets: int) -> dict[str, Source]:
    """Where each tensor of a language model is. `sets`: depformer weight sets, into which packed tensors are cut.

    Raises ModelFormatError, UnsupportedModelError (bitsandbytes or LoRA files).
    """
    sources: dict[str, Source] = {}
    for name, entry in entries.items():
        if name.endswith((".weight_scb", "weight_format")) or ".lora_" in name:
            what = "LoRA weights" if "lora" in name else "8-bit bitsandbytes weights"
            raise UnsupportedModelError(f"{name} is part of {what}; convert the original bf16 checkpoint instead")
        for key, source in _pieces(_from_candle(name), entry, sets):
            if key in sources and ".norm" not in key:
                raise ModelFormatError(f"{name}: occurs under two namings")
            sources.setdefault(key, source)  # Rust files repeat the norms, which the steps share, for each step
    return sources


def mimi_sources(entries: Mapping[str, Entry]) -> dict[str, Source]:
    """Where each tensor of a codec is. Raises ModelFormatError."""
    sources: dict[str, Source] = {}
    codebooks: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        if match := _CODEBOOK.fullmatch(name):
            part = _OLD_CODEBOOK.get(match[2], match[2])
            codebooks.setdefault(match[1], {})[part] = entry
            continue
        for key, source in _pieces(name, entry, 1):
            sources[key] = source
    for name, parts in codebooks.items():
        match parts:
            case {"embedding": entry}:
                sources[f"{name}.embedding"] = Rows(entry, 0, entry.shape)
            case {"embedding_sum": total, "cluster_usage": usage}:
                if usage.shape != total.shape[:1]:
                    raise ModelFormatError(f"{name}: {total.shape} vectors but usage counts of shape {usage.shape}")
                sources[f"{name}.embedding"] = Codebook(total, usage)
            case _:
                raise ModelFormatError(f"{name}: has {sorted(parts)}; expected embedding_sum and cluster_usage")
    return sources


def _pieces(name: str, entry: Entry, sets: int) -> Iterable[tuple[str, Source]]:
    match = _PACKED.fullmatch(name)
    if match is None:
        return [(name, Rows(entry, 0, entry.shape))]
    count = sets if name.startswith("depformer.") else 1
    if len(entry.shape) != 2 or count < 1 or entry.shape[0] % count:
        raise ModelFormatError(f"{name}: shape {list(entry.shape)} cannot be cut into {count} steps' projections")
    rows = entry.shape[0] // count
    shape = (rows, entry.shape[1])
    return [(f"{match[1]}.{match[2]}_projs.{i}.weight", Rows(entry, i * rows, shape)) for i in range(count)]


def _from_candle(name: str) -> str:
    """Kyutai's Rust files hold a whole depformer a step; here is what the PyTorch files call the same tensor."""
    match = _CANDLE.fullmatch(name)
    if match is None:
        return name
    step, part, rest = int(match[1]), match[2], match[3]
    if part != "transformer":
        embedding = "depformer_text_emb" if step == 0 else f"depformer_emb.{step - 1}"
        return {"linear_in": f"depformer_in.{step}", "linear_out": f"linears.{step}", "emb": embedding}[part] + rest
    rest = re.sub(r"(self_attn\.(?:in|out)_proj)(?:_weight|\.weight)$", rf"\1s.{step}.weight", rest)
    return "depformer" + rest.replace(".gating.", f".gating.{step}.")
