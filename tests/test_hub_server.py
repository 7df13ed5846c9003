"""Pulling models through the real hub client from a hub that can misbehave: everything that can go wrong says so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_hub import COMMIT, FakeHub, catalog_of, serving
from pymoshi.errors import (
    Cancelled,
    ChecksumError,
    DiskSpaceError,
    DownloadError,
    GatedModelError,
    ModelNotFoundError,
    OfflineError,
)
from pymoshi.hub import download, pull
from pymoshi.hub.download import Hub
from pymoshi.hub.pull import make_plan
from pymoshi.hub.store import InstalledModel, Store

FIXTURES = Path(__file__).parent / "fixtures"
WEIGHTS = np.random.default_rng(5).bytes(300_000)
CODEC = np.random.default_rng(6).bytes(50_000)
MODELS: dict[str, Any] = {
    "tiny": {
        "title": "Tiny",
        "summary": "a model for tests",
        "authors": "Tests",
        "licence": "test",
        "page": "https://example.org/tiny",
        "model_type": "moshi",
        "default": "q4_k",
        "original": {"files": {}},
        "variants": {
            "q4_k": {
                "megabytes": 1,
                "config": {"moshi_name": "model-q4_k.gguf", "mimi_name": "mimi.gguf"},
                "files": {
                    "model-q4_k.gguf": "test/tiny-GGUF/model-q4_k.gguf",
                    "mimi.gguf": "test/common/mimi.gguf",
                    "config.json": "test/tiny-GGUF/tiny-config.json",
                    "voices/NATF0.gguf": "test/tiny-GGUF/voices/NATF0.gguf",
                },
            }
        },
    }
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    files = {
        ("test/tiny-GGUF", "model-q4_k.gguf"): WEIGHTS,
        ("test/common", "mimi.gguf"): CODEC,
        ("test/tiny-GGUF", "tiny-config.json"): b'{"dim": 64, "moshi_name": "elsewhere"}',
        ("test/tiny-GGUF", "voices/NATF0.gguf"): b"voice" * 1000,
    }
    with serving(FakeHub(files)) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # as little as may be lost
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


@pytest.fixture
def store(hub: FakeHub, tmp_path: Path) -> Store:
    return store_for(hub, tmp_path)


def store_for(hub: FakeHub, tmp_path: Path, offline: bool = False, gated: tuple[str, ...] = ()) -> Store:
    source = Hub(hub.url, tmp_path / "cache", offline=offline)
    return Store(tmp_path / "models", source, catalog_of(hub, MODELS, gated))


def get(store: Store, spec: str = "tiny") -> InstalledModel:
    return pull.pull(store, make_plan(store, spec))


def cache_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and "locks" not in str(path)]


# ---- when all goes well ----


def test_a_pulled_model_is_whole_and_found(store: Store) -> None:
    assert store.find("tiny") is None
    model = get(store)
    assert store.find("tiny") == store.find("tiny:q4_k") == store.find("TINY") == model.folder
    assert (model.folder / "model-q4_k.gguf").read_bytes() == WEIGHTS
    assert (model.folder / "voices/NATF0.gguf").read_bytes() == b"voice" * 1000
    assert "Licence of Tests" in (model.folder / "LICENCE.txt").read_text()
    assert not store.verify("tiny")


def test_config_names_the_files_as_they_are_called_here(store: Store) -> None:
    config = json.loads((get(store).folder / "config.json").read_text())
    assert config == {"dim": 64, "moshi_name": "model-q4_k.gguf", "mimi_name": "mimi.gguf"}


def test_nothing_is_fetched_twice(store: Store, hub: FakeHub) -> None:
    get(store)
    before = len(hub.requests)
    plan = make_plan(store, "tiny")
    assert plan.download_bytes == 0
    pull.pull(store, plan)
    assert not [request for request in hub.requests[before:] if request.method == "GET"]


def test_the_cache_is_the_hubs_own(store: Store, tmp_path: Path) -> None:
    get(store)
    snapshot = tmp_path / "cache" / "models--test--tiny-GGUF" / "snapshots" / COMMIT
    assert (snapshot / "model-q4_k.gguf").read_bytes() == WEIGHTS
    assert store.find("test/common") == tmp_path / "cache" / "models--test--common" / "snapshots" / COMMIT


def test_a_plan_fetches_nothing(store: Store, hub: FakeHub) -> None:
    plan = make_plan(store, "tiny")
    assert plan.download_bytes == sum(map(len, hub.files.values()))
    assert {request.method for request in hub.requests} == {"HEAD"}


def test_progress_ends_at_the_total_and_can_cancel(store: Store) -> None:
    seen: list[tuple[int, int]] = []
    plan = make_plan(store, "tiny")
    with pytest.raises(Cancelled):
        pull.pull(store, plan, lambda done, total, what: done < 100_000)
    pull.pull(store, make_plan(store, "tiny"), lambda done, total, what: seen.append((done, total)))
    assert max(done for done, _ in seen) == plan.download_bytes
    assert store.find("tiny") is not None


def test_a_renamed_repository_is_followed(store: Store, hub: FakeHub) -> None:
    for (repo, path), content in list(hub.files.items()):
        if repo == "test/common":
            hub.files["moved/here", path] = content
            del hub.files[repo, path]
    hub.renamed["test/common"] = "moved/here"
    assert (get(store).folder / "mimi.gguf").read_bytes() == CODEC


def test_the_token_goes_to_the_hub_and_not_to_the_storage(
    store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    get(store)
    assert {request.token for request in hub.requests if request.path.startswith("/storage/")} == {""}
    assert {request.token for request in hub.requests if not request.path.startswith("/storage/")} == {"hf_secret"}


# ---- broken connections ----


def test_a_dropped_connection_is_resumed_within_one_pull(store: Store, hub: FakeHub) -> None:
    hub.break_after = 100_000
    assert (get(store).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS
    first, second = hub.downloads("/storage/test/tiny-GGUF/model-q4_k.gguf")
    assert (first.start, second.start) == (0, 100_000)


def test_the_next_run_goes_on_where_a_broken_one_stopped(hub: FakeHub, tmp_path: Path) -> None:
    store = store_for(hub, tmp_path)
    plan = make_plan(store, "tiny")

    def break_and_fail(done: int, total: int, what: str) -> None:
        hub.storage_status = 503  # from now on, for the retries

    hub.break_after = 120_000
    with pytest.raises(DownloadError, match=r"Run it again|Try again"):
        pull.pull(store, plan, break_and_fail)
    assert store.find("tiny") is None
    hub.storage_status = 200
    again = store_for(hub, tmp_path)
    plan = make_plan(again, "tiny")
    assert plan.download_bytes == sum(map(len, hub.files.values())) - 120_000
    assert (pull.pull(again, plan).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS
    assert hub.downloads("model-q4_k.gguf")[-1].start == 120_000


def test_a_run_that_was_stopped_by_ctrl_c_is_resumed(store: Store, hub: FakeHub) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull.pull(store, make_plan(store, "tiny"), stop)
    assert get(store).folder.is_dir()
    assert hub.downloads("/storage/test/tiny-GGUF/model-q4_k.gguf")[-1].start == 10_000


def test_a_link_that_ran_out_is_asked_for_again(store: Store, hub: FakeHub) -> None:
    hub.links_work_once, hub.break_after = True, 80_000
    assert (get(store).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS
    starts = [request.start for request in hub.downloads("/storage/test/tiny-GGUF/model-q4_k.gguf")]
    # Broken, perhaps refused on the old link (newer clients try it once more), let through on a new one.
    assert starts[0] == 0 and set(starts[1:]) == {80_000}


# ---- wrong content ----


def test_wrong_content_is_removed_and_named(store: Store, hub: FakeHub, tmp_path: Path) -> None:
    hub.corrupt = True
    with pytest.raises(ChecksumError, match=r"model-q4_k\.gguf"):
        get(store)
    assert store.find("tiny") is None
    assert not any(path.stat().st_size >= len(WEIGHTS) for path in cache_files(tmp_path))
    hub.corrupt = False
    assert (get(store).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS


def test_content_that_the_hub_vouches_for_but_the_catalog_does_not_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    store = store_for(hub, tmp_path)
    hub.files["test/tiny-GGUF", "model-q4_k.gguf"] = bytes(300_000)
    with pytest.raises(ChecksumError):
        get(store)


def test_a_changed_small_file_is_refused_too(hub: FakeHub, tmp_path: Path) -> None:
    store = store_for(hub, tmp_path)
    hub.files["test/tiny-GGUF", "tiny-config.json"] = b'{"dim": 65}'
    with pytest.raises(ChecksumError, match=r"tiny-config\.json"):
        get(store)


def test_a_damaged_file_in_the_cache_is_fetched_again(store: Store, tmp_path: Path) -> None:
    get(store)
    store.remove("tiny", keep_downloads=True)
    cached = tmp_path / "cache" / "models--test--tiny-GGUF" / "snapshots" / COMMIT / "model-q4_k.gguf"
    cached.resolve().write_bytes(bytes(300_000))
    assert (get(store).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS


def test_a_partial_file_of_another_size_does_no_harm(store: Store, hub: FakeHub) -> None:
    state = make_plan(store, "tiny").states["model-q4_k.gguf"]
    partial = store.hub._partial(state.file, state.etag)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(400_000))
    assert store.hub.fetch(state).read_bytes() == WEIGHTS


def test_a_partial_file_of_other_content_is_found_out(store: Store, hub: FakeHub) -> None:
    state = make_plan(store, "tiny").states["model-q4_k.gguf"]
    partial = store.hub._partial(state.file, state.etag)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(200_000))
    with pytest.raises(ChecksumError):
        store.hub.fetch(make_plan(store, "tiny").states["model-q4_k.gguf"])
    assert (get(store).folder / "model-q4_k.gguf").read_bytes() == WEIGHTS


# ---- no room, no network, no permission ----


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    store: Store, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "free_bytes", lambda _: 100_000)
    with pytest.raises(DiskSpaceError, match="100 kB are free"):
        get(store)
    assert not hub.downloads(".gguf")


def test_a_disk_that_fills_up_meanwhile_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download._Counted, "write", full)
    with pytest.raises(DiskSpaceError, match="disk became full"):
        get(store)


def test_offline_says_what_is_missing_and_uses_no_network(hub: FakeHub, tmp_path: Path) -> None:
    store = store_for(hub, tmp_path, offline=True)
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE"):
        get(store)
    assert not hub.requests


def test_offline_installs_what_the_cache_already_holds(hub: FakeHub, tmp_path: Path) -> None:
    get(store_for(hub, tmp_path))
    hub.requests.clear()
    store = store_for(hub, tmp_path, offline=True)
    store.remove("tiny", keep_downloads=True)
    assert get(store).folder.is_dir() and not hub.requests


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_names_the_three_steps(hub: FakeHub, tmp_path: Path, status: int) -> None:
    hub.gated["test/tiny-GGUF"] = status
    with pytest.raises(GatedModelError) as caught:
        get(store_for(hub, tmp_path, gated=("test/tiny-GGUF",)))
    text = str(caught.value)
    assert all(
        step in text
        for step in (
            "1. Open",
            "test/tiny-GGUF",
            "accept the licence",
            "2. Make",
            "3. Run",
            "hf auth login",
            "HF_TOKEN",
        )
    )
    assert str(status) not in text.replace(str(hub.url), "")


def test_a_gated_model_opens_with_the_right_token(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated["test/tiny-GGUF"], hub.token = 403, "hf_accepted"
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert get(store_for(hub, tmp_path, gated=("test/tiny-GGUF",))).folder.is_dir()


def test_a_moved_file_is_named(store: Store, hub: FakeHub) -> None:
    del hub.files["test/tiny-GGUF", "model-q4_k.gguf"]
    with pytest.raises(DownloadError, match=r"no longer has test/tiny-GGUF/model-q4_k\.gguf"):
        get(store)


def test_a_withdrawn_repository_is_named(store: Store, hub: FakeHub) -> None:
    del hub.files["test/common", "mimi.gguf"]
    with pytest.raises(DownloadError, match="no longer has test/common"):
        get(store)


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_in_trouble_is_not_the_users_fault(store: Store, hub: FakeHub, status: int) -> None:
    hub.status = status
    with pytest.raises(DownloadError, match="Try again later"):
        get(store)


def test_a_hub_that_is_not_there_is_named(hub: FakeHub, tmp_path: Path) -> None:
    store = Store(tmp_path / "models", Hub("http://127.0.0.1:9", tmp_path / "cache"), catalog_of(hub, MODELS))
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9 cannot be reached"):
        get(store)


def test_something_that_is_no_hub_is_recognised(store: Store, hub: FakeHub) -> None:
    hub.commit = ""
    with pytest.raises(DownloadError, match="does not answer as the hub does"):
        get(store)


def test_an_unknown_model_is_not_looked_for_on_the_network(store: Store, hub: FakeHub) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean tiny"):
        get(store, "tini")
    with pytest.raises(ModelNotFoundError, match="no variant 'q2'"):
        get(store, "tiny:q2")
    assert not hub.requests


# ---- conversion ----


def test_a_variant_that_nobody_publishes_is_made_by_conversion(tmp_path: Path) -> None:
    names = {
        "model.safetensors": FIXTURES / "moshi" / "model.safetensors",
        "config.json": FIXTURES / "moshi" / "config.json",
    }
    hub = FakeHub({("test/tiny", name): path.read_bytes() for name, path in names.items()})
    model = MODELS["tiny"] | {
        "default": "bf16",
        "original": {
            "files": {name: f"test/tiny/{name}" for name in names},
            "config": {"moshi_name": "model.safetensors"},
        },
        "variants": {"bf16": {"quantize": "bf16", "megabytes": 1}},
    }
    with serving(hub):
        store = Store(tmp_path / "models", Hub(hub.url, tmp_path / "cache"), catalog_of(hub, {"tiny": model}))
        made = get(store)
        assert (made.folder / "model-bf16.gguf").read_bytes()[:4] == b"GGUF"
        assert json.loads((made.folder / "config.json").read_text())["moshi_name"] == "model-bf16.gguf"
        assert not store.verify("tiny")
        assert not list(made.folder.glob("*.safetensors")) and not list(made.folder.glob(".*"))
        freed = store.remove("tiny")
        assert freed > len(hub.files["test/tiny", "model.safetensors"])
        assert not [path for path in cache_files(tmp_path) if path.suffix == ".safetensors" or "blobs" in path.parts]
