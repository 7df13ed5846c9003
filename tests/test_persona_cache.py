"""The second start with a voice and a prompt takes their state from disk, and nobody can tell the difference."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Model, Session, priming
from pymoshi.audio import files
from pymoshi.persona_cache import PersonaCache, key_of

PROMPT = "You enjoy having a good conversation."


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is, empty at first."""
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache" / "primed"


@pytest.fixture
def voice(fixtures: Path, tmp_path: Path) -> Path:
    """A recording."""
    return Path(shutil.copy(fixtures / "personaplex" / "voice.wav", tmp_path / "me.wav"))


@pytest.fixture(scope="module")
def heard(fixtures: Path) -> NDArray[np.float32]:
    return files.read(fixtures / "personaplex" / "user.wav").reshape(-1, 1920)[:15]


@pytest.fixture
def primings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The prompts that were computed, not found."""
    computed: list[str] = []
    prime = priming.prime

    def counted(session: Any, model: Any, script: priming.Script, *others: Any) -> None:
        computed.append(script.prompt)
        prime(session, model, script, *others)

    monkeypatch.setattr(priming, "prime", counted)
    yield computed


def said(session: Session, heard: NDArray[np.float32]) -> list[tuple[int | None, bytes]]:
    return [(frame.text_token, frame.audio.tobytes()) for frame in session.run(heard)]


def converse(model: Model, heard: NDArray[np.float32], **options: Any) -> list[tuple[int | None, bytes]]:
    with model.session(**options) as session:
        return said(session, heard)


# ---- hits ----


def test_second_start_computes_nothing_and_says_the_same(
    plex: Model, voice: Path, heard: NDArray[np.float32], primings: list[str]
) -> None:
    first = converse(plex, heard, voice=voice, prompt=PROMPT, seed=3)
    assert converse(plex, heard, voice=voice, prompt=PROMPT, seed=3) == first
    assert primings == [PROMPT]


def test_kept_state_goes_on_as_one_computed_without_a_cache(
    plex: Model, voice: Path, heard: NDArray[np.float32], primings: list[str]
) -> None:
    expected = converse(plex, heard, voice=voice, prompt=PROMPT, seed=3, cache=False)
    for _ in range(2):
        assert converse(plex, heard, voice=voice, prompt=PROMPT, seed=3) == expected
    assert len(primings) == 2


def test_second_start_does_not_encode_the_recording(
    plex: Model, voice: Path, monkeypatch: pytest.MonkeyPatch, primings: list[str]
) -> None:
    plex.session(voice=voice).close()
    monkeypatch.setattr(pymoshi.Mimi, "encode", None)  # it would be a TypeError
    plex.session(voice=voice).close()
    assert len(primings) == 1


def test_sampling_and_seed_are_those_that_were_asked_for(
    plex: Model, heard: NDArray[np.float32], primings: list[str]
) -> None:
    hot: dict[str, Any] = {"prompt": PROMPT, "seed": 9, "temperature": 0.9, "top_k": 40, "text_top_k": 3}
    expected = converse(plex, heard, **hot, cache=False)
    cool = converse(plex, heard, prompt=PROMPT, seed=4, temperature=0.1)
    with plex.session(**hot) as session:
        assert (session.seed, session.sampling["top_k"]) == (9, 40)
        assert said(session, heard) == expected
    assert cool != expected
    assert len(primings) == 2


def test_recording_under_another_name_is_the_same_voice(plex: Model, voice: Path, primings: list[str]) -> None:
    plex.session(voice=voice).close()
    plex.session(voice=voice.rename(voice.with_name("you.wav"))).close()
    assert len(primings) == 1


# ---- misses ----


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "You enjoy having a bad conversation."},
        {"prompt": None},
        {"context": 40},
        {"kv_type": "f32"},
        {"window": "legacy"},
        {"flash": False},
        {"voice": None},
    ],
)
def test_what_decides_the_state_is_told_apart(
    changed: dict[str, Any], plex: Model, voice: Path, heard: NDArray[np.float32], primings: list[str]
) -> None:
    usual: dict[str, Any] = {"voice": voice, "prompt": PROMPT, "seed": 1, "temperature": 0, "text_temperature": 0}
    converse(plex, heard, **usual)
    other = converse(plex, heard, **usual | changed)
    assert len(primings) == 2
    assert other == converse(plex, heard, **usual | changed, cache=False)


def test_another_recording_under_the_same_name_is_another_voice(
    plex: Model, voice: Path, fixtures: Path, primings: list[str]
) -> None:
    plex.session(voice=voice).close()
    shutil.copy(fixtures / "personaplex" / "user.wav", voice)
    plex.session(voice=voice).close()
    assert len(primings) == 2


def test_ready_voice_and_its_recording_are_told_apart(
    plex: Model, voice: Path, fixtures: Path, primings: list[str]
) -> None:
    plex.session(voice=voice).close()
    plex.session(voice=fixtures / "personaplex" / "voice.pt").close()
    assert len(primings) == 2


def test_another_model_has_its_own(
    plex: Model, fixtures: Path, tmp_path: Path, device: str, folder: Path, primings: list[str]
) -> None:
    from pymoshi.hub.convert import convert

    plex.session(prompt=PROMPT).close()
    other = convert(fixtures / "personaplex", tmp_path / "bf16", quantize="bf16", mimi_type="f32")
    with pymoshi.load(other, device=device, threads=1) as model:
        model.session(prompt=PROMPT).close()
    assert len(primings) == len(list(folder.iterdir())) == 2


def test_nothing_is_kept_if_it_is_not_wanted(
    plex: Model, folder: Path, primings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plex.session(prompt=PROMPT, cache=False).close()
    plex.session(prompt=PROMPT, taps=True).close()
    monkeypatch.setenv("PYMOSHI_CACHE_MB", "0")
    plex.session(prompt=PROMPT).close()
    assert not folder.exists()
    assert len(primings) == 3


@pytest.mark.parametrize("limit", ["much", "-1", "nan", "inf"])
def test_limit_that_is_no_number_is_named(limit: str, plex: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMOSHI_CACHE_MB", limit)
    with pytest.raises(pymoshi.InputError, match="PYMOSHI_CACHE_MB"):
        plex.session(prompt=PROMPT)


def test_interrupted_prompt_is_not_kept(plex: Model, folder: Path) -> None:
    with pytest.raises(pymoshi.Cancelled):
        plex.session(prompt=PROMPT, progress=lambda fraction: False)
    assert not folder.exists()


# ---- damage ----


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: flipped(content, 3),
        lambda content: flipped(content, content.index(b'"size"') + 9),
        lambda content: flipped(content, content.index(b"}\n") + 2),
        lambda content: flipped(content, content.index(b"}\n") + 12),
        lambda content: flipped(content, len(content) - 100),
        lambda content: content.replace(b'"frames": ', b'"frames": -'),
        lambda content: content[: content.index(b"\n") + 1] + b"[" * 100000 + b"\n",
    ],
)  # fmt: skip
def test_damaged_entry_is_computed_again(
    damage: Any, plex: Model, heard: NDArray[np.float32], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = converse(plex, heard, prompt=PROMPT, seed=2)
    (entry,) = folder.iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    assert converse(plex, heard, prompt=PROMPT, seed=2) == expected
    if b'"frames": -' not in entry.read_bytes():  # which decides nothing
        assert "computed again" in caplog.text
        assert entry.read_bytes() == sound


def test_entry_of_another_key_is_not_mistaken(plex: Model, folder: Path, primings: list[str]) -> None:
    plex.session(prompt="You are one.").close()
    (one,) = folder.iterdir()
    plex.session(prompt="You are another.").close()
    (another,) = set(folder.iterdir()) - {one}
    shutil.copy(one, another)
    plex.session(prompt="You are another.").close()
    assert primings == ["You are one.", "You are another.", "You are another."]


def test_state_of_another_version_is_computed_again(
    plex: Model, folder: Path, heard: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    expected = converse(plex, heard, prompt=PROMPT, seed=2)
    (entry,) = folder.iterdir()
    content = bytearray(entry.read_bytes())
    content[content.index(b"MOSHISNP") + 8] += 1  # the engine's own version of its snapshots
    entry.write_bytes(content)
    assert converse(plex, heard, prompt=PROMPT, seed=2) == expected
    assert "version" in caplog.text


def test_folder_that_cannot_be_used_costs_no_conversation(
    plex: Model, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    with plex.session(prompt=PROMPT) as session:
        session.step(np.zeros(1920, np.float32))
    assert "cannot be kept" in caplog.text


# ---- the folder ----


def keep(cache: PersonaCache, name: str, n_bytes: int, used: float) -> str:
    key = key_of(name=name)
    cache.store(key, np.zeros(n_bytes, np.uint8), model="m", voice="v", prompt=name, frames=1)
    path = cache.folder / f"{key}.primed"
    if path.exists():
        os.utime(path, (used, used))
    return key


def prompts(cache: PersonaCache) -> list[str]:
    return [entry.prompt for entry in cache.entries()]


def test_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = PersonaCache(tmp_path / "c", limit_mb=0.0035)
    oldest = keep(cache, "oldest", 1000, 1e9)
    keep(cache, "old", 1000, 1.1e9)
    assert cache.load(oldest) is not None  # which makes it the last used one
    keep(cache, "new", 1000, 4e9)
    assert sorted(prompts(cache)) == ["new", "oldest"]
    assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= 3500


def test_bound_holds_whatever_comes(tmp_path: Path) -> None:
    cache = PersonaCache(tmp_path / "c", limit_mb=0.005)
    for index in range(20):
        keep(cache, f"p{index}", 1000 + 100 * index, 1e9 + index)
        assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= 5000
    assert prompts(cache)[0] == "p19"


def test_state_beyond_the_bound_is_not_kept(tmp_path: Path) -> None:
    cache = PersonaCache(tmp_path / "c", limit_mb=0.005)
    keep(cache, "small", 1000, 1e9)
    keep(cache, "large", 6000, 1e9)
    assert prompts(cache) == ["small"]


def test_files_of_crashed_processes_are_removed(tmp_path: Path) -> None:
    cache = PersonaCache(tmp_path / "c", limit_mb=1)
    cache.folder.mkdir()
    for name, modified in (("left.partial", 1e9), ("being-written.partial", 4e9)):
        (cache.folder / name).write_bytes(b"x")
        os.utime(cache.folder / name, (modified, modified))
    keep(cache, "one", 10, 1e9)
    assert {path.name for path in cache.folder.glob("*.partial")} == {"being-written.partial"}


def test_clear_leaves_nothing(plex: Model, folder: Path, primings: list[str]) -> None:
    plex.session(prompt=PROMPT).close()
    plex.session().close()
    assert PersonaCache().clear()[0] == 2
    assert not list(folder.iterdir())
    assert PersonaCache().entries() == []
    plex.session(prompt=PROMPT).close()
    assert len(primings) == 3


def test_entries_say_what_they_are(plex: Model, voice: Path, folder: Path) -> None:
    plex.session(voice=voice, prompt=f" {PROMPT}\n").close()
    (folder / "foreign.primed").write_bytes(b"nothing of ours")
    (entry,) = PersonaCache().entries()
    assert (entry.model, entry.voice, entry.prompt, entry.frames) == (plex.name, "me.wav", PROMPT, 66)
    assert entry.n_bytes == entry.path.stat().st_size


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_prompts_are_for_their_owner_s_eyes(plex: Model, folder: Path) -> None:
    plex.session(prompt=PROMPT).close()
    (entry,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o077, entry.stat().st_mode & 0o077) == (0, 0)
