"""Voices are found by name, by file or made of a recording; the user's own are kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pymoshi.errors import AudioFileError, VoiceError
from pymoshi.voices import BUILTIN, Voice, VoiceLibrary, resolve_voice
from pymoshi.voices.files import read_voice_file

FIXTURES = Path(__file__).parent / "fixtures" / "personaplex"


def encode(pcm: NDArray[np.float32]) -> NDArray[np.int32]:
    """A codec that hears nothing but the length."""
    return np.tile(np.arange(pcm.size // 1920, dtype=np.int32), (8, 1))


@pytest.fixture
def library(tmp_path: Path) -> VoiceLibrary:
    return VoiceLibrary(tmp_path / "library")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with two voices."""
    voices = tmp_path / "model" / "voices"
    voices.mkdir(parents=True)
    (voices / "NATF2.pt").write_bytes((FIXTURES / "voice.pt").read_bytes())
    write_safetensors(voices / "NATM0.safetensors")
    return tmp_path / "model"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "me.wav"
    tone = np.sin(np.arange(44100 * 2) / 20) * 0.1
    soundfile.write(path, np.stack([tone, tone], 1), 44100)
    return path


def write_safetensors(path: Path, **changes: NDArray[np.generic]) -> Path:
    golden = load_file(FIXTURES / "golden.safetensors")
    tensors = {"embeddings": golden["voice_pt.embeddings"], "cache": golden["voice_pt.cache"]} | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor.size}, path)
    return path


# ---- names and files ----


def same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def test_eighteen_voices_have_names() -> None:
    assert len(BUILTIN) == len(set(BUILTIN)) == 18
    assert {"NATF0", "NATF3", "NATM3", "VARF4", "VARM4"} <= set(BUILTIN)
    assert "NATF4" not in BUILTIN


@pytest.mark.parametrize("spec", ["NATF2", "natf2", "NATF2.pt"])
def test_a_named_voice_is_found_in_the_model_folder(model: Path, library: VoiceLibrary, spec: str) -> None:
    voice = resolve_voice(spec, search=[model], library=library)
    assert voice.name == "NATF2" and voice.embeddings is not None and voice.embeddings.shape == (19, 32)


def test_pt_and_safetensors_give_the_same_voice(model: Path, library: VoiceLibrary) -> None:
    ours = resolve_voice("NATM0", search=[model], library=library)
    theirs = resolve_voice("NATF2", search=[model], library=library)
    assert same(ours.embeddings, theirs.embeddings)
    assert same(ours.cache, theirs.cache)


@pytest.mark.parametrize("bits", [np.float16, np.float64])
def test_other_float_types_become_float32(tmp_path: Path, bits: type[np.floating]) -> None:
    golden = load_file(FIXTURES / "golden.safetensors")["voice_pt.embeddings"].astype(bits)
    voice = read_voice_file(write_safetensors(tmp_path / "v.safetensors", embeddings=golden))
    assert voice.embeddings is not None and voice.embeddings.dtype == np.float32
    assert np.array_equal(voice.embeddings, golden.reshape(19, 32).astype(np.float32))


def test_bfloat16_safetensors_are_widened(tmp_path: Path) -> None:
    bits = np.array([[0x3F80, 0xC000], [0x4049, 0x0001]], "<u2")
    cache = np.zeros((1, 17, 4), "<i4")
    header = json.dumps(
        {
            "embeddings": {"dtype": "BF16", "shape": [2, 1, 1, 2], "data_offsets": [0, 8]},
            "cache": {"dtype": "I32", "shape": [1, 17, 4], "data_offsets": [8, 8 + cache.nbytes]},
        }
    ).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes() + cache.tobytes())
    voice = read_voice_file(path)
    assert voice.embeddings is not None
    assert np.array_equal(voice.embeddings, (bits.astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.zeros(0, np.float32)}, "embeddings"),
        ({"cache": np.zeros(0, np.int64)}, "cache"),
        ({"embeddings": np.zeros((3, 2, 1, 8), np.float32)}, "shape"),
        ({"embeddings": np.zeros((3000, 1, 1, 8), np.float32)}, "3000 frames"),
        ({"embeddings": np.full((3, 1, 1, 8), np.inf, np.float32)}, "not finite"),
        ({"embeddings": np.zeros((3, 1, 1, 8), np.int32)}, "floating"),
        ({"cache": np.zeros((2, 17, 4), np.int64)}, "shape"),
        ({"cache": np.zeros((1, 17, 4), np.float32)}, "integer"),
        ({"cache": np.full((1, 17, 4), 1 << 40, np.int64)}, "no tokens"),
        ({"cache": np.full((1, 17, 4), -3, np.int64)}, "no tokens"),
    ],
)
def test_misshapen_voices_are_refused(tmp_path: Path, changes: dict[str, NDArray[np.generic]], message: str) -> None:
    with pytest.raises(VoiceError, match=message):
        read_voice_file(write_safetensors(tmp_path / "v.safetensors", **changes))


def test_truncated_safetensors_voice_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = write_safetensors(tmp_path / "v.safetensors").read_bytes()
    for length in range(0, len(whole), 101):
        (tmp_path / "v.safetensors").write_bytes(whole[:length])
        with pytest.raises(VoiceError):
            read_voice_file(tmp_path / "v.safetensors")


# ---- what is not there ----


