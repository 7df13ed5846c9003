"""Which files make up a model: from the name of a folder or a file to everything that the engine must be given."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymoshi.errors import InputError, ModelFormatError, ModelNotFoundError
from pymoshi.hub.catalog import load_catalog
from pymoshi.hub.config import (
    DEFAULT_TOKENIZER_NAME,
    MIMI_24KHZ,
    flatten,
    is_personaplex,
    lm_config,
    lm_metadata,
    metadata_lines,
    mimi_config,
    read_json,
)
from pymoshi.hub.gguf_header import GgufHeader, read_gguf_header
from pymoshi.hub.source import file_named

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "models" / "demo"
_KINDS = {"lm": "language model", "mimi": "Mimi codec", "voice": "voice"}
_NAME = re.compile(r"[\w.-]{1,96}(:[\w.]{1,32}|/[\w.-]{1,96})?", re.ASCII)  # alias, alias:variant, or owner/name
_SHARED = re.compile("moshi-common|mimi")  # folders whose names say that their files serve several models


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model.

    lm or mimi is None if there is none (a codec alone, a language model alone); tokenizer likewise. The metadata
    are `key=value` lines for files that hold none of their own. `missing` says, for "mimi" and "tokenizer", which
    file was looked for, and where.
    """

    name: str
    folder: Path
    lm: Path | None = None
    mimi: Path | None = None
    tokenizer: Path | None = None
    lm_metadata: str | None = None
    mimi_metadata: str | None = None
    config: dict[str, Any] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def resolve(model: str | Path, *, mimi: str | Path | None = None, tokenizer: str | Path | None = None) -> ModelFiles:
    """Finds the files of a model: "demo", the name of a pulled model, a folder, or a .gguf file.

    A folder may be one that `pymoshi convert` wrote, or laid out as the GGUF repositories people already have; what
    is not in it is looked for in the folders beside it. mimi and tokenizer name files to use instead.

    Raises ModelNotFoundError (which file, looked for where, what to do), ModelFormatError, InputError.
    """
    path = DEMO_FOLDER if str(model) == DEMO else _existing(model)
    folder = path if path.is_dir() else path.parent
    lm, codec = _model_in(folder) if path.is_dir() else _single(path)
    raw, config_path = _find_config(folder)
    missing: dict[str, str] = {}
    if mimi is not None:
        codec = _expect_kind(Path(mimi).expanduser(), "mimi")
    elif codec is None:
        codec = _find_mimi(folder, raw, missing)
    return ModelFiles(
        name=DEMO if folder == DEMO_FOLDER else _name(path, lm or codec),
        folder=folder,
        lm=lm.path if lm else None,
        mimi=codec.path if codec else None,
        tokenizer=_find_tokenizer(folder, raw, tokenizer, missing) if lm else None,
        lm_metadata=_lm_lines(lm, raw, config_path) if lm and not lm.describes_itself else None,
        mimi_metadata=_mimi_lines(codec, raw) if codec and not codec.describes_itself else None,
        config=dict(raw) if raw else None,
        missing=missing,
    )


def _existing(model: str | Path) -> Path:
    path = Path(model)
    try:
        path = path.expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, nobody's home folder, a zero byte
        there = False
    # A folder here that happens to be called as a known model does not hide the model that was pulled.
    if isinstance(model, str) and _NAME.fullmatch(model) and (not there or load_catalog().get(model)):
        from pymoshi.hub.store import Store  # here: the hub's client takes a while to import

        store = Store()
        installed = store.find(model)
        if installed is not None:
            return installed
        if not there and (advice := store.how_to_get(model)):
            raise ModelNotFoundError(advice)
    if not there:
        text = str(model)
        shown = text if len(text) <= 200 else text[:200] + "..."
        raise ModelNotFoundError(
            f"{shown!r}: no such file or folder, and not the name of a known model (`pymoshi models` lists them)"
        )
    return path


def _name(path: Path, header: GgufHeader | None) -> str:
    """What to call a model: as its files call it, or as its folder or file is called."""
    general = header.metadata.get("general.name") if header else None
    return general if isinstance(general, str) and general else path.resolve().stem if path.is_file() else path.name


def _single(path: Path) -> tuple[GgufHeader | None, GgufHeader | None]:
    if path.suffix == ".safetensors":
        raise ModelNotFoundError(f"{path}: must be converted first:\n    {_convert_command(path)}")
    header = read_gguf_header(path)
    match header.kind:
        case "lm":
            in_config, _ = _find_config(path.parent)
            named = file_named(path.parent, in_config, "mimi_name")
            return header, _header_of(named, "mimi") or _only(path.parent, "mimi")
        case "mimi":
            return None, header
        case "voice":
            raise InputError(f"{path}: holds a voice, not a model; give it as the voice of a PersonaPlex model")
        case _:
            raise ModelFormatError(f"{path}: a GGUF file, but neither a Moshi model nor a Mimi codec in it")


def _model_in(folder: Path) -> tuple[GgufHeader | None, GgufHeader | None]:
    config, _ = _find_config(folder)
    lm = _header_of(file_named(folder, config, "moshi_name"), "lm") or _only(folder, "lm")
    mimi = _header_of(file_named(folder, config, "mimi_name"), "mimi") or _only(folder, "mimi")
    if lm is None and mimi is None:
        if any(folder.glob("*.safetensors")):
            raise ModelNotFoundError(
                f"{folder}: holds a checkpoint in safetensors files, which must be converted first:\n"
                f"    {_convert_command(folder)}"
            )
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
        raise ModelNotFoundError(f"{folder}: no .gguf file of a model in it; found {found}")
    return lm, mimi


