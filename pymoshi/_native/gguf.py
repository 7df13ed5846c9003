"""GGUF files and quantisation through the engine: the same code that loads a model describes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pymoshi._native.library import c_string, check, ffi, lib, text
from pymoshi.errors import InputError, StateError

_SOURCE_DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of a GGUF file."""

    name: str
    type: str
    """ "f32", "q4_K", ..."""
    shape: tuple[int, ...]
    """Slowest dimension first, as numpy and PyTorch count."""
    n_bytes: int
    file_offset: int


@dataclass(frozen=True, slots=True)
class GgufKey:
    """One metadata entry of a GGUF file; the value is the engine's text for it."""

    key: str
    type: str
    value: str


class GgufFile:
    """A GGUF file, opened for reading. A context manager.

    Raises ModelNotFoundError if the file cannot be opened, ModelFormatError if it is not a sound GGUF file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        out = ffi().new("moshi_gguf **")
        check(lib().moshi_gguf_open(c_string(self.path), out))
        self._file: Any = ffi().gc(out[0], lib().moshi_gguf_free)

    def _handle(self) -> Any:
        if self._file is None:
            raise StateError(f"{self.path} is closed.")
        return self._file

    def close(self) -> None:
        """Closes the file; closing twice is allowed."""
        if self._file is not None:
            ffi().release(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @cached_property
    def tensors(self) -> dict[str, GgufTensor]:
        """All tensors by name, in the file's order."""
        return {tensor.name: tensor for tensor in self._tensors()}

    def _tensors(self) -> Iterator[GgufTensor]:
        file, found = self._handle(), ffi().new("moshi_gguf_tensor *")
        for index in range(lib().moshi_gguf_n_tensors(file)):
            check(lib().moshi_gguf_get_tensor(file, index, found))
            shape = tuple(int(found.ne[axis]) for axis in reversed(range(found.n_dims)))
            yield GgufTensor(text(found.name), text(found.type), shape, int(found.n_bytes), int(found.file_offset))

    @cached_property
    def keys(self) -> dict[str, GgufKey]:
        """All metadata by key, in the file's order."""
        return {entry.key: entry for entry in self._keys()}

    def _keys(self) -> Iterator[GgufKey]:
        file = self._handle()
        key, kind, value = (ffi().new("const char **") for _ in range(3))
        for index in range(lib().moshi_gguf_n_keys(file)):
            check(lib().moshi_gguf_get_key(file, index, key, kind, value))
            yield GgufKey(text(key[0]), text(kind[0]), text(value[0]))

    def _find(self, name: str) -> GgufTensor:
        self._handle()
        if name not in self.tensors:
            raise InputError(f"{self.path} has no tensor {name!r}.")
        return self.tensors[name]

    def read_f32(self, name: str) -> NDArray[np.float32]:
        """The tensor's values as float32, in its shape. Integers come bit by bit: view the result as int32."""
        shape = self._find(name).shape
        values = np.empty(shape, np.float32)
        pointer = ffi().from_buffer("float[]", values, require_writable=True)
        check(lib().moshi_gguf_read_f32(self._handle(), c_string(name), pointer, values.size))
        return values

    def read_raw(self, name: str) -> NDArray[np.uint8]:
        """The tensor's bytes as they are stored, one-dimensional."""
        stored = np.empty(self._find(name).n_bytes, np.uint8)
        pointer = ffi().from_buffer("char[]", stored, require_writable=True)
        check(lib().moshi_gguf_read_raw(self._handle(), c_string(name), pointer, stored.size))
        return stored


def row_size(type_name: str, n: int) -> int:
    """Bytes of one row of `n` values stored as `type_name` ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_K"); 0 if it
    cannot be stored so (unknown type, or n is not a multiple of the type's block)."""
    return int(lib().moshi_row_size(c_string(type_name), n))


def quantize(rows: NDArray[Any], src_type: str, dst_type: str, threads: int = 0) -> NDArray[np.uint8]:
    """Rows in another type.

    rows: [n_rows, n_per_row], C-contiguous; float32 for "f32", float16 for "f16", uint16 (the bits) for "bf16".
    dst_type: as `row_size` takes it. threads: 0 for as many as there are physical cores.
    Returns uint8 [n_rows, row_size(dst_type, n_per_row)].
    Raises InputError for a wrong dtype, shape or type.
    """
    wanted = _SOURCE_DTYPES.get(src_type)
    if wanted is None:
        raise InputError(f"Cannot quantise from {src_type!r}; expected one of {', '.join(_SOURCE_DTYPES)}.")
    if rows.ndim != 2 or rows.dtype != wanted or not rows.flags.c_contiguous:
        raise InputError(
            f"Rows of {src_type} must be a C-contiguous 2-D array of {np.dtype(wanted)}; "
            f"found {rows.ndim}-D {rows.dtype}."
        )
    n_rows, n_per_row = rows.shape
    bytes_per_row = row_size(dst_type, n_per_row)
    if bytes_per_row == 0:
        raise InputError(f"A row of {n_per_row} values cannot be stored as {dst_type!r}.")
    quantized = np.empty((n_rows, bytes_per_row), np.uint8)
    check(
        lib().moshi_quantize(
            c_string(src_type),
            ffi().from_buffer("char[]", rows),
            c_string(dst_type),
            ffi().from_buffer("char[]", quantized, require_writable=True),
            quantized.nbytes,
            n_rows,
            n_per_row,
            threads or lib().moshi_default_threads(),
        )
    )
    return quantized
