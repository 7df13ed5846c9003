"""What an installed model says of itself: `pymoshi-model.json` in its folder, and the rules for the names in it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pymoshi.errors import ModelFormatError

__all__ = ["MANIFEST", "InstalledFile", "Manifest", "parse_manifest", "read_manifest"]

MANIFEST = "pymoshi-model.json"
FORMAT = 1
MAX_BYTES = 4 << 20
MAX_FILES = 4096
MAX_PATH = 94  # characters: with "files/" before it the name fits into a plain tar header

_PART = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9_@+. -]*(?<![. ])")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # devices, on Windows
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One file of an installed model."""

    path: str  # inside the model's folder, with forward slashes
    size: int  # bytes
    sha256: str
    origin: str = ""  # "owner/name/path" on the hub; "" for files made here
    revision: str = ""
    fetched: bool = False  # pymoshi brought it into the hub's cache; False if it was there before


@dataclass(frozen=True, slots=True)
class Manifest:
    """An installed model: its name, its terms and its files."""

    alias: str
    variant: str
    title: str
    licence: str
    licence_url: str
    page: str
    created: str  # ISO 8601, UTC
    made_by: str  # "pymoshi 0.1.0"
    files: tuple[InstalledFile, ...]
    sources: tuple[InstalledFile, ...] = ()  # files in the hub's cache that this model was converted from

    @property
    def name(self) -> str:
        """As `load` and `pull` take it: "personaplex:q4_k"."""
        return f"{self.alias}:{self.variant}"

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)

    def to_json(self) -> bytes:
        """The content of `pymoshi-model.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False).encode()


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest file.

    Raises:
        ModelFormatError: not a manifest, or it says what no manifest may say.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return parse_manifest(file.read(MAX_BYTES + 1), str(path))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Builds a manifest from bytes of unknown origin, checking every name and number in it.

    Raises:
        ModelFormatError: it is damaged, of another format, or unsafe.
    """
    if len(data) > MAX_BYTES:
        raise ModelFormatError(f"{where}: larger than {MAX_BYTES >> 20} MB; not a list of a model's files")
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{where}: not sound JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ModelFormatError(f"{where}: format {found!r:.40}; this version of pymoshi reads format {FORMAT}")
    texts = {
        key: _text(content, key, where)
        for key in ("alias", "variant", "title", "licence", "licence_url", "page", "created", "made_by")
    }
    for key in ("alias", "variant"):
        if not _NAME.fullmatch(texts[key]):
            raise ModelFormatError(f"{where}: {texts[key]!r:.80} cannot be the {key} of a model")
    files, sources = _files(content.get("files"), where), _files(content.get("sources", []), where)
    if not files:
        raise ModelFormatError(f"{where}: it lists no files")
    return Manifest(files=files, sources=sources, **texts)


def _files(entries: object, where: str) -> tuple[InstalledFile, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_FILES:
        raise ModelFormatError(f"{where}: expected a list of at most {MAX_FILES} files")
    files = tuple(_file(entry, where) for entry in entries)
    # Without case, because some file systems do not know it.
    if len({file.path.lower() for file in files}) != len(files):
        raise ModelFormatError(f"{where}: two files have the same name")
    return files


def _text(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key, "")
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise ModelFormatError(f"{where}: {key} must be a line of text, found {value!r:.60}")
    return value


def _file(entry: object, where: str) -> InstalledFile:
    if not isinstance(entry, dict):
        raise ModelFormatError(f"{where}: a file is described by {entry!r:.60}")
    path, size, sha256 = _text(entry, "path", where), entry.get("size"), _text(entry, "sha256", where)
    check_path(path, where)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise ModelFormatError(f"{where}: {path} has the size {size!r:.40}")
    if not _SHA256.fullmatch(sha256):
        raise ModelFormatError(f"{where}: {path} has no SHA-256 checksum, but {sha256!r:.80}")
    origin, revision = _text(entry, "origin", where), _text(entry, "revision", where)
    return InstalledFile(path, size, sha256, origin, revision, entry.get("fetched") is True)


def check_path(path: str, where: str) -> None:
    """Raises ModelFormatError unless `path` names a file inside the model's folder on every operating system."""
    parts = path.split("/")
    harmless = all(_PART.fullmatch(part) and not _RESERVED.fullmatch(part) for part in parts)
    if not harmless or len(parts) > 4 or len(path) > MAX_PATH or path.lower() == MANIFEST:
        raise ModelFormatError(f"{where}: {path!r:.120} is no name for a file of a model; refused")