def _convert_command(src: Path) -> str:
    folder = src if src.is_dir() else src.parent
    out = folder.resolve().with_name(folder.resolve().name + "-q4_k")
    return f"pymoshi convert {shlex.quote(str(src))} --quantize q4_k -o {shlex.quote(str(out))}"


def _find_config(folder: Path) -> tuple[dict[str, Any], Path]:
    """config.json, or the one file that is called something-config.json; an empty config if there is none."""
    path = folder / "config.json"
    if not path.is_file():
        others = sorted(other for other in folder.glob("*-config.json") if not other.name.startswith("mimi"))
        if len(others) == 1:
            path = others[0]
    return (read_json(path), path) if path.is_file() else ({}, path)


def _header_of(path: Path | None, kind: str) -> GgufHeader | None:
    """The header of a named file if it is a GGUF file of that kind; configs also name the checkpoint it came from."""
    if path is None or path.suffix != ".gguf" or not path.is_file():
        return None
    header = read_gguf_header(path)
    return header if header.kind == kind else None


def _expect_kind(path: Path, kind: str) -> GgufHeader:
    header = read_gguf_header(path)
    if header.kind != kind:
        found = _KINDS.get(header.kind or "", "something else")
        raise InputError(f"{path}: expected a {_KINDS[kind]}, found a {found}")
    return header


def _only(folder: Path, kind: str, pattern: str = "*.gguf") -> GgufHeader | None:
    """The one file of a kind in a folder. Raises InputError if there are several.

    A damaged file is passed over if there is a good one; otherwise its ModelFormatError is raised.
    """
    found: list[GgufHeader] = []
    damaged: list[ModelFormatError] = []
    for path in sorted(folder.glob(pattern)):
        try:
            header = read_gguf_header(path)
        except ModelFormatError as error:
            damaged.append(error)
        else:
            found += [header] if header.kind == kind else []
    if damaged and not found:
        raise damaged[0]
    if len(found) > 1:
        names = ", ".join(header.path.name for header in found)
        option = " with mimi= (--mimi)" if kind == "mimi" else ""
        raise InputError(f"{folder}: several files are a {_KINDS[kind]}: {names}. Name the one to use{option}")
    return found[0] if found else None


def _find_mimi(folder: Path, config: Mapping[str, Any], missing: dict[str, str]) -> GgufHeader | None:
    searched = [folder]
    for place in _places_beside(folder):
        for pattern in ("mimi*.gguf", "tokenizer-e351c8d8*.gguf"):
            if header := _only(place, "mimi", pattern):
                return header
        searched.append(place)
    named = file_named(folder, config, "mimi_name")
    what = f"{named.name} or mimi*.gguf" if named is not None and named.suffix == ".gguf" else "mimi*.gguf"
    missing["mimi"] = f"no Mimi codec: looked for {what} in {_listed(searched)}. Name one with mimi= (--mimi)"
    return None


def _find_tokenizer(
    folder: Path, config: Mapping[str, Any], given: str | Path | None, missing: dict[str, str]
) -> Path | None:
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise ModelNotFoundError(f"{path}: no such file; expected a SentencePiece tokenizer (.model)")
        return path
    named = file_named(folder, config, "tokenizer_name")
    if named is not None and named.is_file():
        return named
    name = named.name if named is not None else DEFAULT_TOKENIZER_NAME
    there = sorted(folder.glob("*.model"))
    if len(there) == 1:
        return there[0]
    searched = [folder]
    for place in _places_beside(folder):
        if (place / name).is_file():
            return place / name
        searched.append(place)
    where = _listed(searched)
    missing["tokenizer"] = f"no tokenizer: looked for {name} in {where}. Name one with tokenizer= (--tokenizer)"
    return None


def _places_beside(folder: Path) -> Iterator[Path]:
    """Where people keep what several models share: the folder above, one called moshi-common, or the hub's cache."""
    folder = folder.resolve()
    if folder == DEMO_FOLDER.resolve():
        return  # it is complete
    if folder.parent.name == "snapshots":
        cache = folder.parents[2]
        yield from sorted(cache.glob("models--*moshi-common*/snapshots/*"))
        return
    yield folder.parent
    beside = (path for path in folder.parent.iterdir() if path != folder and _SHARED.search(path.name))
    yield from sorted(path for path in beside if path.is_dir())


def _listed(places: list[Path]) -> str:
    names = [str(place) for place in places]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} folders more" if len(names) > 4 else "")


def _lm_lines(lm: GgufHeader, raw: Mapping[str, Any], config_path: Path) -> str:
    """Metadata for a file without any, from the config.json beside it."""
    if not config_path.is_file():
        raise ModelNotFoundError(
            f"{config_path}: missing. {lm.path.name} says nothing of the model's shape, which its config.json must. "
            "Fetch that file from where the model came from and put it there"
        )
    config = lm_config(raw, config_path)
    if raw.get("dep_q") is None:
        config["dep_q"] = sum(bool(re.fullmatch(r"lm\.linears\.\d+\.weight", name)) for name in lm.tensor_names)
    config.setdefault("model_type", "personaplex" if is_personaplex(config) else "moshi")
    return metadata_lines(lm_metadata(config))


def _mimi_lines(mimi: GgufHeader, raw: Mapping[str, Any]) -> str:
    """Metadata for a codec without any: of the config beside it, or the one that all published ones share."""
    beside = file_named(mimi.path.parent, raw, "mimi_config_name") or mimi.path.parent / "mimi_config.json"
    config = mimi_config(read_json(beside), beside) if beside.is_file() else MIMI_24KHZ
    return metadata_lines(flatten(config, "mimi"))
