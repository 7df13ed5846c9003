"""Installed models are found by name, kept whole, and removed with what was fetched for them and nothing else."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fake_hub import COMMIT, FakeHub, catalog_of, serving
from pymoshi import paths
from pymoshi.cli.app import app
from pymoshi.cli.pull import offer_to_pull
from pymoshi.errors import GatedModelError, InputError, ModelFormatError, ModelNotFoundError, OfflineError
from pymoshi.hub import layout
from pymoshi.hub.catalog import load_catalog
from pymoshi.hub.download import Hub, human_size
from pymoshi.hub.manifest import MANIFEST
from pymoshi.hub.pull import licence_text, make_plan, pull
from pymoshi.hub.store import InstalledModel, Store
from pymoshi.hub.voice_folders import voice_folders
from pymoshi.voices import BUILTIN

LARGE = bytes(range(256)) * 40
MODEL: dict[str, Any] = {
    "title": "Tiny",
    "summary": "a model for tests",
    "authors": "Tests",
    "licence": "test",
    "page": "https://example.org/tiny",
    "model_type": "moshi",
    "default": "q4_k",
    "original": {},
}


def variant(*files: str) -> dict[str, Any]:
    return {"megabytes": 1, "files": {Path(file).name: file for file in files}}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    names = ("test/tiny-q4_k/model.gguf", "test/tiny-q8_0/model.gguf", "test/common/mimi.gguf")
    files = {tuple(name.rsplit("/", 1)): LARGE + name.encode() for name in names}
    with serving(FakeHub(files)) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture(autouse=True)
def store(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the commands use, with a hub and a catalog of its own."""
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    variants = {
        "q4_k": variant("test/tiny-q4_k/model.gguf", "test/common/mimi.gguf"),
        "q8_0": variant("test/tiny-q8_0/model.gguf", "test/common/mimi.gguf"),
    }
    catalog = catalog_of(hub, {"tiny": MODEL | {"variants": variants}}, gated=("test/tiny-q8_0",))
    monkeypatch.setattr("pymoshi.hub.store.load_catalog", lambda: catalog)
    monkeypatch.setattr("pymoshi.hub.layout.load_catalog", lambda: catalog)
    return Store()


def get(store: Store, spec: str = "tiny") -> InstalledModel:
    return pull(store, make_plan(store, spec))


def cached(tmp_path: Path) -> list[str]:
    found = (tmp_path / "cache").glob("models--*/snapshots/*/*")
    return sorted(f"{path.parts[-4].removeprefix('models--test--')}/{path.name}" for path in found)


# ---- finding ----


def test_an_alias_means_the_default_variant_or_whichever_is_here(store: Store) -> None:
    eight = get(store, "tiny:q8_0")
    assert store.find("tiny") == store.find("Tiny:Q8_0") == eight.folder
    assert store.find("tiny:q4_k") is None
    four = get(store, "tiny:q4_k")
    assert store.find("tiny") == four.folder


def test_a_repository_of_the_catalog_is_its_model(store: Store) -> None:
    model = get(store)
    assert store.find("test/tiny-q4_k") == model.folder
    assert get(store, "test/tiny-q8_0").manifest.name == "tiny:q8_0"


def test_a_repository_that_others_downloaded_is_found_in_the_hubs_cache(store: Store, tmp_path: Path) -> None:
    assert store.find("some/body") is None
    snapshot = tmp_path / "cache" / "models--some--body" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    assert store.find("some/body") == snapshot
    newer = snapshot.with_name("f" * 40)
    newer.mkdir()
    refs = tmp_path / "cache" / "models--some--body" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    assert store.find("some/body") == snapshot


@pytest.mark.parametrize("spec", ["", "..", "../x", "a/b/c", "../../etc", "./tiny", ":q4_k", "~/x"])
def test_paths_are_no_names(store: Store, spec: str) -> None:
    assert store.find(spec) is None


def test_a_model_that_lost_a_file_is_not_found_and_says_so(store: Store) -> None:
    model = get(store)
    (model.folder / "mimi.gguf").unlink()
    assert store.find("tiny") is None
    assert "mimi.gguf missing" in str(store.how_to_get("tiny"))
    get(store)
    assert store.find("tiny") == model.folder


def test_a_damaged_list_hides_one_model_and_not_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    get(store)
    (get(store, "tiny:q8_0").folder / MANIFEST).write_text("{")
    assert [model.manifest.name for model in store.installed()] == ["tiny:q4_k"]
    assert "tiny-q8_0 is left out" in caplog.text


