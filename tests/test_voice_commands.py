"""`pymoshi voice` and `pymoshi persona`, and voices of every kind of file through the engine's own reader."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fake_hub import FakeHub, serving
from pymoshi.errors import VoiceError
from pymoshi.voices import VoiceLibrary, resolve_voice
from pymoshi.voices.files import read_voice_file

PLEX = Path(__file__).parent / "fixtures" / "personaplex"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_gguf(path: Path, **tensors: NDArray[Any]) -> Path:
    """A voice file of the existing layout: no metadata, two tensors."""
    golden = load_file(PLEX / "golden.safetensors")
    contents = {
        "voice.embeddings": golden["voice_pt.embeddings"],
        "voice.cache": golden["voice_pt.cache"].astype(np.int32),
    } | {f"voice.{name}": tensor for name, tensor in tensors.items()}
    writer = GGUFWriter(path, "voice")
    for name, tensor in contents.items():
        if tensor.size:
            writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


# ---- .gguf voices ----


def test_gguf_and_pt_give_the_same_voice(tmp_path: Path) -> None:
    ours, theirs = read_voice_file(write_gguf(tmp_path / "v.gguf")), read_voice_file(PLEX / "voice.pt")
    assert same(ours.embeddings, theirs.embeddings)
    assert same(ours.cache, theirs.cache)


def test_half_precision_gguf_voices_are_widened(tmp_path: Path) -> None:
    half = load_file(PLEX / "golden.safetensors")["voice_pt.embeddings"].astype(np.float16)
    voice = read_voice_file(write_gguf(tmp_path / "v.gguf", embeddings=half))
    assert voice.embeddings is not None
    assert np.array_equal(voice.embeddings, half.reshape(19, 32).astype(np.float32))


def test_a_gguf_voice_of_one_frame_keeps_its_axes(tmp_path: Path) -> None:
    voice = read_voice_file(write_gguf(tmp_path / "v.gguf", embeddings=np.ones((1, 1, 1, 32), np.float32)))
    assert voice.embeddings is not None and voice.embeddings.shape == (1, 32)


@pytest.mark.parametrize("missing", ["embeddings", "cache"])
def test_a_gguf_file_without_a_voice_is_refused(tmp_path: Path, missing: str) -> None:
    path = write_gguf(tmp_path / "v.gguf", **{missing: np.zeros(0, np.float32)})
    with pytest.raises(VoiceError, match=missing):
        read_voice_file(path)


def test_a_truncated_gguf_voice_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "v.gguf").read_bytes()
    for length in range(0, len(whole) - 32, 97):
        (tmp_path / "v.gguf").write_bytes(whole[:length])
        with pytest.raises(VoiceError):
            read_voice_file(tmp_path / "v.gguf")


# ---- making a voice with a real codec ----


def test_a_voice_added_from_a_recording_has_the_references_codes(personaplex_folder: Path, run_pymoshi: Run) -> None:
    done = run_pymoshi("voice", "add", "me", PLEX / "voice.wav", "--model", personaplex_folder)
    assert done.returncode == 0, done.stderr
    voice = resolve_voice("me")
    golden = load_file(PLEX / "golden.safetensors")["voice_codes"][0]
    assert voice.codes is not None and np.array_equal(voice.codes, golden)
    shown = json.loads(run_pymoshi("voice", "show", "me").stdout)
    assert (shown["source"], shown["seconds"], len(shown["codec"])) == ("voice.wav", 1.6, 16)
    assert "me" in {entry["name"] for entry in json.loads(run_pymoshi("voice", "list", "--json").stdout)}
    assert run_pymoshi("voice", "remove", "me", "--yes").returncode == 0
    assert VoiceLibrary().names() == []


def test_names_are_checked_before_anything_is_loaded(run_pymoshi: Run) -> None:
    for name, message in [("NATF0", "PersonaPlex"), ("a/b", "letters, digits")]:
        done = run_pymoshi("voice", "add", name, PLEX / "voice.wav", "--model", "nowhere")
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_missing_model_is_named_with_the_command_that_gets_it(run_pymoshi: Run) -> None:
    done = run_pymoshi("voice", "add", "me", PLEX / "voice.wav")
    assert done.returncode == 2 and "pymoshi pull personaplex" in done.stderr


@pytest.mark.parametrize("command", [("voice", "--help"), ("voice", "add", "--help")])
def test_the_help_speaks_of_consent(run_pymoshi: Run, command: tuple[str, ...]) -> None:
    assert "consent" in " ".join(run_pymoshi(*command).stdout.split())


def test_a_damaged_voice_is_listed_as_such(run_pymoshi: Run, home: Path) -> None:
    (home / "voices").mkdir(parents=True)
    (home / "voices" / "bad.safetensors").write_bytes(b"nothing")
    done = run_pymoshi("voice", "list")
    assert done.returncode == 0 and "damaged" in done.stdout and "VARM4" in done.stdout
    assert run_pymoshi("voice", "show", "bad").returncode == 2
    assert run_pymoshi("voice", "remove", "bad", "-y").returncode == 0


# ---- personas ----


def test_personas_are_listed_and_shown(run_pymoshi: Run, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "personas.toml").write_text('[pirate]\nprompt = "You are a pirate."\n')
    listed = {entry["name"]: entry for entry in json.loads(run_pymoshi("persona", "list", "--json").stdout)}
    assert listed["pirate"]["file"] == str(home / "config" / "personas.toml") and listed["teacher"]["file"] is None
    assert "pirate" in run_pymoshi("persona", "list").stdout
    shown = json.loads(run_pymoshi("persona", "show", "pirate").stdout)
    assert shown["as the model reads it"] == "<system> You are a pirate. <system>"
    unknown = run_pymoshi("persona", "show", "pirat")
    assert unknown.returncode == 2 and "Did you mean pirate" in unknown.stderr


# ---- the whole way, as a person goes it ----


def test_nothing_is_fetched_when_a_model_is_missing(run_pymoshi: Run, tmp_path: Path) -> None:
    shutil.copy(PLEX / "user.wav", tmp_path / "in.wav")
    blocked = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = run_pymoshi("talk", "--model", "moshika", "-i", "in.wav", "-o", "out.wav", env=blocked)
    assert done.returncode == 2 and "pymoshi pull moshika:q4_k" in done.stderr
    assert not (tmp_path / "hf").exists() and not (tmp_path / "out.wav").exists()


def test_a_gated_model_ends_with_the_three_steps_and_code_2(run_pymoshi: Run, tmp_path: Path) -> None:
    gated = FakeHub({("nvidia/personaplex-7b-v1", "model.safetensors"): b"x"}, gated={"nvidia/personaplex-7b-v1": 401})
    with serving(gated) as hub:
        places = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_not_accepted"}
        done = run_pymoshi("pull", "personaplex:bf16", env=places)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(step in done.stderr for step in ("1. Open", "2. Make a token", "3. Run `hf auth login`"))
    assert {request.token for request in hub.requests if "/resolve/" in request.path} == {"hf_not_accepted"}


def test_pull_offline_and_without_a_hub_end_with_code_2(run_pymoshi: Run, tmp_path: Path) -> None:
    places = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    offline = run_pymoshi("pull", "moshika", env={**places, "HF_HUB_OFFLINE": "1"})
    assert offline.returncode == 2 and "HF_HUB_OFFLINE" in offline.stderr
    unreachable = run_pymoshi("pull", "moshika", env=places)
    assert unreachable.returncode == 2 and "cannot be reached" in unreachable.stderr
    assert "Traceback" not in offline.stderr + unreachable.stderr
    assert not [path for path in Path(os.environ["PYMOSHI_HOME"]).rglob("*") if path.is_file()]
