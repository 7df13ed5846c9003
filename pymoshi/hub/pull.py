"""Pulling a model: fetch its files, convert them if nobody publishes the wanted type, install the result."""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pymoshi.errors import DiskSpaceError
from pymoshi.hub.catalog import CatalogModel, Variant
from pymoshi.hub.config import read_json
from pymoshi.hub.download import FileState, Progress, file_digest, free_bytes, human_size, tell
from pymoshi.hub.manifest import MANIFEST, InstalledFile, Manifest
from pymoshi.hub.store import InstalledModel, Store

__all__ = ["LICENCE_FILE", "Plan", "licence_text", "make_plan", "pull"]

SPARE = 200_000_000  # bytes of disk that stay free
LICENCE_FILE = "LICENCE.txt"
README = "README.md"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What pulling a model will do."""

    model: CatalogModel
    variant: Variant
    states: Mapping[str, FileState]  # by name in the model folder

    @property
    def download_bytes(self) -> int:
        """Bytes to be fetched; what is in the cache already does not count."""
        return sum(state.missing for state in self.states.values())

    @property
    def made_bytes(self) -> int:
        """Bytes that a conversion will write, roughly."""
        return self.variant.n_bytes if self.variant.quantize else 0


def make_plan(store: Store, spec: str) -> Plan:
    """Asks the hub about everything that a model needs, without fetching it.

    Raises:
        ModelNotFoundError: the catalog does not know the model.
        DownloadError: the hub cannot be reached, does not have a file, or does not give it; see `Hub.look`.
    """
    model, variant = store.catalog.require(spec)
    return Plan(model, variant, {name: store.hub.look(file) for name, file in variant.files.items()})


def pull(store: Store, plan: Plan, progress: Progress | None = None) -> InstalledModel:
    """Fetches, checks, converts if need be, and installs a model. Doing it again repairs it.

    Raises:
        DiskSpaceError: before anything is fetched, if there is not room for all of it.
        DownloadError: see `Hub.fetch`; pulling again goes on from there.
        Cancelled: `progress` returned False.
    """
    _check_space(store, plan)
    fetched = _fetch(store, plan, progress)
    target = store.folder_of(plan.model.alias, plan.variant.name)
    with store.installing(target) as folder:
        if plan.variant.quantize:
            _convert(plan, fetched, folder, progress)
        else:
            for name, path in fetched.items():
                if name != CONFIG:
                    _link(path, folder / name)
            _write_config(plan.variant, fetched.get(CONFIG), folder)
        (folder / LICENCE_FILE).write_text(licence_text(plan.model), encoding="utf-8")
        manifest = _describe(store, plan, fetched, folder, progress)
        (folder / MANIFEST).write_bytes(manifest.to_json())
    return InstalledModel(target, manifest)


def _check_space(store: Store, plan: Plan) -> None:
    needs: dict[int, int] = {}
    places: dict[int, Path] = {}
    for folder, n_bytes in ((store.hub.cache, plan.download_bytes), (store.folder, plan.made_bytes)):
        device = _device(folder)
        needs[device] = needs.get(device, 0) + n_bytes
        places.setdefault(device, folder)
    for device, n_bytes in needs.items():
        folder, free = places[device], free_bytes(places[device])
        if n_bytes > 0 and n_bytes + SPARE > free:
            setting = "HF_HOME" if folder == store.hub.cache else "PYMOSHI_HOME"
            raise DiskSpaceError(
                f"{plan.model.title} ({plan.variant.name}) needs {human_size(n_bytes)} of disk space at {folder}, "
                f"where {human_size(free)} are free. Make room, or choose another place with {setting}."
            )


def _device(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.stat().st_dev


def _fetch(store: Store, plan: Plan, progress: Progress | None) -> dict[str, Path]:
    """All files of a plan, checked, by their names in the model folder; progress counts over all of them."""
    total = sum(state.size for state in plan.states.values())
    start = 0
    fetched = {}
    for name, state in plan.states.items():
        fetched[name] = store.hub.fetch(state, partial(_report, progress, start, total))
        if state.local is None:
            store.remember_fetched(state.file)
        start += state.size
    return fetched


def _report(progress: Progress | None, start: int, total: int, done: int, _: int, what: str) -> bool | None:
    return progress(start + done, total, what) if progress is not None else None


def _convert(plan: Plan, fetched: Mapping[str, Path], folder: Path, progress: Progress | None) -> None:
    from pymoshi.hub.convert import convert  # here: it needs the engine, and listing models does not

    source, made = folder / ".source", folder / ".made"
    for name, path in fetched.items():
        if name != CONFIG:  # voices and the model card are kept as they are
            _link(path, (folder if "/" in name or name == README else source) / name)
    _write_config(plan.variant, fetched.get(CONFIG), source)
    convert(source, made, quantize=plan.variant.quantize, progress=progress)
    for path in sorted(made.iterdir()):
        os.replace(path, folder / path.name)
    made.rmdir()
    shutil.rmtree(source)


def _write_config(variant: Variant, published: Path | None, folder: Path) -> None:
    """The published config.json, if any, with the names that the files have here."""
    config = {**(read_json(published) if published is not None else {}), **variant.config}
    (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _describe(
    store: Store, plan: Plan, fetched: Mapping[str, Path], folder: Path, progress: Progress | None
) -> Manifest:
    """Lists what is in the folder now. Checksums that were checked on arrival are not computed again."""
    entry = partial(_entry, store.fetched_files())
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        known = plan.states[name] if name in fetched and name != CONFIG else None
        size = path.stat().st_size
        sha256 = known.file.sha256 if known else None
        if sha256 is None:
            sha256 = file_digest(path, report=partial(_hashing, progress, size, name))
        files.append(entry(name, size, sha256, known))
    installed = {file.path for file in files if file.origin}
    sources = [
        entry(name, state.size, state.file.sha256 or file_digest(fetched[name]), state)
        for name, state in plan.states.items()
        if name not in installed
    ]
    return Manifest(
        alias=plan.model.alias,
        variant=plan.variant.name,
        title=plan.model.title,
        licence=plan.model.licence.name,
        licence_url=plan.model.licence.url,
        page=plan.model.page,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=f"pymoshi {_version()}",
        files=tuple(files),
        sources=tuple(sources),
    )


def _hashing(progress: Progress | None, size: int, name: str, done: int) -> None:
    tell(progress, done, size, f"checking {name}")


def _entry(ours: Collection[str], name: str, size: int, sha256: str, state: FileState | None) -> InstalledFile:
    if state is None:
        return InstalledFile(name, size, sha256)
    origin, revision = str(state.file), state.file.revision
    return InstalledFile(name, size, sha256, origin, revision, fetched=f"{origin}@{revision}" in ours)


def _link(path: Path, target: Path) -> None:
    """Makes `target` the same file as `path`, without a copy where the file systems allow it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    content = path.resolve()
    # A hard link first: it outlives a cleaned cache. Neither kind works everywhere (two disks; Windows).
    for way in (os.link, os.symlink):
        try:
            way(content, target)
        except OSError:
            continue
        return
    shutil.copy2(content, target)


def licence_text(model: CatalogModel) -> str:
    """The terms that travel with the weights: our summary, and the licence itself where it may be copied."""
    full = resources.files("pymoshi.hub").joinpath("licences", f"{model.licence.id}.txt")
    text = f"\n{'-' * 100}\n\n{full.read_text(encoding='utf-8')}" if full.is_file() else ""
    return (
        f"{model.title}, by {model.authors}\n{model.page}\n\n"
        f"Licence of the weights: {model.licence.name}\n{model.licence.url}\n\n{model.licence.text}\n{text}"
    )


def _version() -> str:
    try:
        return version("pymoshi")
    except PackageNotFoundError:  # a source tree that was never installed
        return "from source"
