"""What there is to convert: the checkpoint files of a folder, or a single one."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymoshi.errors import InputError, ModelFormatError, ModelNotFoundError
from pymoshi.hub.checkpoint import kind_of
from pymoshi.hub.config import DEFAULT_MIMI_NAME, DEFAULT_MOSHI_NAME, DEFAULT_TOKENIZER_NAME, read_json
from pymoshi.hub.safetensors_file import SafetensorsFile

log = logging.getLogger("pymoshi")

_HUB_CACHE = re.compile(r"models--(.+)")


@dataclass(frozen=True)
class ConvertSource:
    """The files of one checkpoint, and config.json as it was found (`config` is empty without one)."""

    folder: Path
    lm: Path | None
    mimi: Path | None
    mimi_config: Path | None
    tokenizer: Path | None
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What to call the model: the hub repository, or the folder."""
        for part in reversed(self.folder.resolve().parts):
            if match := _HUB_CACHE.fullmatch(part):
                return match[1].replace("--", "/")
        return self.folder.resolve().name


def file_named(folder: Path, config: Mapping[str, Any], key: str) -> Path | None:
    """The file that config.json names under `key`, whether it exists or not; None if it names none.

    `hf://owner/repository/file` and `file://path` stand for a file of that name in the folder.
    Raises ModelFormatError for a name that leads out of the folder.
    """
    name = config.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or not name or "\0" in name:
        raise ModelFormatError(f"{folder / 'config.json'}: {key} is {name!r}; expected a file name")
    if "://" in name:
        name = name.rsplit("/", 1)[-1]
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise ModelFormatError(f"{folder / 'config.json'}: {key} is {name!r}, which leads out of the folder")
    return folder / path


def find_source(src: Path) -> ConvertSource:
    """The files behind what the user named: a folder with a checkpoint, or one .safetensors file of it.

    Raises ModelNotFoundError (which file, looked for where), ModelFormatError, InputError.
    """
    if not src.exists():
        raise ModelNotFoundError(
            f"{src}: no such file or folder; expected a folder with safetensors files, or one of them"
        )
    folder = src if src.is_dir() else src.parent
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if not src.is_dir():
        return _single(src, config)
    lm = _checkpoint(folder, config, "moshi_name", DEFAULT_MOSHI_NAME, "lm")
    mimi = _checkpoint(folder, config, "mimi_name", DEFAULT_MIMI_NAME, "mimi")
    if lm is None and mimi is None:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
        raise ModelNotFoundError(f"{folder}: no safetensors file of a Moshi or Mimi model in it, but {found}")
    return ConvertSource(folder, lm, mimi, mimi and _mimi_config(folder, config), _tokenizer(folder, config), config)


def _single(path: Path, config: Mapping[str, Any]) -> ConvertSource:
    with path.open("rb") as file:
        if file.read(4) == b"GGUF":
            raise InputError(f"{path}: is a GGUF file already; give the safetensors files that it was made from")
    with SafetensorsFile(path) as checkpoint:
        kind = kind_of(checkpoint.entries)
    match kind:
        case "lm":
            return ConvertSource(path.parent, path, None, None, _tokenizer(path.parent, config), config)
        case "mimi":
            return ConvertSource(path.parent, None, path, _mimi_config(path.parent, config), None, {})
        case _:
            raise ModelFormatError(f"{path}: neither a Moshi language model nor a Mimi codec, judging by its tensors")


def _checkpoint(folder: Path, config: Mapping[str, Any], key: str, default: str, kind: str) -> Path | None:
    named = file_named(folder, config, key)
    for path in (named, folder / default):
        if path is not None and path.is_file():
            return path
    alike = []
    for path in sorted(folder.glob("*.safetensors")):
        with SafetensorsFile(path) as checkpoint:
            if kind_of(checkpoint.entries) == kind:
                alike.append(path)
    if len(alike) == 1:
        return alike[0]
    what = {"lm": "language model", "mimi": "Mimi codec"}[kind]
    if alike:
        names = ", ".join(path.name for path in alike)
        raise InputError(f"{folder}: several files could be the {what}: {names}. Name one in config.json ({key})")
    if named is not None:
        raise ModelNotFoundError(
            f"{named}: missing. config.json names it as the {what}. Put it there, or give the file to convert alone"
        )
    log.warning("%s: no %s in it (looked for %s)", folder, what, default)
    return None


def _mimi_config(folder: Path, config: Mapping[str, Any]) -> Path | None:
    named = file_named(folder, config, "mimi_config_name")
    if named is not None and not named.is_file():
        raise ModelNotFoundError(f"{named}: missing. config.json names it as the codec's config")
    beside = folder / "mimi_config.json"
    return named or (beside if beside.is_file() else None)


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> Path | None:
    named = file_named(folder, config, "tokenizer_name")
    for path in (named, folder / DEFAULT_TOKENIZER_NAME):
        if path is not None and path.is_file():
            return path
    others = sorted(folder.glob("*.model"))
    if len(others) == 1:
        return others[0]
    missing = named or folder / DEFAULT_TOKENIZER_NAME
    log.warning("%s: no tokenizer; the model will work, but its words stay numbers", missing)
    return None
