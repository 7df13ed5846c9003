"""Reading safetensors files row by row.

The `safetensors` package cannot hand out bfloat16 rows without PyTorch, and it maps the file into memory; a
conversion of 16 GB wants plain reads into a small buffer. The format is a length, a JSON header and the data.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import ModelFormatError, ModelNotFoundError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: dtype as the format names it, shape, and where its bytes are (from the file's start)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def row_length(self) -> int:
        """Elements of one row (the last axis)."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows when all axes but the last are taken together."""
        return prod(self.shape[:-1])


class SafetensorsFile:
    """An open file: `entries` by name, `read_rows` for their data. A context manager.

    Raises ModelNotFoundError if there is no such file, ModelFormatError if its header is not what it should be:
    everything is checked on opening (bounds, sizes, overlaps), so that reading cannot go astray.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except IsADirectoryError:
            raise ModelFormatError(f"{path}: a folder; expected a .safetensors file") from None
        except OSError as error:
            raise ModelNotFoundError(f"{path}: cannot be opened ({error.strerror})") from None
        try:
            self.entries = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_rows(self, entry: Entry, first: int, count: int) -> NDArray[Any]:
        """Rows [first, first + count) of a tensor as [count, row_length]; bfloat16 comes as uint16."""
        row_bytes = entry.row_length * _ITEM_BYTES[entry.dtype]
        data = np.empty((count, entry.row_length), dtype=_NUMPY[entry.dtype])
        self._file.seek(entry.start + first * row_bytes)
        if self._file.readinto(data.data.cast("B")) != data.nbytes:
            raise ModelFormatError(f"{self.path}: ends inside of {entry.name}; it was cut while being read")
        return data

    def _read_header(self) -> dict[str, Entry]:
        size = self.path.stat().st_size
        start = self._file.read(8)
        if len(start) < 8:
            raise ModelFormatError(f"{self.path}: {size} bytes are too few for a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if length > min(MAX_HEADER_BYTES, size - 8):
            found = f"a header of {length:,} bytes in a file of {size:,}"
            raise ModelFormatError(f"{self.path}: not a safetensors file, or truncated: {found}")
        try:
            header = json.loads(self._file.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            raise ModelFormatError(f"{self.path}: not a safetensors file: its header is not JSON") from None
        if not isinstance(header, dict):
            raise ModelFormatError(f"{self.path}: not a safetensors file: its header is not a JSON object")
        header.pop("__metadata__", None)
        base = 8 + length
        entries = {name: self._entry(name, fields, base, size) for name, fields in header.items()}
        self._refuse_overlaps(entries)
        return entries

    def _entry(self, name: str, fields: object, base: int, size: int) -> Entry:
        match fields:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
                pass
            case _:
                raise ModelFormatError(f"{self.path}: tensor {name[:80]} lacks dtype, shape or data_offsets")
        if dtype not in _ITEM_BYTES:
            raise ModelFormatError(f"{self.path}: tensor {name[:80]} has the unknown type {dtype[:20]}")
        if len(shape) > 8 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise ModelFormatError(f"{self.path}: tensor {name[:80]} has the impossible shape {str(shape)[:80]}")
        expected = prod(shape) * _ITEM_BYTES[dtype]
        if not 0 <= start <= end or end - start != expected:
            found = f"{end - start:,} bytes, expected {expected:,} for {dtype} {shape}"
            raise ModelFormatError(f"{self.path}: tensor {name[:80]} has {found}")
        if base + end > size:
            found = f"ends at byte {base + end:,} of {size:,}; the file is truncated"
            raise ModelFormatError(f"{self.path}: tensor {name[:80]} {found}. Fetch it again")
        return Entry(name, dtype, tuple(shape), base + start, base + end)

    def _refuse_overlaps(self, entries: Mapping[str, Entry]) -> None:
        ordered = sorted((entry for entry in entries.values() if entry.end > entry.start), key=lambda e: e.start)
        for one, other in pairwise(ordered):
            if other.start < one.end:
                names = f"{one.name[:80]} and {other.name[:80]}"
                raise ModelFormatError(f"{self.path}: tensors {names} overlap; the file is damaged or malicious")
