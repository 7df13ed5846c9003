"""Models of the published shapes with random weights: nothing to download or to hear, but true sizes and speeds."""

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import Cancelled, InputError
from pymoshi.hub.config import MIMI_24KHZ, MOSHI_7B, Metadata, flatten, lm_metadata
from pymoshi.hub.gguf_output import GgufOutput, OutputFolder, Stored
from pymoshi.hub.names import LM_PREFIX, MIMI_PREFIX
from pymoshi.hub.storage import (
    LM_TYPES,
    MIMI_TYPES,
    check_type,
    lm_type,
    mimi_type,
    stored_bytes,
    stored_shape,
)
from pymoshi.hub.synth_tokenizer import tokenizer_model
from pymoshi.hub.synth_weights import RandomTensors
from pymoshi.hub.tensors import Role, Tensor, depformer_hidden_of, hidden_of, lm_tensors, mimi_tensors

#: As in `convert`: bytes written, bytes in all, file name; returning False stops the work.
Progress = Callable[[int, int, str], bool | None]

_TOKENIZER = "tokenizer.model"

_TINY: dict[str, Any] = MOSHI_7B | {
    "dim": 256, "num_heads": 4, "num_layers": 2, "text_card": 512, "card": 256, "context": 128,
    "depformer_dim": 64, "depformer_dim_feedforward": 192, "depformer_num_heads": 2, "depformer_num_layers": 2,
}  # fmt: skip
_TINY_MIMI: dict[str, Any] = MIMI_24KHZ | {
    "seanet": MIMI_24KHZ["seanet"] | {"dimension": 64, "n_filters": 8},
    "quantizer": {"dimension": 32, "n_q": 8, "bins": 256, "input_dimension": 64, "output_dimension": 64},
    "transformer": MIMI_24KHZ["transformer"] | {
        "d_model": 64, "num_heads": 2, "num_layers": 2, "context": 50, "dim_feedforward": 128, "input_dimension": 64,
        "output_dimensions": [64],
    },
}  # fmt: skip

#: What can be made: hyper-parameters of the language model (None for a codec alone) and of the codec.
SYNTHETIC: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "moshi": (MOSHI_7B | {"model_type": "moshi"}, MIMI_24KHZ),
    "personaplex": (MOSHI_7B | {"dep_q": 16, "model_type": "personaplex"}, MIMI_24KHZ),
    "mimi": (None, MIMI_24KHZ),
    "tiny": (_TINY | {"model_type": "moshi"}, _TINY_MIMI),
}


def synthesize(
    name: str,
    out_dir: str | Path,
    *,
    quantize: str = "q4_k",
    mimi_type: str = "f16",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes a model of random weights, complete with codec, tokenizer and config.json; returns its folder.

    name: "moshi" or "personaplex" (7B, published sizes), "mimi" (the codec alone) or "tiny" (4 MB, for trying things).
    quantize, mimi_type: as in `convert`. seed: equal seeds give equal files.

    Raises InputError, DiskSpaceError, Cancelled.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; expected 0 or more")
    files, total = _files(name, quantize, mimi_type), synthetic_bytes(name, quantize, mimi_type)
    lm, _ = SYNTHETIC[name]
    random = RandomTensors(np.random.Generator(np.random.SFC64(seed)))
    with OutputFolder(Path(out_dir), overwrite=overwrite) as output:
        output.reserve([*files, *([_TOKENIZER, "config.json"] if lm else [])], total)
        done = 0
        for file_name, (tensors, metadata) in files.items():
            with GgufOutput(output.path(file_name), f"synthetic {name}", metadata, tensors) as out:
                for stored in tensors:
                    if progress is not None and progress(done, total, file_name) is False:
                        raise Cancelled("making the model was stopped")
                    out.write(_weights(random, stored))
                    done += stored.n_bytes
            if progress is not None:
                progress(done, total, file_name)
        if lm is not None:
            output.path(_TOKENIZER).write_bytes(tokenizer_model(lm["text_card"]))
            names = dict(zip(("moshi_name", "mimi_name"), files, strict=True)) | {"tokenizer_name": _TOKENIZER}
            output.path("config.json").write_text(json.dumps(lm | names, indent=2) + "\n", encoding="utf-8")
        output.commit()
    return Path(out_dir)


def synthetic_bytes(name: str, quantize: str, mimi_type: str) -> int:
    """Of all tensors of such a model. Raises InputError."""
    files = _files(name, quantize, mimi_type).values()
    return sum(stored.n_bytes for tensors, _ in files for stored in tensors)


def _files(name: str, quantize: str, mimi_type: str) -> dict[str, tuple[list[Stored], Metadata]]:
    """Tensors and metadata of each file. Raises InputError."""
    if name not in SYNTHETIC:
        raise InputError(f"{name!r} cannot be made; expected one of {', '.join(SYNTHETIC)}")
    lm, codec = SYNTHETIC[name]
    quantize = check_type(quantize, LM_TYPES, "quantize")
    files = {f"model-{quantize}.gguf": (_lm_stored(lm, quantize), lm_metadata(lm))} if lm is not None else {}
    return files | {f"mimi-{mimi_type}.gguf": (_mimi_stored(codec, mimi_type), flatten(codec, "mimi"))}


def _lm_stored(config: Mapping[str, Any], quantize: str) -> list[Stored]:
    tensors = lm_tensors(config, hidden_of(config), depformer_hidden_of(config))
    return [Stored(tensor, LM_PREFIX + tensor.name, lm_type(tensor, quantize, "bf16")) for tensor in tensors]


def _mimi_stored(config: Mapping[str, Any], wanted: str) -> list[Stored]:
    check_type(wanted, MIMI_TYPES, "mimi_type")
    return [Stored(tensor, MIMI_PREFIX + tensor.name, mimi_type(tensor, wanted)) for tensor in mimi_tensors(config)]


def _weights(random: RandomTensors, stored: Stored) -> NDArray[Any]:
    """A tensor's bytes."""
    tensor = stored.tensor
    constant = _constant(tensor)
    if constant is not None:
        return np.full(prod(tensor.shape), constant, dtype=np.float32)
    shape = stored_shape(tensor)
    out = random.take(stored.kind, prod(shape[:-1]), shape[-1], _std(tensor))
    assert out.nbytes == stored_bytes(tensor, stored.kind)
    return out


def _constant(tensor: Tensor) -> float | None:
    """Norms pass everything on; layer scales let a good deal of a layer's work through."""
    if tensor.role is not Role.NORM:
        return None
    return 0.0 if tensor.name.endswith(".bias") else 0.1 if tensor.name.endswith(".scale") else 1.0


def _std(tensor: Tensor) -> float:
    """Such that activations keep their size from layer to layer, and sound stays within [-1, 1] by far."""
    fan_in = prod(tensor.shape[1:])
    if tensor.name.endswith("convtr.convtr.weight"):
        fan_in = tensor.shape[0] if tensor.shape[1] > 1 else 1  # a sample gets one tap of each of two latents
    match tensor.role:
        case Role.EMBEDDING:
            return 0.25  # seventeen of them are added up
        case Role.BIAS:
            return 0.01
        case _ if "_codebook" in tensor.name:
            return 0.5
        case Role.CONV if tensor.shape[0] == 1:
            return float(0.03 / fan_in**0.5)  # the last one makes the sound
        case _:
            return float(1 / fan_in**0.5)
