"""Writing GGUF files, tensor after tensor, under a temporary name until they are whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from gguf import GGUFValueType, GGUFWriter
from numpy.typing import NDArray

from pymoshi.errors import DiskSpaceError, InputError
from pymoshi.hub.config import Metadata, Scalar
from pymoshi.hub.names import stored_name
from pymoshi.hub.storage import ggml_type, stored_bytes, stored_shape
from pymoshi.hub.tensors import Tensor

PARTIAL = ".partial"
_SPARE_BYTES = 64 << 20  # headers, config and tokenizer, and not to leave a disk brim-full


@dataclass(frozen=True)
class Stored:
    """A tensor of the output: what it is, its full name (with `lm.` or `mimi.`), its type."""

    tensor: Tensor
    name: str
    kind: str

    @property
    def n_bytes(self) -> int:
        """Bytes in the file, without padding."""
        return stored_bytes(self.tensor, self.kind)


class GgufOutput:
    """A GGUF file of announced content: each `write` takes the next tensor's bytes. A context manager."""

    def __init__(self, path: Path, name: str, metadata: Metadata, tensors: Sequence[Stored]) -> None:
        self._writer = GGUFWriter(path, "moshi")
        self._writer.add_string("general.name", name)
        for key, value in metadata.items():
            self._add(key, value)
        for stored in tensors:
            self._writer.add_tensor_info(
                stored_name(stored.name),
                stored_shape(stored.tensor),
                np.dtype(np.float32),  # ignored, as the type is given
                stored.n_bytes,
                ggml_type(stored.kind),
            )

    def _add(self, key: str, value: Scalar | list[Scalar]) -> None:
        if isinstance(value, list):
            self._writer.add_key_value(key, value, GGUFValueType.ARRAY, _value_type(value))
        else:
            self._writer.add_key_value(key, value, _value_type([value]))

    def __enter__(self) -> Self:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_ti_data_to_file()
        return self

    def write(self, data: NDArray[Any]) -> None:
        """The next tensor's bytes, as an array of any type of the announced size."""
        self._writer.write_tensor_data(data)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._writer.flush()
            for file in self._writer.fout or []:
                os.fsync(file.fileno())
        self._writer.close()


def _value_type(values: Sequence[Scalar]) -> GGUFValueType:
    match values[0]:
        case bool():
            return GGUFValueType.BOOL
        case int():
            fits = all(-(1 << 31) <= int(value) < 1 << 31 for value in values)
            return GGUFValueType.INT32 if fits else GGUFValueType.INT64
        case float():
            return GGUFValueType.FLOAT64  # what the config says, to the last digit
        case _:
            return GGUFValueType.STRING


class OutputFolder:
    """Files that appear in a folder together or not at all.

    `path(name)` gives the temporary name to write to; `commit()` gives all of them their final names. Leaving the
    `with` block without it, by an error or by Ctrl-C, removes what was written.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.folder = folder
        self._overwrite = overwrite
        self._names: list[str] = []
        self._made = False

    def __enter__(self) -> Self:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file; expected a folder to write the model to")
        self._made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror})") from None
        return self

    def reserve(self, names: Sequence[str], n_bytes: int) -> None:
        """Announces the files and their size. Raises InputError (they exist already), DiskSpaceError."""
        for name in names:
            if (self.folder / name).exists() and not self._overwrite:
                raise InputError(
                    f"{self.folder / name}: exists already. Choose another folder, or overwrite it (--force)"
                )
        free = shutil.disk_usage(self.folder).free
        if n_bytes + _SPARE_BYTES > free:
            need = f"{n_bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
            raise DiskSpaceError(f"{self.folder}: not enough disk space: {need}. Make room or choose another disk")

    def path(self, name: str) -> Path:
        """Where to write the file that will be called `name`."""
        self._names.append(name)
        return self.folder / (name + PARTIAL)

    def commit(self) -> None:
        """Gives the files their names, in the order in which they were begun."""
        for name in self._names:
            (self.folder / (name + PARTIAL)).replace(self.folder / name)
        self._names.clear()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name in self._names:
            (self.folder / (name + PARTIAL)).unlink(missing_ok=True)
        if self._made and kind is not None:
            with contextlib.suppress(OSError):  # not empty: somebody else's files
                self.folder.rmdir()


def blocks(rows: int, row_bytes: int, block_bytes: int) -> Iterator[tuple[int, int]]:
    """Consecutive (first row, number of rows), each of about `block_bytes` bytes."""
    step = max(1, block_bytes // max(1, row_bytes))
    for first in range(0, rows, step):
        yield first, min(step, rows - first)