def test_loading_a_model_that_is_not_here_says_how_to_get_it(hub: FakeHub) -> None:
    with pytest.raises(ModelNotFoundError, match="pymoshi pull tiny:q4_k"):
        layout.resolve("tiny")
    with pytest.raises(ModelNotFoundError, match="no variant 'q2'"):
        layout.resolve("tiny:q2")
    with pytest.raises(ModelNotFoundError, match="not the name of a known model"):
        layout.resolve("tinny")
    assert not hub.requests


def test_a_pulled_model_is_loaded_even_beside_a_folder_of_its_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = get(store).folder
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert layout._existing("tiny") == folder
    assert layout._existing("./tiny") == Path("tiny")
    assert layout._existing(Path("tiny")) == Path("tiny")


def test_voices_of_pulled_models_serve_every_model(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert list(voice_folders(elsewhere)) == [elsewhere]
    folder = get(store).folder
    (folder / "voices").mkdir()
    assert list(voice_folders(elsewhere)) == [elsewhere, folder]
    assert list(voice_folders(folder)) == [folder]


# ---- keeping ----


def test_verify_finds_what_has_changed(store: Store) -> None:
    folder = get(store).folder
    assert store.verify("tiny") == []
    content = bytearray((folder / "model.gguf").read_bytes())
    content[5] ^= 1
    (folder / "model.gguf").write_bytes(content)
    (folder / "mimi.gguf").write_bytes(b"short")
    (folder / "config.json").unlink()
    assert {problem.path: problem.what.split()[-1] for problem in store.verify("tiny")} == {
        "model.gguf": "changed",
        "mimi.gguf": str(len(LARGE) + len("test/common/mimi.gguf")),
        "config.json": "missing",
    }


def test_remove_takes_what_was_fetched_unless_another_model_needs_it(store: Store, tmp_path: Path) -> None:
    get(store, "tiny:q4_k")
    get(store, "tiny:q8_0")
    assert store.remove("tiny:q4_k") >= len(LARGE)
    assert cached(tmp_path) == ["common/mimi.gguf", "tiny-q8_0/model.gguf"]
    store.remove("tiny")
    assert cached(tmp_path) == [] and store.installed() == []


def test_remove_leaves_what_others_had_downloaded(store: Store, tmp_path: Path) -> None:
    store.hub.fetch(store.hub.look(store.catalog.models["tiny"].variants["q4_k"].files["mimi.gguf"]))
    get(store)
    store.remove("tiny")
    assert cached(tmp_path) == ["common/mimi.gguf"]


def test_remove_can_keep_the_downloads(store: Store, tmp_path: Path) -> None:
    get(store)
    store.remove("tiny", keep_downloads=True)
    assert cached(tmp_path) == ["common/mimi.gguf", "tiny-q4_k/model.gguf"]


def test_a_failed_install_keeps_the_old_model(store: Store) -> None:
    folder = get(store).folder
    with pytest.raises(RuntimeError, match="power cut"), store.installing(folder) as fresh:
        (fresh / "x").write_text("half")
        raise RuntimeError("power cut")
    assert store.verify("tiny") == []
    assert [path.name for path in store.folder.iterdir() if path.is_dir()] == ["tiny-q4_k"]


def test_files_are_links_where_links_are_possible(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = get(store)
    assert os.stat(model.folder / "model.gguf").st_nlink == 2
    for way in ("link", "symlink"):
        monkeypatch.setattr(os, way, _refuse)
    copied = get(store)
    assert os.stat(copied.folder / "model.gguf").st_nlink == 1 and not store.verify("tiny")


def _refuse(*_: object, **__: object) -> None:
    raise OSError("not here")


# ---- the catalog that comes with pymoshi ----


def test_every_model_of_the_catalog_is_whole() -> None:
    catalog = load_catalog()
    assert {"personaplex", "moshika", "moshiko", "stt-1b", "stt-2.6b", "tts-1.6b", "tts-0.75b"} == set(catalog.models)
    for model in catalog.models.values():
        assert {"q4_k", "q8_0", "bf16"} <= set(model.variants) and model.default in model.variants
        assert model.licence.url.startswith("https://") and model.licence.text
        for item in model.variants.values():
            named = {item.config[key] for key in ("moshi_name", "mimi_name", "tokenizer_name")}
            assert named <= set(item.files), f"{model.alias}:{item.name}"


def test_every_published_file_is_pinned_and_has_a_checksum_but_for_the_gated_ones() -> None:
    for model in load_catalog().models.values():
        for item in model.variants.values():
            for file in item.files.values():
                pinned = len(file.revision) == 40 and (file.sha256 or file.git_sha1)
                assert pinned or file.gated, str(file)


def test_the_licence_of_kyutais_models_travels_in_full() -> None:
    text = licence_text(load_catalog().models["moshika"])
    assert "by Kyutai" in text and "License Conditions." in text
    assert "NVIDIA Open Model License" in licence_text(load_catalog().models["personaplex"])


def test_personaplex_brings_all_its_voices() -> None:
    for item in load_catalog().models["personaplex"].variants.values():
        assert {f"voices/{name}.gguf" for name in BUILTIN} <= set(item.files)


# ---- commands ----


def run(*arguments: str, answer: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_pull_list_verify_remove(store: Store) -> None:
    code, output = run("pull", "tiny")
    assert code == 0 and "Licence of Tests" in output and "--model tiny:q4_k" in output
    assert str(store.folder / "tiny-q4_k") in run("models")[1]
    listed = {entry["model"]: entry["folder"] for entry in json.loads(run("models", "list", "--json")[1])}
    assert listed == {"tiny:q4_k": str(store.folder / "tiny-q4_k"), "tiny:q8_0": None}
    assert "as they were" in run("models", "verify")[1]
    assert run("models", "remove", "tiny", answer="n\n")[0] == 1
    assert store.find("tiny") is not None
    assert run("models", "remove", "tiny", "--yes")[0] == 0
    assert store.find("tiny") is None


def test_verify_fails_on_a_damaged_model(store: Store) -> None:
    (get(store).folder / "mimi.gguf").write_bytes(b"x")
    with pytest.raises(ModelFormatError, match="pull"):
        run("models", "verify", "tiny")


def test_export_and_import(store: Store, tmp_path: Path) -> None:
    get(store)
    assert run("models", "export", "tiny", "-o", str(tmp_path / "t.tar"))[0] == 0
    with pytest.raises(InputError, match="already"):
        run("models", "import", str(tmp_path / "t.tar"))
    run("models", "remove", "tiny", "-y")
    code, output = run("models", "import", str(tmp_path / "t.tar"))
    assert code == 0 and "Licence of Tests" in output
    assert store.verify("tiny") == []


def test_pull_explains_a_gated_model(hub: FakeHub) -> None:
    hub.gated["test/tiny-q8_0"] = 401
    with pytest.raises(GatedModelError, match="accept the licence"):
        run("pull", "tiny:q8_0")


def test_offline_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError):
        run("pull", "tiny")
    assert not hub.requests


def test_unfinished_downloads_are_shown_and_dropped(store: Store, hub: FakeHub) -> None:
    plan = make_plan(store, "tiny")

    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(store, plan, stop)
    assert "10 kB of unfinished downloads" in run("models")[1]
    assert "10 kB freed" in run("models", "clean")[1]
    assert store.hub.unfinished() == [] and "unfinished" not in run("models")[1]


@pytest.mark.parametrize("answer", [True, False])
def test_a_missing_model_is_fetched_only_after_a_yes(
    store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("pymoshi.cli.pull.load_catalog", lambda: store.catalog)
    monkeypatch.setattr("pymoshi.cli.pull.is_answerable", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    for name in ("nosuch", "tiny:q2", "demo"):
        offer_to_pull(name)
    assert not asked and not hub.requests
    offer_to_pull("tiny")
    assert len(asked) == 1
    assert (store.find("tiny") is not None) is answer
    assert bool(hub.requests) is answer


def test_nobody_is_asked_who_cannot_answer(store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymoshi.cli.pull.load_catalog", lambda: store.catalog)
    monkeypatch.setattr("typer.confirm", _refuse)
    offer_to_pull("tiny")  # standard input is no terminal in tests
    assert not hub.requests


# ---- places and sizes ----


def test_data_goes_where_the_platform_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.data_dir() == tmp_path / "home"
    monkeypatch.delenv("PYMOSHI_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    for variable, function in (
        ("XDG_DATA_HOME", paths.data_dir),
        ("XDG_CONFIG_HOME", paths.config_dir),
        ("XDG_CACHE_HOME", paths.cache_dir),
    ):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert function() == tmp_path / variable / "pymoshi"
        monkeypatch.setenv(variable, "relative")
        assert function().is_absolute()
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert paths.data_dir() == tmp_path / "local" / "pymoshi"
    monkeypatch.setattr("sys.platform", "darwin")
    assert paths.data_dir().parts[-2:] == ("Application Support", "pymoshi")


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "2 kB"),
        (1_500_000, "1.5 MB"),
        (15_000_000, "15 MB"),
        (4_700_000_000, "4.7 GB"),
    ],
)
def test_sizes_are_written_for_people(n_bytes: int, text: str) -> None:
    assert human_size(n_bytes) == text


def test_the_hub_is_the_one_of_the_environment(hub: FakeHub, tmp_path: Path) -> None:
    assert (Hub().endpoint, Hub().cache) == (hub.url, tmp_path / "cache")
