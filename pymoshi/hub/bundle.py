"""Offline bundles: an installed model as one file, to be carried to a machine without network.

A bundle is a plain tar file: first `pymoshi-model.json`, the list of files with their checksums, then `files/...` in
that order and nothing else. `tar tf` lists it. Reading it trusts nothing: the headers are read here, one by one, and a
kind of member that a bundle never has (links, devices, extended headers, which could hide names and sizes) ends it.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pymoshi.errors import ChecksumError, DiskSpaceError, InputError, ModelFormatError, ModelNotFoundError
from pymoshi.hub.catalog import Catalog
from pymoshi.hub.download import Progress, free_bytes, human_size, tell
from pymoshi.hub.manifest import MANIFEST, MAX_BYTES, InstalledFile, Manifest, parse_manifest
from pymoshi.hub.store import InstalledModel, Store

__all__ = ["export_bundle", "import_bundle"]

FOLDER = "files/"
BLOCK = tarfile.BLOCKSIZE  # 512 bytes, to which everything in a tar file is filled up
COPY = 4 << 20  # bytes moved at a time
SPARE = 200_000_000  # bytes of disk that stay free


def export_bundle(store: Store, spec: str, target: Path, progress: Progress | None = None) -> Manifest:
    """Writes an installed model, with checksums and licence texts, to one file.

    Raises:
        ModelNotFoundError: it is not installed, or no longer whole.
        ChecksumError: a file has changed since it was installed.
        DiskSpaceError: `target` has not room for it.
        InputError: `target` cannot be written.
    """
    model = store.get(spec)
    if model.missing:
        raise ModelNotFoundError(store.how_to_get(spec) or f"{spec} misses {', '.join(model.missing[:3])}.")
    if target.is_dir():
        raise InputError(f"{target} is a folder; name the file to write, e.g. {target / (model.folder.name + '.tar')}")
    _check_space(target.absolute().parent, model.manifest.n_bytes, str(target))
    with _written(target) as output:
        _write_member(output, MANIFEST, model.manifest.to_json())
        done = 0
        for file in model.manifest.files:
            report = partial(_report, progress, done, model.manifest.n_bytes, f"writing {file.path}")
            output.write(_header(FOLDER + file.path, file.size))
            with (model.folder / file.path).open("rb") as source:
                _copy(source, output, file, report, f"{model.folder / file.path} has changed since it was installed")
            output.write(bytes(-file.size % BLOCK))
            done += file.size
        output.write(bytes(2 * BLOCK))
    return model.manifest


def import_bundle(
    store: Store, source: Path, *, force: bool = False, progress: Progress | None = None
) -> InstalledModel:
    """Installs a model from a bundle, after checking every name, size and checksum in it.

    Nothing of it becomes visible before all of it was right.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelFormatError: it is not a bundle, or holds something else than its list says.
        ChecksumError: a file's content is not the listed one, or not the one that the catalog knows.
        DiskSpaceError: there is not room for it.
        InputError: the model is installed already and `force` is not set.
    """
    try:
        with source.open("rb") as bundle:
            manifest = _as_received(_read_manifest(bundle, source))
            _check_against_catalog(manifest, store.catalog, source)
            target = store.folder_of(manifest.alias, manifest.variant)
            if target.exists() and not force:
                raise InputError(f"{manifest.name} is installed already. Remove it first, or import with --force.")
            left = source.stat().st_size - bundle.tell()
            if manifest.n_bytes > left:
                raise ModelFormatError(
                    f"{source}: {human_size(left)} left for files of {human_size(manifest.n_bytes)}; it is cut short."
                )
            _check_space(store.folder, manifest.n_bytes, str(store.folder))
            with store.installing(target) as folder:
                _extract(bundle, manifest, folder, source, progress)
                (folder / MANIFEST).write_bytes(manifest.to_json())
            return InstalledModel(target, manifest)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"There is no file {source}.") from error
    except IsADirectoryError as error:
        raise ModelFormatError(f"{source} is a folder; expected a bundle made by `pymoshi models export`.") from error


def _extract(bundle: BinaryIO, manifest: Manifest, folder: Path, source: Path, progress: Progress | None) -> None:
    done = 0
    for file in manifest.files:
        name, size = _next_member(bundle, source)
        if name != FOLDER + file.path or size != file.size:
            raise ModelFormatError(
                f"{source}: found {name!r:.120} of {size} bytes where its list has {file.path!r} of {file.size}."
            )
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        report = partial(_report, progress, done, manifest.n_bytes, f"reading {file.path}")
        with path.open("xb") as output:
            _copy(bundle, output, file, report, f"{source}: {file.path} is damaged")
        bundle.seek(-file.size % BLOCK, os.SEEK_CUR)
        done += file.size
    if any(bundle.read(BLOCK)):
        raise ModelFormatError(f"{source}: holds more files than its list has.")


def _read_manifest(bundle: BinaryIO, source: Path) -> Manifest:
    name, size = _next_member(bundle, source)
    if name != MANIFEST or size > MAX_BYTES:
        raise ModelFormatError(
            f"{source} is not a bundle made by `pymoshi models export`: it begins with {name!r:.80}."
        )
    data = bundle.read(size)
    bundle.seek(-size % BLOCK, os.SEEK_CUR)
    return parse_manifest(data, str(source))


def _as_received(manifest: Manifest) -> Manifest:
    """The list without what was true on the other machine alone: this one's cache holds nothing that is ours."""
    return replace(manifest, files=tuple(replace(file, fetched=False) for file in manifest.files), sources=())


