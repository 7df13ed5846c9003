"""Primed personas on disk: the state of a session after voice and prompt, so that the next one starts at once.

An entry is one file, named by the hash of all that decides the state; sampling and seed do not, and are set afterwards.
It holds what the model was told, prompt included, in the clear: the folder is the user's alone. The least recently used
entries go when all of them together pass the limit: `PYMOSHI_CACHE_MB`, 2000 by default, 0 for no cache. Whatever is
wrong with an entry or with the folder costs time, never a conversation.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pymoshi import paths
from pymoshi.errors import InputError

__all__ = ["DEFAULT_MB", "Entry", "PersonaCache", "State", "key_of"]

log = logging.getLogger("pymoshi")

DEFAULT_MB: Final = 2000  # some thirty personas of a 7B model
LIMIT_VARIABLE: Final = "PYMOSHI_CACHE_MB"

_MAGIC: Final = b"pymoshi primed persona 1\n"
_LONGEST_HEADER: Final = 1 << 17  # bytes; a prompt has at most 8000 characters
_LONGEST_NAME: Final = 255
_SUFFIX: Final = ".primed"
_ABANDONED: Final = 24 * 3600  # seconds; a file that nobody has completed by then is left from a crash

State = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an entry without reading its state."""

    key: str
    path: Path
    model: str
    voice: str
    """ "" for none, as is prompt."""
    prompt: str
    frames: int
    """Of voice and prompt, 80 ms each."""
    n_bytes: int
    used: datetime
    """When a session last started from it, UTC."""


def key_of(**decisive: Any) -> str:
    """The key of a state: SHA-256, hexadecimal, of all that decides it, by name. The values are text and numbers."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


class PersonaCache:
    """A folder of primed personas.

    folder: None for the one in the cache folder. limit_mb: bytes of all entries together, in units of 10**6; None for
    what PYMOSHI_CACHE_MB says, 2000 if it says nothing. With 0 nothing is kept or found.

    Raises InputError if PYMOSHI_CACHE_MB is not a number.
    """

    def __init__(self, folder: Path | None = None, limit_mb: float | None = None) -> None:
        self.folder = folder or paths.cache_dir() / "primed"
        self.limit = int((_limit_mb() if limit_mb is None else limit_mb) * 1e6)

    def load(self, key: str) -> State | None:
        """The state, or None if there is none. A damaged entry is dropped."""
        if self.limit <= 0:
            return None
        path = self._path(key)
        try:
            with path.open("rb") as file:
                header = _header(file.readline(len(_MAGIC)), file.readline(_LONGEST_HEADER))
                if header is None or header["key"] != key:
                    raise ValueError("it does not say what it is")
                if path.stat().st_size != file.tell() + header["size"]:
                    raise ValueError(f"it should hold {header['size']} bytes of state")
                state = np.fromfile(file, np.uint8)
            os.utime(path)  # what is used stays
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning(
                "The primed persona %s cannot be read (%s); it is computed again.", path, error.strerror or error
            )
            return None
        except ValueError as error:
            self.drop(key, str(error))
            return None
        return state

    def store(self, key: str, state: State, *, model: str, voice: str, prompt: str, frames: int) -> None:
        """Keeps a state, and drops the least recently used ones for it. What goes wrong is logged, not raised."""
        if state.nbytes > self.limit:
            return
        header = {
            "key": key,
            "model": model[:_LONGEST_NAME],
            "voice": voice[:_LONGEST_NAME],
            "prompt": prompt,
            "frames": frames,
            "size": state.nbytes,
        }
        partial: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=self.folder, suffix=".partial")  # readable by its owner only
            partial = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + json.dumps(header).encode() + b"\n")
                file.write(state.data)
            os.replace(partial, self._path(key))
        except OSError as error:
            log.warning("The primed persona cannot be kept in %s (%s).", self.folder, error.strerror or error)
            if partial is not None:
                with suppress(OSError):
                    partial.unlink()
            return
        self._shrink(keep=key)

    def drop(self, key: str, reason: str) -> None:
        """Removes an entry that is of no use."""
        path = self._path(key)
        log.warning("The primed persona %s is damaged (%s); it is computed again.", path, reason)
        with suppress(OSError):
            path.unlink()

    def entries(self) -> list[Entry]:
        """All entries, the last used first. Files that are none are passed over."""
        found = [entry for path, _, _ in self._files() if (entry := _entry(path)) is not None]
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def clear(self) -> tuple[int, int]:
        """Removes everything. Returns how many entries and bytes that were."""
        count, n_bytes = 0, 0
        for path, size, _ in self._files():
            with suppress(OSError):
                path.unlink()
                count, n_bytes = count + 1, n_bytes + size
        self._sweep(older_than=0)
        return count, n_bytes

    def _shrink(self, keep: str) -> None:
        files = sorted(self._files(), key=lambda file: file[2])  # the least recently used first
        total = sum(size for _, size, _ in files)
        for path, size, _ in files:
            if total <= self.limit:
                break
            if path != self._path(keep):
                with suppress(OSError):
                    path.unlink()
                total -= size
        self._sweep(older_than=_ABANDONED)

    def _sweep(self, older_than: float) -> None:
        """Removes what crashed processes began to write."""
        for path in self.folder.glob("*.partial"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= older_than:
                    path.unlink()

    def _files(self) -> list[tuple[Path, int, float]]:
        """(path, bytes, time of last use) of each entry."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # another process may have removed it
                status = path.stat()
                found.append((path, status.st_size, status.st_mtime))
        return found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


def _limit_mb() -> float:
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text or DEFAULT_MB)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < 1e9:  # NaN fails, too
        raise InputError(f"{LIMIT_VARIABLE} must be a number of megabytes, 0 for no cache; found {text!r}.")
    return limit


def _header(magic: bytes, line: bytes) -> dict[str, Any] | None:
    """What an entry says of itself, or None if that cannot be read."""
    expected = {"key": str, "model": str, "voice": str, "prompt": str, "frames": int, "size": int}
    try:
        header = json.loads(line) if magic == _MAGIC else None
    except (ValueError, RecursionError):
        return None
    sound = isinstance(header, dict) and all(type(header.get(name)) is kind for name, kind in expected.items())
    return header if sound else None


def _entry(path: Path) -> Entry | None:
    try:
        with path.open("rb") as file:
            header = _header(file.readline(len(_MAGIC)), file.readline(_LONGEST_HEADER))
        status = path.stat()
    except OSError:
        return None
    if header is None:
        return None
    return Entry(
        key=header["key"],
        path=path,
        model=header["model"],
        voice=header["voice"],
        prompt=header["prompt"],
        frames=header["frames"],
        n_bytes=status.st_size,
        used=datetime.fromtimestamp(status.st_mtime, UTC),
    )
