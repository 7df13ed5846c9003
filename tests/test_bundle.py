"""Bundles carry a model to another machine; a hostile one can write nothing."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pymoshi.errors import (
    Cancelled,
    ChecksumError,
    DiskSpaceError,
    InputError,
    ModelFormatError,
    ModelNotFoundError,
    PymoshiError,
)
from pymoshi.hub import bundle
from pymoshi.hub.bundle import export_bundle, import_bundle
from pymoshi.hub.catalog import Catalog, parse_catalog
from pymoshi.hub.download import Hub, file_digest
from pymoshi.hub.manifest import MANIFEST, InstalledFile, Manifest
from pymoshi.hub.store import Store

CONTENT = {
    "model-q4_k.gguf": np.random.default_rng(1).bytes(70_001),
    "config.json": b'{"dim": 64}',
    "voices/NATF0.gguf": b"",
    "LICENCE.txt": b"Do as you like.",
}


def make_store(folder: Path) -> Store:
    return Store(folder, Hub(cache=folder / "cache", offline=True), Catalog({}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one model."""
    store = make_store(tmp_path / "here")
    folder = store.folder_of("tiny", "q4_k")
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = tuple(InstalledFile(name, len(content), file_digest(folder / name)) for name, content in CONTENT.items())
    manifest = Manifest("tiny", "q4_k", "Tiny", "Licence", "https://example.org", "", "", "", files)
    (folder / MANIFEST).write_bytes(manifest.to_json())
    return store


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """A store on a machine without network."""
    return make_store(tmp_path / "there" / "models")


@pytest.fixture
def tar(store: Store, tmp_path: Path) -> Path:
    export_bundle(store, "tiny", tmp_path / "tiny.tar")
    return tmp_path / "tiny.tar"


def left_behind(store: Store) -> list[str]:
    """Everything below the machine's folder, but for locks."""
    root = store.folder.parent
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


# ---- there and back ----


def test_a_model_arrives_as_it_left(tar: Path, store: Store, other: Store) -> None:
    model = import_bundle(other, tar)
    assert other.find("tiny") == model.folder and not other.verify("tiny")
    for name, content in CONTENT.items():
        assert (model.folder / name).read_bytes() == content
    assert model.manifest == store.get("tiny").manifest


