"""Voice files: `.gguf` (existing layout), `.safetensors` and NVIDIA's `.pt`, all holding `embeddings` and `cache`."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from pymoshi._native import GgufFile
from pymoshi.errors import PymoshiError, VoiceError
from pymoshi.voices.pt import read_pt
from pymoshi.voices.voice import Voice, voice_from_arrays

__all__ = ["SUFFIXES", "read_safetensors", "read_voice_file"]

SUFFIXES = (".gguf", ".safetensors", ".pt")  # also the order in which they are preferred
MAX_BYTES = 64 << 20  # published voices have about 0.4 MB

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1",
}  # fmt: skip


def read_voice_file(path: Path, name: str | None = None) -> Voice:
    """Reads a voice file of any of the three kinds.

    Raises:
        VoiceError: not readable, not a voice, damaged, or suspicious.
    """
    label = name or path.stem
    _check_readable(path)
    match path.suffix.lower():
        case ".pt":
            tensors = read_pt(path)
        case ".safetensors":
            tensors = read_safetensors(path)
        case ".gguf":
            tensors = _read_gguf(path)
        case suffix:
            raise VoiceError(f"{path}: {suffix!r} is no kind of voice file; known are {', '.join(SUFFIXES)}")
    missing = [key for key in ("embeddings", "cache") if key not in tensors]
    if missing:
        raise VoiceError(
            f"{path} is not a PersonaPlex voice: `{'` and `'.join(missing)}` missing, found {sorted(tensors)[:8]}"
        )
    embeddings, cache = tensors["embeddings"], tensors["cache"]
    if embeddings.dtype.kind != "f" or cache.dtype.kind not in "iu":
        raise VoiceError(
            f"{path}: `embeddings` must be floating and `cache` integer; found {embeddings.dtype} and {cache.dtype}"
        )
    return voice_from_arrays(label, str(path), embeddings, cache)


def _check_readable(path: Path) -> None:
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise VoiceError(f"The voice file {path} {what}")
        if path.stat().st_size > MAX_BYTES:
            raise VoiceError(f"{path} has {path.stat().st_size >> 20} MB; no voice file is that large")
    except OSError as error:
        raise VoiceError(f"Cannot read the voice file {path}: {error.strerror or error}") from error


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a small safetensors file; floating types as float32, integers as they are.

    Raises:
        VoiceError: not readable, damaged, or a type that numpy cannot hold.
    """
    try:
        entries = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except OSError as error:
        raise VoiceError(f"Cannot read the voice file {path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise VoiceError(f"{path} is not a sound safetensors file: {error}") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise VoiceError(f"{path}: `{name}` has the type {entry['dtype']}, which no voice has")
        values = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = values.astype(np.float32) if values.dtype.kind == "f" else values
    return arrays


def _read_gguf(path: Path) -> dict[str, NDArray[Any]]:
    """`voice.embeddings` and `voice.cache`, under the names without the prefix."""
    try:
        with GgufFile(path) as file:
            found = {}
            for name, tensor in file.tensors.items():
                match name, tensor.type.lower():
                    case "voice.cache", "i32" | "i64" as kind:
                        raw = np.frombuffer(file.read_raw(name).tobytes(), "<i4" if kind == "i32" else "<i8")
                        found["cache"] = raw.reshape(tensor.shape)
                    case "voice.embeddings", "f32" | "f16" | "bf16":
                        found["embeddings"] = file.read_f32(name)
    except VoiceError:
        raise
    except PymoshiError as error:
        raise VoiceError(f"{path} is not a sound voice file: {error}") from error
    if "embeddings" in found and found["embeddings"].ndim == 1:  # GGUF drops leading axes of length 1
        found["embeddings"] = found["embeddings"].reshape(1, -1)
    return found
