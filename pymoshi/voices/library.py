"""The user's own voices: codes of recordings, kept as `<data folder>/voices/NAME.safetensors`."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pymoshi import paths
from pymoshi.errors import VoiceError
from pymoshi.voices.files import read_safetensors
from pymoshi.voices.names import check_new_name
from pymoshi.voices.recording import CODEBOOKS
from pymoshi.voices.voice import MAX_FRAMES, Voice

__all__ = ["SavedVoice", "VoiceLibrary"]

FORMAT = "1"
MAX_HEADER = 1 << 20  # bytes
MAX_CODE = 1 << 16
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class SavedVoice:
    """What is known of a saved voice without reading its codes."""

    name: str
    path: Path
    source: str  # the recording's file name
    created: str  # ISO 8601, UTC
    seconds: float
    codec: str | None  # fingerprint of the codec that made the codes


class VoiceLibrary:
    """A folder of saved voices."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or paths.data_dir() / "voices"

    def add(self, voice: Voice, *, replace: bool = False) -> SavedVoice:
        """Keeps a voice made from a recording under its name.

        Raises:
            VoiceError: the name cannot be used or is taken, the voice has no codes, or the folder cannot be written.
        """
        name = check_new_name(voice.name)
        if voice.codes is None:
            raise VoiceError(f"{voice.source} is a ready voice file: use its path, there is nothing to keep")
        path = self._path(name)
        if path.exists() and not replace:
            raise VoiceError(f"There is a voice {name!r} already. Remove it first (pymoshi voice remove {name})")
        metadata = {
            "pymoshi_voice": FORMAT,
            "source": Path(voice.source).name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": f"{voice.n_frames * 0.08:.2f}",
            "codec": voice.codec or "",
        }
        partial = path.with_name(f".{name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"codes": voice.codes}, partial, metadata)
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise VoiceError(f"Cannot write the voice to {path}: {error.strerror or error}") from error
        return self.show(name)

    def names(self) -> list[str]:
        """Names of the saved voices, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))

    def show(self, name: str) -> SavedVoice:
        """What is known of the voice. Raises VoiceError if there is none of that name, or its file is damaged."""
        path = self._existing(name)
        metadata = _metadata(path)
        try:
            seconds = float(metadata["seconds"])
        except ValueError as error:
            raise VoiceError(f"{path} is damaged: its length is {metadata['seconds']!r}") from error
        return SavedVoice(name, path, metadata["source"], metadata["created"], seconds, metadata["codec"] or None)

    def load(self, name: str) -> Voice:
        """The voice. Raises VoiceError if there is none of that name, or its file is damaged."""
        saved = self.show(name)
        codes = read_safetensors(saved.path).get("codes")
        if codes is None or not _are_codes(codes):
            raise VoiceError(f"{saved.path} is damaged: it holds no codes of a recording. Add the voice again")
        return Voice(name, str(saved.path), codes=np.ascontiguousarray(codes, dtype=np.int32), codec=saved.codec)

    def remove(self, name: str) -> None:
        """Deletes the voice. Raises VoiceError if there is none of that name."""
        path = self._existing(name)
        try:
            path.unlink()
        except OSError as error:
            raise VoiceError(f"Cannot remove {path}: {error.strerror or error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _existing(self, name: str) -> Path:
        # Only a listed name reaches the file system, so "../x" can name nothing.
        if name not in self.names():
            known = ", ".join(self.names()) or "none yet"
            raise VoiceError(f"No voice of yours is called {name!r} (there are: {known}; folder {self.folder})")
        return self._path(name)


def _are_codes(codes: NDArray[Any]) -> bool:
    return (
        codes.dtype.kind == "i"
        and codes.ndim == 2
        and codes.shape[0] == CODEBOOKS
        and 1 <= codes.shape[1] <= MAX_FRAMES
        and codes.min() >= 0
        and codes.max() < MAX_CODE
    )


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a saved voice's header, all keys present."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= MAX_HEADER else None
    except OSError as error:
        raise VoiceError(f"Cannot read the voice {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        header = None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("pymoshi_voice") != FORMAT:
        raise VoiceError(f"{path} is not a voice that this version of pymoshi saved. Remove it and add the voice again")
    return {key: str(metadata.get(key, "")) for key in ("source", "created", "seconds", "codec")}
