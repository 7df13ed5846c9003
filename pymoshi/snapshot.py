"""Snapshots: everything that decides how a conversation goes on, as data that can be kept in a file."""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import SnapshotError

_MAGIC: Final = b"pymoshi snapshot 1\n"
_LONGEST_STATE: Final = 1 << 16
_EXPECTED: Final = {"index": int, "seed": int, "sampling": dict, "text": str, "size": int, "crc32": int}
_SAMPLING: Final = frozenset({"temperature", "top_k", "text_temperature", "text_top_k"})


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A moment of one session. It fits sessions of the same model with the same context, kv_type and window."""

    data: NDArray[np.uint8]
    """The engine's state, opaque."""
    index: int
    """Frames since the start or the last reset."""
    seed: int
    sampling: dict[str, float]
    text: bytes
    """Bytes of a character that is not complete yet."""

    def write(self, path: str | Path) -> None:
        """Keeps it in a file, which appears when it is complete. Raises SnapshotError if it cannot be written."""
        path = Path(path)
        state: dict[str, Any] = {
            "index": self.index,
            "seed": self.seed,
            "sampling": self.sampling,
            "text": self.text.hex(),
            "size": self.data.nbytes,
            "crc32": zlib.crc32(self.data.data),
        }
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.write(_MAGIC + json.dumps(state).encode() + b"\n")
                file.write(self.data.data)
            os.replace(partial, path)
        except OSError as error:
            raise SnapshotError(f"The snapshot {path} cannot be written: {error.strerror}.") from error
        finally:
            with suppress(OSError):
                partial.unlink()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises SnapshotError if the file is missing, damaged, or no snapshot of this version."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                if file.readline(len(_MAGIC)) != _MAGIC:
                    raise SnapshotError(f"{path} is not a snapshot, or one of another version of pymoshi.")
                state = _state(file.readline(_LONGEST_STATE), path)
                if path.stat().st_size != file.tell() + state["size"]:
                    raise SnapshotError(f"{path} is damaged: it should hold {state['size']} bytes of state.")
                data = np.frombuffer(file.read(), np.uint8)
        except OSError as error:
            raise SnapshotError(f"The snapshot {path} cannot be read: {error.strerror}.") from error
        if zlib.crc32(data.data) != state["crc32"]:
            raise SnapshotError(f"{path} is damaged: its checksum is wrong.")
        return cls(data, state["index"], state["seed"], state["sampling"], bytes.fromhex(state["text"]))


def _state(line: bytes, path: Path) -> dict[str, Any]:
    try:
        state = json.loads(line)
        sound = all(type(state[name]) is kind for name, kind in _EXPECTED.items())
        sound = sound and state["sampling"].keys() == _SAMPLING and len(bytes.fromhex(state["text"])) < 4
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound or min(state["index"], state["seed"], state["size"]) < 0:
        raise SnapshotError(f"{path} is damaged: what it says of itself cannot be read.")
    return dict(state)
