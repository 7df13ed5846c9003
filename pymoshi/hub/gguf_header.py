"""The beginning of a GGUF file: its metadata and the names of its tensors.

A light look, to tell files apart before the engine opens them; the engine checks all of it again, and the data.
"""

import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pymoshi.errors import ModelFormatError, ModelNotFoundError
from pymoshi.hub.names import LM_PREFIX, MIMI_PREFIX, VOICE_PREFIX

MAGIC = b"GGUF"
_MAX_ENTRIES = 1 << 20
_MAX_DEPTH = 4
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Value = int | float | bool | str | None  # None stands for an array, which nobody asks for here


@dataclass(frozen=True)
class GgufHeader:
    """Scalar metadata by key (arrays as None), and tensor names in file order."""

    path: Path
    metadata: dict[str, Value]
    tensor_names: tuple[str, ...]

    @property
    def kind(self) -> str | None:
        """ "lm", "mimi" or "voice", told by the tensors' names; None for a file of another family."""
        for kind, prefix in (("lm", LM_PREFIX), ("mimi", MIMI_PREFIX), ("voice", VOICE_PREFIX)):
            if any(name.startswith(prefix) for name in self.tensor_names):
                return kind
        return None

    @property
    def describes_itself(self) -> bool:
        """Whether the hyper-parameters are in the file, and not in a config.json beside it."""
        return "moshi.dim" in self.metadata if self.kind == "lm" else "mimi.sample_rate" in self.metadata


def read_gguf_header(path: Path) -> GgufHeader:
    """Raises ModelNotFoundError, ModelFormatError (not GGUF, truncated, absurd counts)."""
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # to open one waits for somebody who writes
            raise ModelFormatError(f"{path}: a pipe; expected a .gguf file")
        with path.open("rb") as file:
            return _Reader(path, file).header()
    except IsADirectoryError:
        raise ModelFormatError(f"{path}: a folder; expected a .gguf file") from None
    except OSError as error:
        raise ModelNotFoundError(f"{path}: cannot be opened ({error.strerror})") from None


class _Reader:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._size = path.stat().st_size

    def header(self) -> GgufHeader:
        if self._file.read(4) != MAGIC:
            raise ModelFormatError(f"{self._path}: not a GGUF file (it does not begin with 'GGUF')")
        version = self._number("I")
        if version not in (2, 3):
            raise ModelFormatError(f"{self._path}: GGUF version {version}; expected 2 or 3")
        n_tensors, n_keys = self._count("tensors"), self._count("keys")
        metadata: dict[str, Value] = {}
        for _ in range(n_keys):
            key = self._string()
            metadata[key] = self._value(int(self._number("I")))
        return GgufHeader(self._path, metadata, tuple(self._tensor_name() for _ in range(n_tensors)))

    def _tensor_name(self) -> str:
        name = self._string()
        n_dims = int(self._number("I"))
        if n_dims > 8:
            raise ModelFormatError(f"{self._path}: tensor {name[:80]} has {n_dims} dimensions; the file is damaged")
        self._bytes(8 * n_dims + 4 + 8)  # extents, type, offset
        return name

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY and depth < _MAX_DEPTH:
            element, count = int(self._number("I")), self._count("array elements", 1 << 28)
            if element in _SCALARS:
                self._bytes(count * struct.calcsize("=" + _SCALARS[element]))
            else:
                for _ in range(count):
                    self._value(element, depth + 1)
            return None
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        raise ModelFormatError(f"{self._path}: metadata of unknown type {kind}; the file is damaged")

    def _string(self) -> str:
        length = self._count("characters", 1 << 28)
        return self._bytes(length).decode("utf-8", errors="replace")

    def _count(self, what: str, most: int = _MAX_ENTRIES) -> int:
        count = int(self._number("Q"))
        if count > most or count > self._size:
            raise ModelFormatError(
                f"{self._path}: claims {count:,} {what} in {self._size:,} bytes; the file is damaged"
            )
        return count

    def _number(self, code: str) -> int | float:
        (value,) = struct.unpack("<" + code, self._bytes(struct.calcsize("=" + code)))
        return int(value) if not isinstance(value, (bool, float)) else value

    def _bytes(self, count: int) -> bytes:
        if count > self._size:
            raise ModelFormatError(f"{self._path}: wants {count:,} bytes of {self._size:,}; the file is damaged")
        data = self._file.read(count)
        if len(data) < count:
            raise ModelFormatError(f"{self._path}: truncated after {self._size:,} bytes, inside of its header")
        return data
