"""The model store: what `pymoshi pull` brings, where it is kept, and how it is found again.

Published files live in the hub's own cache, which other programs share. An installed model is a folder of links to
them, `<data folder>/models/<alias>-<variant>`, with a config.json that names them and a list of their checksums. What
was converted here is kept in that folder itself.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pymoshi import paths
from pymoshi.errors import ModelFormatError, ModelNotFoundError
from pymoshi.hub.catalog import Catalog, RemoteFile, load_catalog
from pymoshi.hub.download import Hub, Progress, WeakFileLock, file_digest, human_size, tell
from pymoshi.hub.manifest import MANIFEST, InstalledFile, Manifest, read_manifest

__all__ = ["InstalledModel", "Problem", "Store"]

log = logging.getLogger("pymoshi")

FETCHED = ".fetched"


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model of the store."""

    folder: Path
    manifest: Manifest

    @property
    def missing(self) -> list[str]:
        """Files that are listed but no longer there, e.g. because the hub's cache was emptied."""
        return [file.path for file in self.manifest.files if not (self.folder / file.path).is_file()]


@dataclass(frozen=True, slots=True)
class Problem:
    """A file of an installed model that is not as it was when it was installed."""

    path: str
    what: str


class Store:
    """Installed models in a folder.

    Args:
        folder: where they are; None for `models` in the data folder.
        hub: where files come from; None for the one that the environment names.
        catalog: what can be pulled; None for the one that comes with pymoshi.
    """

    def __init__(self, folder: Path | None = None, hub: Hub | None = None, catalog: Catalog | None = None) -> None:
        self.folder = folder or paths.data_dir() / "models"
        self.hub = hub or Hub()
        self.catalog = catalog or load_catalog()

    # ---- finding ----

    def installed(self) -> list[InstalledModel]:
        """All models of the store, by name. A folder that is damaged is logged and left out."""
        found = []
        for path in sorted(self.folder.glob(f"*/{MANIFEST}")):
            if path.parent.name.startswith("."):
                continue
            try:
                found.append(InstalledModel(path.parent, read_manifest(path)))
            except (ModelFormatError, OSError) as error:
                log.warning("%s is left out: %s", path.parent, error)
        return found

    def get(self, spec: str) -> InstalledModel:
        """The installed model of that name.

        Raises:
            ModelNotFoundError: unknown, or not installed; says how to get it.
        """
        found = self._installed(spec)
        if found is None:
            raise ModelNotFoundError(self.how_to_get(spec) or f"There is no model {spec!r} in {self.folder}.")
        return found

    def find(self, spec: str) -> Path | None:
        """The folder of "alias", "alias:variant" or a hub repository "owner/name"; None if it is not on this machine.

        An alias alone means the default variant, or else whichever is there. Never uses the network.
        """
        found = self._installed(spec)
        if found is not None and not found.missing:
            return found.folder
        if spec.count("/") == 1 and not spec.startswith((".", "/", "~")):
            return self.hub.snapshot(spec)
        return None

    def how_to_get(self, spec: str) -> str | None:
        """What to tell somebody whose model is not here; None if no model of that name is known.

        Raises:
            ModelNotFoundError: the model is known, but has no such variant.
        """
        known = self.catalog.get(spec)
        if known is None:
            return None
        model, variant = known
        command = f"pymoshi pull {model.alias}:{variant.name}"
        damaged = self._installed(spec)
        if damaged is not None and damaged.missing:
            return f"{damaged.manifest.name} is no longer whole: {', '.join(damaged.missing[:3])} missing. `{command}`"
        size, name = human_size(variant.n_bytes), f"{model.title} ({variant.name})"
        return (
            f"{name} is not on this machine. This command gets it (about {size}, {model.licence.name}):\n    {command}"
        )

    def _installed(self, spec: str) -> InstalledModel | None:
        alias, _, variant = spec.partition(":")
        by_variant = {
            model.manifest.variant: model for model in self.installed() if model.manifest.alias == alias.lower()
        }
        if variant:
            return by_variant.get(variant.lower())
        known = self.catalog.get(spec)
        if known is not None and known[0].alias != alias.lower():  # the id of a repository that the catalog knows
            wanted = self.folder_of(known[0].alias, known[1].name)
            return next((item for item in self.installed() if item.folder == wanted), None)
        whole = {name: model for name, model in by_variant.items() if not model.missing} or by_variant
        preferred = [known[1].name, *known[0].variants] if known else []
        return next((whole[name] for name in [*preferred, *whole] if name in whole), None)

    def folder_of(self, alias: str, variant: str) -> Path:
        """Where a model is or will be installed."""
        return self.folder / f"{alias}-{variant}"

    # ---- keeping ----

    def verify(self, spec: str, progress: Progress | None = None) -> list[Problem]:
        """Reads every file of an installed model and compares it with the checksum it was installed with.

        Raises:
            ModelNotFoundError: it is not installed.
            Cancelled: `progress` returned False.
        """
        model = self.get(spec)
        problems = []
        before = 0
        for file in model.manifest.files:
            path = model.folder / file.path
            if not path.is_file():
                problems.append(Problem(file.path, "missing"))
            elif path.stat().st_size != file.size:
                problems.append(Problem(file.path, f"{path.stat().st_size} bytes, expected {file.size}"))
            else:
                report = partial(_report, progress, before, model.manifest.n_bytes, f"checking {file.path}")
                if file_digest(path, report=report) != file.sha256:
                    problems.append(Problem(file.path, "its content has changed"))
            before += file.size
        return problems

    def remove(self, spec: str, *, keep_downloads: bool = False) -> int:
        """Removes an installed model; returns the bytes that were freed.

        Files that pymoshi itself has brought into the hub's cache go too, unless another installed model uses them or
        `keep_downloads` is set. What was in the cache before stays.

        Raises:
            ModelNotFoundError: it is not installed.
        """
        model = self.get(spec)
        others = [other for other in self.installed() if other.folder != model.folder]
        used = {
            (file.origin, file.revision)
            for other in others
            for file in (*other.manifest.files, *other.manifest.sources)
        }
        freed = 0
        for file in (*model.manifest.files, *model.manifest.sources):
            if not file.origin:
                freed += file.size
            elif file.fetched and not keep_downloads and (file.origin, file.revision) not in used:
                freed += file.size
                self._discard(file)
        shutil.rmtree(model.folder)
        return freed

    def _discard(self, file: InstalledFile) -> None:
        owner, name, path = file.origin.split("/", 2)
        cached = self.hub.cached(RemoteFile(f"{owner}/{name}", file.revision, path))
        if cached is not None:
            self.hub.discard(cached)

    # ---- installing ----

    def remember_fetched(self, file: RemoteFile) -> None:
        """Notes that pymoshi itself brought a file into the hub's cache, so that it may also remove it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / FETCHED).open("a", encoding="utf-8") as notes:
            notes.write(f"{file}@{file.revision}\n")

    def fetched_files(self) -> set[str]:
        """All files so noted, as "owner/name/path@revision"."""
        path = self.folder / FETCHED
        return set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()

    @contextmanager
    def installing(self, target: Path) -> Iterator[Path]:
        """An empty folder that takes the place of `target` when the `with` ends well, and vanishes when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(self.folder / f".{target.name}.lock"):
            fresh, old = (self.folder / f".{target.name}.{kind}" for kind in ("partial", "old"))
            for rest in (fresh, old):  # of a run that was killed
                shutil.rmtree(rest, ignore_errors=True)
            fresh.mkdir()
            try:
                yield fresh
                if target.exists():
                    os.replace(target, old)
                os.replace(fresh, target)
            except BaseException:
                if old.exists() and not target.exists():
                    os.replace(old, target)
                raise
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)


def _report(progress: Progress | None, start: int, total: int, what: str, done: int) -> None:
    tell(progress, start + done, total, what)
