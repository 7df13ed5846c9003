"""Files are found where people have them, and what is missing is named."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from checkpoints import FIXTURES
from pymoshi.errors import InputError, ModelFormatError, ModelNotFoundError
from pymoshi.hub.convert import convert
from pymoshi.hub.gguf_header import read_gguf_header
from pymoshi.hub.layout import resolve

UPSTREAM = FIXTURES / "upstream"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(FIXTURES / "personaplex", tmp_path_factory.mktemp("models") / "plex")


@pytest.fixture
def existing(tmp_path: Path, converted: Path) -> Path:
    """Folders as people have them: model and config in one, codec and tokenizer in moshi-common beside it."""
    folder, common = tmp_path / "moshika-q4_k-GGUF", tmp_path / "moshi-common"
    folder.mkdir()
    common.mkdir()
    shutil.copy(UPSTREAM / "tiny-moshi-q4_k.gguf", folder / "model-q4_k.gguf")
    shutil.copy(UPSTREAM / "tiny-moshi-config.json", folder / "config.json")
    shutil.copy(converted / "mimi-f16.gguf", common / "mimi-e351c8d8-125.gguf")
    shutil.copy(converted / "tokenizer.model", common / "tokenizer_spm_32k_3.model")
    return folder


def test_a_converted_folder_needs_nothing_else(converted: Path) -> None:
    files = resolve(converted)
    assert (files.lm, files.mimi) == (converted / "model-bf16.gguf", converted / "mimi-f16.gguf")
    assert files.tokenizer == converted / "tokenizer.model"
    assert files.lm_metadata is None
    assert files.mimi_metadata is None
    assert not files.missing


def test_a_folder_is_told_by_content_without_config(converted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "renamed"
    shutil.copytree(converted, folder)
    (folder / "config.json").unlink()
    (folder / "model-bf16.gguf").rename(folder / "a.gguf")
    (folder / "mimi-f16.gguf").rename(folder / "b.gguf")
    files = resolve(folder)
    assert (files.lm, files.mimi) == (folder / "a.gguf", folder / "b.gguf")


def test_the_file_that_config_names_is_preferred(converted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    shutil.copytree(converted, folder)
    shutil.copy(folder / "model-bf16.gguf", folder / "another.gguf")
    assert resolve(folder).lm == folder / "model-bf16.gguf"


def test_one_of_several_models_must_be_named(tmp_path: Path, converted: Path) -> None:
    shutil.copy(converted / "model-bf16.gguf", tmp_path / "a.gguf")
    shutil.copy(converted / "model-bf16.gguf", tmp_path / "b.gguf")
    with pytest.raises(InputError, match=r"a\.gguf, b\.gguf"):
        resolve(tmp_path)
    assert resolve(tmp_path / "b.gguf").lm == tmp_path / "b.gguf"


def test_existing_files_get_the_metadata_of_the_config_beside_them(existing: Path) -> None:
    files = resolve(existing)
    assert files.lm_metadata is not None
    lines = files.lm_metadata.splitlines()
    assert "moshi.dim=256" in lines
    assert "moshi.delays=0,0,1,1,1,1,1,1,1,0,1,1,1,1,1,1,1" in lines
    assert "moshi.model_type=moshi" in lines
    assert not any(line.startswith("moshi.moshi_name") for line in lines)


@pytest.mark.parametrize("of", ["folder", "file"])
def test_codec_and_tokenizer_are_found_in_moshi_common(existing: Path, of: str) -> None:
    files = resolve(existing if of == "folder" else existing / "model-q4_k.gguf")
    assert files.mimi == existing.parent / "moshi-common" / "mimi-e351c8d8-125.gguf"
    assert files.tokenizer == existing.parent / "moshi-common" / "tokenizer_spm_32k_3.model"


def test_codec_and_tokenizer_are_found_in_the_hubs_cache(existing: Path) -> None:
    cache = existing.parent
    snapshot = cache / "models--Codes4Fun--moshika-q4_k-GGUF" / "snapshots" / "abc"
    common = cache / "models--Codes4Fun--moshi-common" / "snapshots" / "def"
    shutil.copytree(existing, snapshot)
    common.parent.mkdir(parents=True)
    (cache / "moshi-common").rename(common)
    files = resolve(snapshot)
    assert files.mimi == common / "mimi-e351c8d8-125.gguf"
    assert files.tokenizer == common / "tokenizer_spm_32k_3.model"


def test_personaplex_config_json_of_the_existing_repository_is_found(existing: Path) -> None:
    (existing / "config.json").rename(existing / "personaplex-config.json")
    metadata = resolve(existing).lm_metadata
    assert metadata is not None
    assert "moshi.dim=256" in metadata.splitlines()


def test_a_missing_config_is_named_with_what_to_do(existing: Path) -> None:
    (existing / "config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"config\.json: missing.*Fetch that file"):
        resolve(existing)


def test_what_is_missing_is_said_with_where_it_was_looked_for(existing: Path) -> None:
    shutil.rmtree(existing.parent / "moshi-common")
    files = resolve(existing)
    assert files.mimi is None
    assert files.tokenizer is None
    assert str(existing) in files.missing["mimi"]
    assert "tokenizer_spm_32k_3.model" in files.missing["tokenizer"]


def test_named_companions_are_used(existing: Path, converted: Path) -> None:
    files = resolve(existing, mimi=converted / "mimi-f16.gguf", tokenizer=converted / "tokenizer.model")
    assert (files.mimi, files.tokenizer) == (converted / "mimi-f16.gguf", converted / "tokenizer.model")


def test_a_companion_of_the_wrong_kind_is_refused(converted: Path) -> None:
    with pytest.raises(InputError, match="expected a Mimi codec, found a language model"):
        resolve(converted, mimi=converted / "model-bf16.gguf")
    with pytest.raises(ModelNotFoundError, match="expected a SentencePiece tokenizer"):
        resolve(converted, tokenizer=converted / "nothing.model")


def test_a_codec_alone_is_a_model_too(converted: Path) -> None:
    files = resolve(converted / "mimi-f16.gguf")
    assert (files.lm, files.mimi) == (None, converted / "mimi-f16.gguf")


def test_an_existing_codec_file_gets_the_published_config(tmp_path: Path) -> None:
    path = tmp_path / "mimi-e351c8d8-125.gguf"
    path.write_bytes(gguf(["mimi.upsample.convtr.convtr.convtr.weight"]))
    metadata = resolve(path).mimi_metadata
    assert metadata is not None
    lines = metadata.splitlines()
    assert {"mimi.sample_rate=24000", "mimi.seanet.ratios=8,6,5,4", "mimi.quantizer.n_q=32"} <= set(lines)


def test_safetensors_are_answered_with_the_command_that_converts_them(tmp_path: Path) -> None:
    folder = tmp_path / "my models"
    shutil.copytree(FIXTURES / "moshi", folder)
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(folder)
    assert f"pymoshi convert '{folder}' --quantize q4_k -o '{folder}-q4_k'" in str(caught.value)
    with pytest.raises(ModelNotFoundError, match="pymoshi convert"):
        resolve(folder / "model.safetensors")


@pytest.mark.parametrize("name", ["nonsense", "./nowhere", "~nobody-at-all/model", "x" * 5000, "a\0b", ""])
def test_an_unknown_name_is_not_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # empty: "" is this folder
    with pytest.raises(ModelNotFoundError):
        resolve(name)


def test_a_voice_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "NATF0.gguf").write_bytes(gguf(["voice.embeddings"]))
    with pytest.raises(InputError, match="voice"):
        resolve(tmp_path / "NATF0.gguf")


def test_a_model_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "llama.gguf").write_bytes(gguf(["token_embd.weight"]))
    with pytest.raises(ModelFormatError, match="neither a Moshi model"):
        resolve(tmp_path / "llama.gguf")
    with pytest.raises(ModelNotFoundError, match=r"no \.gguf file of a model"):
        resolve(tmp_path)


def test_a_damaged_file_does_not_hide_a_good_one(converted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(converted, folder)
    (folder / "config.json").unlink()
    (folder / "half.gguf").write_bytes(b"GGUF\x03")
    assert resolve(folder).lm == folder / "model-bf16.gguf"


def test_a_config_that_leads_elsewhere_is_refused(converted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(converted, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mimi_name": "../../mimi.gguf"}))
    with pytest.raises(ModelFormatError, match="out of the folder"):
        resolve(folder)


def gguf(names: list[str], keys: int = 0, version: int = 3) -> bytes:
    """A header with these tensors, of no size, and so many keys (which are not there)."""
    header = b"GGUF" + struct.pack("<IQQ", version, len(names), keys)
    for name in names:
        header += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<IQIQ", 1, 0, 0, 0)
    return header


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "truncated|not a GGUF"),
        (b"GGML" + bytes(100), "not a GGUF file"),
        (gguf([], version=1), "version 1"),
        (gguf([], version=0x03000000), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "claims"),
        (gguf([], keys=30) + bytes(200), "truncated"),
        (gguf([], keys=1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 0, 2**50), "claims"),
        (
            gguf([], keys=1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9,
            "unknown type",
        ),
        (gguf([], keys=1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 77), "unknown type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 99), "99 dimensions"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(ModelFormatError, match=complaint):
        read_gguf_header(tmp_path / "model.gguf")


def test_a_header_truncated_anywhere_is_refused(tmp_path: Path, converted: Path) -> None:
    content = (converted / "model-bf16.gguf").read_bytes()
    end = content.index(b"lm.linears.15.weight") + 20
    for length in (*range(0, 600), *range(600, end, 101)):
        (tmp_path / "model.gguf").write_bytes(content[:length])
        with pytest.raises(ModelFormatError):
            read_gguf_header(tmp_path / "model.gguf")


def test_a_damaged_header_never_escapes_as_another_error(tmp_path: Path, converted: Path) -> None:
    content = (converted / "model-bf16.gguf").read_bytes()[:30_000]
    rng = np.random.default_rng(2)
    for _ in range(1000):
        damaged = bytearray(content)
        for position in rng.integers(0, 4000, 3):
            damaged[position] = rng.integers(0, 256)
        (tmp_path / "model.gguf").write_bytes(bytes(damaged))
        try:
            read_gguf_header(tmp_path / "model.gguf")
        except ModelFormatError:
            continue


def test_the_demo_comes_with_the_package_and_is_complete() -> None:
    files = resolve("demo")
    assert files.name == "demo"
    assert files.lm is not None
    assert files.mimi is not None
    assert files.tokenizer is not None
    assert files.lm_metadata is files.mimi_metadata is None
    assert read_gguf_header(files.lm).metadata["moshi.model_type"] == "moshi"
    assert (files.folder / "NOTICE.hibari.txt").read_text().startswith("hibari")
    assert sum(path.stat().st_size for path in files.folder.iterdir()) < 10_000_000
