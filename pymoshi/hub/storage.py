"""How tensors are stored: the types, and which tensor gets which (those of the GGUF files that people already have)."""

from math import prod

from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES

from pymoshi.errors import InputError
from pymoshi.hub.tensors import Role, Tensor

_GGML = {
    "f32": GGMLQuantizationType.F32,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_0": GGMLQuantizationType.Q4_0,
    "q4_k": GGMLQuantizationType.Q4_K,
}
FLOATS = ("f32", "f16", "bf16")
LM_TYPES = ("q8_0", "q4_k", "q4_0", "f16", "bf16", "f32")
MIMI_TYPES = ("f16", "f32", "f16-all")


def ggml_type(name: str) -> GGMLQuantizationType:
    """The file format's number for a type of ours."""
    return _GGML[name]


def block_length(kind: str) -> int:
    """Values that are stored together, so that rows are a multiple of it long."""
    return int(GGML_QUANT_SIZES[_GGML[kind]][0])


def row_bytes(kind: str, length: int) -> int:
    """Bytes of one row of `length` values; the length is a multiple of the type's block."""
    block, size = GGML_QUANT_SIZES[_GGML[kind]]
    return length // block * size


def stored_shape(tensor: Tensor) -> tuple[int, ...]:
    """PyTorch-order shape in the file: leading ones go (as ggml does), a convolution's bias becomes a column."""
    shape = (*tensor.shape, 1) if tensor.role is Role.BIAS else tensor.shape
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def stored_bytes(tensor: Tensor, kind: str) -> int:
    """Bytes of a whole tensor in the file."""
    shape = stored_shape(tensor)
    return prod(shape[:-1]) * row_bytes(kind, shape[-1])


def lm_type(tensor: Tensor, wanted: str | None, source: str) -> str:
    """Type of a language model's tensor. `wanted` None keeps the `source` type, that of the checkpoint."""
    match tensor.role:
        case Role.LINEAR | Role.EMBEDDING:
            return _fitting(wanted or source, tensor.shape[-1], source, tensor.role is Role.EMBEDDING)
        case Role.KEPT:
            return source
        case _:
            return "f32"


def _fitting(wanted: str, row: int, source: str, looked_up: bool) -> str:
    if wanted == "q4_k" and (looked_up or row % 256):  # rows of q4_K cannot be fetched on every backend
        wanted = "q4_0"
    if wanted in ("q4_0", "q8_0") and row % 32:
        return source
    return wanted


def mimi_type(tensor: Tensor, wanted: str) -> str:
    """Type of a codec's tensor.

    "f16" concerns the kernels of ordinary convolutions, as in the existing files, and all of the decoder, which then
    computes with them as they are; "f16-all" the encoder's transformer, too.
    """
    match tensor.role, wanted:
        case (Role.CONV, "f16" | "f16-all") | (Role.WIDE, "f16-all"):
            return "f16"
        case (Role.WIDE, "f16") if tensor.name.startswith("decoder"):
            return "f16"
        case _:
            return "f32"


def check_type(kind: str, allowed: tuple[str, ...], option: str) -> str:
    """The type's name in lower case. Raises InputError if it is not among those allowed."""
    if kind.lower() not in allowed:
        raise InputError(f"{option}: {kind!r} is not known; expected one of {', '.join(allowed)}")
    return kind.lower()