def test_unknown_names_list_what_is_close_and_where_was_looked(model: Path, library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError) as caught:
        resolve_voice("NATF9", search=[model], library=library)
    assert "NATF" in str(caught.value) and "Did you mean" in str(caught.value)
    assert str(model / "voices") in str(caught.value) and str(library.folder) in str(caught.value)


def test_a_missing_builtin_voice_says_how_to_get_it(model: Path, library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError, match="pymoshi pull personaplex"):
        resolve_voice("VARM4", search=[model], library=library)


@pytest.mark.parametrize("spec", ["", " ", "none/such.wav", "../../etc/passwd", "/nowhere/x.pt", "."])
def test_paths_to_nothing_are_refused(spec: str, library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError):
        resolve_voice(spec, library=library)


# ---- recordings ----


def test_any_recording_becomes_a_voice(recording: Path, library: VoiceLibrary) -> None:
    voice = resolve_voice(recording, encode=encode, codec="abc", library=library)
    assert voice.codes is not None and voice.codes.shape == (8, 25) and voice.codes.dtype == np.int32
    assert (voice.name, voice.codec, voice.embeddings) == ("me", "abc", None)


def test_a_recording_without_a_codec_says_what_is_needed(recording: Path, library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError, match="codec"):
        resolve_voice(recording, library=library)


def test_a_codec_with_other_codebooks_is_refused(recording: Path, library: VoiceLibrary) -> None:
    with pytest.raises(VoiceError, match="shape"):
        resolve_voice(recording, encode=lambda pcm: encode(pcm)[:4], library=library)


def test_a_file_that_is_no_sound_is_refused(tmp_path: Path, library: VoiceLibrary) -> None:
    (tmp_path / "x.wav").write_text("hello")
    with pytest.raises(AudioFileError):
        resolve_voice(tmp_path / "x.wav", encode=encode, library=library)


# ---- the library ----


def make(name: str, frames: int = 25) -> Voice:
    return Voice(name, "/home/someone/me.wav", codes=encode(np.zeros(1920 * frames, np.float32)), codec="abc")


def test_a_kept_voice_comes_back_equal(library: VoiceLibrary) -> None:
    library.add(make("me"))
    voice = resolve_voice("me", library=library)
    assert same(voice.codes, make("me").codes) and voice.codec == "abc"
    saved = library.show("me")
    assert (saved.source, saved.seconds, saved.codec) == ("me.wav", 2.0, "abc")
    assert library.names() == ["me"]


def test_only_the_file_name_of_a_recording_is_kept(library: VoiceLibrary) -> None:
    assert b"someone" not in library.add(make("me")).path.read_bytes()


def test_a_kept_voice_is_not_overwritten_unasked(library: VoiceLibrary) -> None:
    library.add(make("me"))
    with pytest.raises(VoiceError, match="already"):
        library.add(make("me", 30))
    assert library.load("me").n_frames == 25
    library.add(make("me", 30), replace=True)
    assert library.load("me").n_frames == 30


def test_a_removed_voice_is_gone(library: VoiceLibrary) -> None:
    path = library.add(make("me")).path
    library.remove("me")
    assert not path.exists() and "me" not in library
    with pytest.raises(VoiceError, match="'me'"):
        library.remove("me")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "../x",
        ".hidden",
        "a b",
        "é",
        "x" * 65,
        "NATF0",
        "varm4",
        "con",
        "NUL",
        "-x",
        "a\n",
    ],
)
def test_unusable_names_are_refused(library: VoiceLibrary, name: str) -> None:
    with pytest.raises(VoiceError):
        library.add(make(name))
    assert library.names() == []


@pytest.mark.parametrize("name", ["../model", "..", "/etc/passwd", "NATF2", ""])
def test_nothing_outside_of_the_library_can_be_removed(library: VoiceLibrary, model: Path, name: str) -> None:
    save_file({"codes": np.zeros((8, 2), np.int32)}, library.folder.parent / "model.safetensors")
    with pytest.raises(VoiceError):
        library.remove(name)
    assert (library.folder.parent / "model.safetensors").exists()


@pytest.mark.parametrize("size", [0, 4, 20, 150, 400])
def test_damaged_kept_voices_are_refused(library: VoiceLibrary, size: int) -> None:
    path = library.add(make("me")).path
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(VoiceError):
        library.load("me")


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((7, 4), np.int32),
        np.zeros((8, 0), np.int32),
        np.full((8, 4), -1, np.int32),
        np.full((8, 4), 1 << 20, np.int32),
        np.zeros((8, 4), np.float32),
        np.zeros(8, np.int32),
    ],
)
def test_kept_voices_with_impossible_codes_are_refused(library: VoiceLibrary, codes: NDArray[np.generic]) -> None:
    library.folder.mkdir(parents=True)
    metadata = {"pymoshi_voice": "1", "seconds": "2.0", "source": "", "created": "", "codec": ""}
    save_file({"codes": codes}, library.folder / "me.safetensors", metadata)
    with pytest.raises(VoiceError, match="damaged"):
        library.load("me")


def test_a_ready_voice_file_need_not_be_kept(library: VoiceLibrary) -> None:
    voice = read_voice_file(FIXTURES / "voice.pt")
    with pytest.raises(VoiceError, match="use its path"):
        library.add(Voice("me", voice.source, voice.embeddings, voice.cache))


def test_the_library_is_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "home"))
    assert VoiceLibrary().folder == tmp_path / "home" / "voices"
    assert VoiceLibrary().names() == []
    assert not (tmp_path / "home").exists()