def _next_member(bundle: BinaryIO, source: Path) -> tuple[str, int]:
    """Name and size of the plain file whose header comes next; the bundle is then at its content."""
    block = bundle.read(BLOCK)
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        what = "it ends too early" if not any(block) else "damaged, or no bundle made by `pymoshi models export`"
        raise ModelFormatError(f"{source}: {what} (at byte {bundle.tell() - len(block)}).") from error
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
        raise ModelFormatError(f"{source}: {member.name!r:.120} is not a plain file (kind {member.type!r}); refused.")
    return member.name, member.size


def _check_against_catalog(manifest: Manifest, catalog: Catalog, source: Path) -> None:
    """A bundle may say of itself what it likes; a file that it claims to be a published one must be that one."""
    known = {
        (str(file), file.revision): file
        for model in catalog.models.values()
        for variant in model.variants.values()
        for file in variant.files.values()
    }
    for file in manifest.files:
        published = known.get((file.origin, file.revision))
        if published is not None and published.sha256 not in (None, file.sha256):
            raise ChecksumError(
                f"{source}: {file.path} claims to be {file.origin}, but has another checksum than was published."
            )


def _copy(source: BinaryIO, output: BinaryIO, file: InstalledFile, report: "partial[None]", complaint: str) -> None:
    """Copies exactly the file's bytes; raises ChecksumError with `complaint` if they are not what they should be."""
    digest = hashlib.sha256()
    left = file.size
    while left > 0:
        block = source.read(min(COPY, left))
        if not block:
            break
        digest.update(block)
        output.write(block)
        left -= len(block)
        report(file.size - left)
    if left or digest.hexdigest() != file.sha256:
        raise ChecksumError(f"{complaint} (SHA-256 {digest.hexdigest()[:16]}..., expected {file.sha256[:16]}...).")


@contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is whole, and not at all otherwise."""
    partial_file = target.with_name(f"{target.name}.partial")
    try:
        with partial_file.open("wb") as output:
            yield output
        os.replace(partial_file, target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial_file.unlink(missing_ok=True)


def _write_member(output: BinaryIO, name: str, content: bytes) -> None:
    output.write(_header(name, len(content)) + content + bytes(-len(content) % BLOCK))


def _header(name: str, size: int) -> bytes:
    """A tar header that is the same on every machine. GNU's way of writing sizes has no limit at 8 GB."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _check_space(folder: Path, n_bytes: int, what: str) -> None:
    free = free_bytes(folder)
    if n_bytes + SPARE > free:
        raise DiskSpaceError(f"{what} needs {human_size(n_bytes)} of disk space, {human_size(free)} are free.")


def _report(progress: Progress | None, start: int, total: int, what: str, done: int) -> None:
    tell(progress, start + done, total, what)