def test_a_bundle_is_a_tar_file_and_always_the_same(tar: Path, store: Store, tmp_path: Path) -> None:
    with tarfile.open(tar) as archive:
        assert archive.getnames() == [MANIFEST, *(f"files/{name}" for name in CONTENT)]
    export_bundle(store, "tiny:q4_k", tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == tar.read_bytes()


def test_what_is_installed_is_replaced_only_when_asked(tar: Path, store: Store) -> None:
    with pytest.raises(InputError, match="already"):
        import_bundle(store, tar)
    (store.folder_of("tiny", "q4_k") / "config.json").write_bytes(b"changed")
    import_bundle(store, tar, force=True)
    assert not store.verify("tiny")


def test_a_changed_model_is_not_exported(store: Store, tmp_path: Path) -> None:
    (store.folder_of("tiny", "q4_k") / "config.json").write_bytes(b'{"dim": 65}')
    with pytest.raises(ChecksumError, match=r"config\.json has changed"):
        export_bundle(store, "tiny", tmp_path / "tiny.tar")
    assert not list(tmp_path.glob("tiny.tar*"))


def test_an_incomplete_model_is_not_exported(store: Store, tmp_path: Path) -> None:
    (store.folder_of("tiny", "q4_k") / "config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        export_bundle(store, "tiny", tmp_path / "tiny.tar")


def test_targets_that_cannot_be_written_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        export_bundle(store, "tiny", tmp_path)
    with pytest.raises(InputError, match="Cannot write"):
        export_bundle(store, "tiny", tmp_path / "none" / "tiny.tar")


def test_a_cancelled_export_or_import_leaves_nothing(tar: Path, store: Store, other: Store, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        export_bundle(store, "tiny", tmp_path / "x.tar", lambda *_: False)
    with pytest.raises(Cancelled):
        import_bundle(other, tar, progress=lambda *_: False)
    assert not list(tmp_path.glob("x.tar*")) and not left_behind(other)


def test_a_full_disk_is_noticed_before_writing(
    tar: Path, store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "free_bytes", lambda _: 1000)
    with pytest.raises(DiskSpaceError):
        export_bundle(store, "tiny", tmp_path / "x.tar")
    with pytest.raises(DiskSpaceError):
        import_bundle(other, tar)
    assert not left_behind(other)


# ---- bundles that lie ----

Members = list[tuple[tarfile.TarInfo, bytes]]


def rewrite(tar: Path, change: Callable[[dict[str, Any], Members], Any]) -> Path:
    """Rewrites a bundle; `change` may alter the manifest (index 0 is written from it) and the members after it."""
    with tarfile.open(tar) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    manifest = json.loads(members[0][1])
    rest = members[1:]
    change(manifest, rest)
    head = tarfile.TarInfo(MANIFEST)
    data = json.dumps(manifest).encode()
    head.size = len(data)
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(head, io.BytesIO(data))
        for member, content in rest:
            archive.addfile(member, io.BytesIO(content))
    return tar


def renamed(name: str) -> Callable[[dict[str, Any], Members], None]:
    """The first file under another name, in the list and in the archive."""

    def change(manifest: dict[str, Any], members: Members) -> None:
        manifest["files"][0]["path"] = name
        members[0][0].name = f"files/{name}"

    return change


def retyped(kind: bytes, target: str = "") -> Callable[[dict[str, Any], Members], None]:
    def change(manifest: dict[str, Any], members: Members) -> None:
        members[0][0].type, members[0][0].linkname = kind, target

    return change


@pytest.mark.parametrize(
    "name",
    [
        "../escape", "a/../../escape", "/etc/cron.d/x", "//x", "..", ".", "", "a//b", "./a", "a/.", "C:\\x", "C:x",
        "a\\..\\b", ".hidden", "voices/.hidden", "nul", "aux.gguf", "x\0y", "x\ny", "trailing.", "trailing ",
        "a/b/c/d/e", "x" * 200, MANIFEST, MANIFEST.upper(), "-x/../../y", "\u202egguf", "~", "$HOME",
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_are_refused(tar: Path, other: Store, name: str) -> None:
    with pytest.raises(PymoshiError):
        import_bundle(other, rewrite(tar, renamed(name)))
    assert not left_behind(other)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "../../x"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.DIRTYPE, ""),
        (tarfile.CONTTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
        (tarfile.XHDTYPE, ""),
        (tarfile.XGLTYPE, ""),
        (tarfile.GNUTYPE_LONGNAME, ""),
    ],
)
def test_anything_but_plain_files_is_refused(tar: Path, other: Store, kind: bytes, target: str) -> None:
    with pytest.raises(ModelFormatError):
        import_bundle(other, rewrite(tar, retyped(kind, target)))
    assert not left_behind(other)


def missing(manifest: dict[str, Any], members: Members) -> None:
    members.pop()


def extra(manifest: dict[str, Any], members: Members) -> None:
    members.append((tarfile.TarInfo("files/extra.bin"), b""))


def twice(manifest: dict[str, Any], members: Members) -> None:
    members.insert(1, members[0])


def listed_twice(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"].insert(1, manifest["files"][0] | {"path": "MODEL-Q4_K.gguf"})


def reordered(manifest: dict[str, Any], members: Members) -> None:
    members.reverse()


def larger_in_the_list(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"][1]["size"] += 1


def huge(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"][0]["size"] = 1 << 48


def negative(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"][0]["size"] = -1


def other_content(manifest: dict[str, Any], members: Members) -> None:
    members[0] = (members[0][0], bytes(len(members[0][1])))


def no_checksum(manifest: dict[str, Any], members: Members) -> None:
    del manifest["files"][0]["sha256"]


def foreign_alias(manifest: dict[str, Any], members: Members) -> None:
    manifest["alias"] = "../../tiny"


def foreign_variant(manifest: dict[str, Any], members: Members) -> None:
    manifest["variant"] = "q4_k/../../x"


def other_format(manifest: dict[str, Any], members: Members) -> None:
    manifest["format"] = 2


def no_files(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"] = []


def files_are_text(manifest: dict[str, Any], members: Members) -> None:
    manifest["files"] = "model-q4_k.gguf"


def escape_sequence(manifest: dict[str, Any], members: Members) -> None:
    manifest["title"] = "\x1b]0;owned\x07"


def test_an_imported_model_cannot_have_files_of_the_cache_removed(tar: Path, other: Store) -> None:
    def claim(manifest: dict[str, Any], members: Members) -> None:
        stranger = {"path": "x", "size": 1, "sha256": "0" * 64, "origin": "../..", "fetched": True}
        manifest["files"][0] |= {"origin": "nonsense", "fetched": True}
        manifest["sources"] = [stranger]

    model = import_bundle(other, rewrite(tar, claim))
    assert not model.manifest.sources and not any(file.fetched for file in model.manifest.files)
    other.remove("tiny")
    assert not left_behind(other)


@pytest.mark.parametrize(
    "change",
    [
        missing, extra, twice, listed_twice, reordered, larger_in_the_list, huge, negative, other_content, no_checksum,
        foreign_alias, foreign_variant, other_format, no_files, files_are_text, escape_sequence,
    ],
)  # fmt: skip
def test_a_bundle_that_contradicts_its_list_is_refused(
    tar: Path, other: Store, change: Callable[[dict[str, Any], Members], None]
) -> None:
    with pytest.raises((ModelFormatError, ChecksumError)):
        import_bundle(other, rewrite(tar, change))
    assert not left_behind(other)


def test_a_truncated_bundle_is_refused_at_every_length(tar: Path, other: Store) -> None:
    whole = tar.read_bytes()
    end = len(whole) - 2 * tarfile.BLOCKSIZE
    for length in [*range(0, end - 512, 1531), *range(0, 2048, 100), end - 512]:
        tar.write_bytes(whole[:length])
        with pytest.raises((ModelFormatError, ChecksumError)):
            import_bundle(other, tar)
    assert not left_behind(other)


def test_flipped_bytes_never_install_another_model(tar: Path, other: Store) -> None:
    whole = tar.read_bytes()
    random = np.random.default_rng(2)
    for _ in range(300):
        data = bytearray(whole)
        data[random.integers(0, len(data))] ^= 1 << int(random.integers(0, 8))
        tar.write_bytes(data)
        try:
            model = import_bundle(other, tar, force=True)
        except (ModelFormatError, ChecksumError):
            continue
        assert all(
            (model.folder / name).read_bytes() == content
            for name, content in CONTENT.items()
            if name in os.listdir(model.folder)
        )


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b\x08" + bytes(600), b"PK\3\4" + bytes(600), bytes(2048)])
def test_other_files_are_no_bundles(tmp_path: Path, other: Store, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"x\.tar"):
        import_bundle(other, tmp_path / "x.tar")


def test_a_packed_bundle_cannot_be_a_bomb(tar: Path, other: Store, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as archive:
        archive.add(tar, MANIFEST)
    with pytest.raises(ModelFormatError):
        import_bundle(other, tmp_path / "x.tar")


def test_missing_bundles_and_folders_are_named(tmp_path: Path, other: Store) -> None:
    with pytest.raises(ModelNotFoundError, match=r"none\.tar"):
        import_bundle(other, tmp_path / "none.tar")
    with pytest.raises(ModelFormatError, match="folder"):
        import_bundle(other, tmp_path)


def test_a_file_that_claims_to_be_published_must_be_the_published_one(tar: Path, other: Store) -> None:
    def claim(manifest: dict[str, Any], members: Members) -> None:
        manifest["files"][0] |= {"origin": "test/tiny/model-q4_k.gguf", "revision": "main"}

    variant = {"megabytes": 1, "files": {"model-q4_k.gguf": "test/tiny/model-q4_k.gguf"}}
    texts = dict.fromkeys(("title", "summary", "authors", "page", "model_type"), "")
    other.catalog = parse_catalog(
        {
            "licences": {"a": {"name": "", "url": "", "text": ""}},
            "repos": {"test/tiny": {"revision": "main", "files": {"model-q4_k.gguf": {"sha256": "0" * 64}}}},
            "models": {
                "tiny": {**texts, "licence": "a", "default": "q4_k", "original": {}, "variants": {"q4_k": variant}}
            },
        }
    )
    with pytest.raises(ChecksumError, match="published"):
        import_bundle(other, rewrite(tar, claim))
