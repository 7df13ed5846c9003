"""Files that are no models, or damaged ones: each ends in the right error, which names the file and what is wrong."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import gguf_edit
import pymoshi
from conftest import Run
from gguf_edit import Gguf, Tensor
from pymoshi.errors import InputError, ModelFormatError, ModelNotFoundError, PymoshiError

LM, MIMI = "model-f32.gguf", "mimi-f32.gguf"
HEADER = ("magic", "version", "counts", "keys", "tensors", "padding", "data")


@pytest.fixture
def folder(moshi_folder: Path, tmp_path: Path) -> Path:
    """A good model's folder, to be damaged."""
    return Path(shutil.copytree(moshi_folder, tmp_path / "model"))


def refused(model: Path, error: type[PymoshiError], *words: str) -> None:
    """Loading fails with this error, in whose text all words stand."""
    with pytest.raises(error) as caught:
        pymoshi.load(model, device="cpu", threads=1).close()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("part", [LM, MIMI])
@pytest.mark.parametrize("section", HEADER)
def test_file_truncated_in_any_section_is_refused(section: str, part: str, folder: Path) -> None:
    file = gguf_edit.read(folder / part)
    if section == "padding":  # however long the header happens to be, there is some
        file.key("general.description", "x" * (len(file.sections()["padding"]) + 31))
    sections = file.sections()
    before = b"".join(sections[name] for name in HEADER[: HEADER.index(section)])
    assert sections[section]
    whole = len(sections[section]) - (64 if section == "data" else 0)  # a file may end without its last padding
    for kept in {whole // 2, whole - 1}:
        (folder / part).write_bytes(before + sections[section][:kept])
        refused(folder, ModelFormatError, part)


def _set(**fields: object) -> Callable[[Gguf], None]:
    def change(file: Gguf) -> None:
        for name, new in fields.items():
            setattr(file, name, new)

    return change


def _key(name: str, kind: int, data: bytes) -> Callable[[Gguf], None]:
    return lambda file: file.keys.insert(0, (name, kind, data))


def _tensor(**fields: object) -> Callable[[Gguf], None]:
    """The first tensor, changed."""

    def change(file: Gguf) -> None:
        for name, new in fields.items():
            setattr(file.tensors[0], name, new)

    return change


def _repeat_key(file: Gguf) -> None:
    file.keys.append(file.keys[0])


def _repeat_tensor(file: Gguf) -> None:
    file.tensors.append(file.tensors[0])


def _overlap(file: Gguf) -> None:
    file.tensors[1].offset = 0


def _misalign(file: Gguf) -> None:
    file.tensors[1].offset = 4


@pytest.mark.parametrize("part", [LM, MIMI])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(_set(version=struct.pack("<I", 1)), ["version 1"], id="version_1"),
        pytest.param(_set(version=struct.pack("<I", 99)), ["version 99"], id="version_99"),
        pytest.param(_set(version=struct.pack(">I", 3)), ["version"], id="big_endian"),
        pytest.param(_set(n_tensors=2**63 - 1), ["claims", "tensors"], id="tensor_count_of_2_to_63"),
        pytest.param(_set(n_tensors=2**20), ["damaged"], id="tensor_count_of_2_to_20"),
        pytest.param(_set(n_keys=2**64 - 1), ["claims", "keys"], id="key_count_of_2_to_64"),
        pytest.param(_set(n_keys=0), [], id="key_count_of_0"),
        pytest.param(_key("k", gguf_edit.STRING, struct.pack("<Q", 2**62)), ["claims"], id="text_longer_than_the_file"),
        pytest.param(_key("k", gguf_edit.ARRAY, struct.pack("<IQ", 11, 2**61)), ["claims"], id="array_longer"),
        pytest.param(_key("k", gguf_edit.ARRAY, struct.pack("<IQ", 99, 1)), ["unknown type 99"], id="array_of_what"),
        pytest.param(_key("k", 13, b""), ["unknown type 13"], id="key_of_unknown_type"),
        pytest.param(_key("", gguf_edit.U32, bytes(4)), ["empty"], id="key_without_name"),
        pytest.param(_key("general.alignment", gguf_edit.U32, struct.pack("<I", 24)), ["alignment"], id="alignment_24"),
        pytest.param(_key("general.alignment", gguf_edit.U32, bytes(4)), ["alignment"], id="alignment_0"),
        pytest.param(_key("general.alignment", gguf_edit.U32, struct.pack("<I", 1)), ["alignment"], id="alignment_1"),
        pytest.param(_repeat_key, ["twice"], id="key_twice"),
        pytest.param(_repeat_tensor, ["stands twice"], id="tensor_twice"),
        pytest.param(_tensor(extents=[]), ["0 dimensions"], id="no_dimensions"),
        pytest.param(_tensor(extents=[1, 1, 1, 1, 1]), ["5 dimensions"], id="five_dimensions"),
        pytest.param(_tensor(extents=[0, 4]), ["dimension 0"], id="dimension_of_0"),
        pytest.param(_tensor(extents=[2**32, 2**32]), ["impossible dimension"], id="dimensions_beyond_64_bits"),
        pytest.param(_tensor(extents=[2**64 - 1]), ["impossible dimension"], id="dimension_of_2_to_64"),
        pytest.param(_tensor(kind=4), ["unknown type 4"], id="type_that_was_removed"),
        pytest.param(_tensor(kind=2**32 - 1), ["unknown type"], id="type_of_2_to_32"),
        pytest.param(_tensor(kind=12, extents=[33]), ["multiple of"], id="row_of_broken_blocks"),
        pytest.param(_tensor(offset=2**40), ["reaches beyond"], id="offset_beyond_the_file"),
        pytest.param(_tensor(offset=2**64 - 32), ["reaches beyond"], id="offset_that_wraps_around"),
        pytest.param(_overlap, ["overlap"], id="overlapping_tensors"),
        pytest.param(_misalign, ["offset 4", "multiple of 32"], id="misaligned_tensor"),
        pytest.param(_tensor(name="n" * 64), ["64"], id="name_of_64_bytes"),
        pytest.param(_tensor(name=""), ["empty"], id="tensor_without_name"),
        pytest.param(_tensor(name=b"a\0b"), ["name"], id="name_with_zero_byte"),
    ],
)
def test_structure_that_cannot_be_is_refused(
    damage: Callable[[Gguf], None], words: list[str], part: str, folder: Path
) -> None:
    file = gguf_edit.read(folder / part)
    damage(file)
    file.write(folder / part)
    refused(folder, ModelFormatError, part, *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"GG", ["not a GGUF file"], id="half_a_magic"),
        pytest.param(b"GGML" + bytes(100), ["not a GGUF file"], id="another_magic"),
        pytest.param(b"GGUF", [], id="magic_alone"),
        pytest.param(struct.pack("<Q", 2) + b"{}" + bytes(64), ["not a GGUF file"], id="safetensors"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", ["not a GGUF file"], id="git_lfs_pointer"),
        pytest.param(b"<!doctype html><html>", ["not a GGUF file"], id="web_page"),
        pytest.param(b"\xff" * 4096, ["not a GGUF file"], id="noise"),
        pytest.param(Gguf().sections()["magic"] + struct.pack("<IQQ", 3, 0, 0), ["neither"], id="nothing_in_it"),
    ],
)
def test_what_is_no_gguf_file_is_refused(content: bytes, words: list[str], folder: Path) -> None:
    (folder / LM).write_bytes(content)
    refused(folder / LM, ModelFormatError, LM, *words)


def test_bytes_of_no_encoding_are_shown_not_raised(folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    file.key("moshi.norm", (gguf_edit.STRING, gguf_edit.string(b"\xff\xfe\x80")))
    file.write(folder / LM)
    with pytest.raises(pymoshi.UnsupportedModelError, match=r"moshi\.norm"):
        pymoshi.load(folder, device="cpu")


def test_missing_path_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.gguf", ModelNotFoundError, "nothing.gguf")


def test_empty_folder_is_told_so(tmp_path: Path) -> None:
    refused(tmp_path, ModelNotFoundError, str(tmp_path), "nothing")


def test_folder_called_like_a_file_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").mkdir()
    refused(tmp_path / "model.gguf", ModelNotFoundError, "model.gguf")


def test_folder_in_place_of_the_codec_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="folder"):
        pymoshi.load(folder, mimi=tmp_path, device="cpu")


def test_link_that_leads_to_itself_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to(tmp_path / "model.gguf")
    refused(tmp_path / "model.gguf", ModelNotFoundError, "model.gguf")


@pytest.mark.parametrize("option", ["--model", "--mimi"])
def test_named_pipe_does_not_hang(option: str, folder: Path, run_pymoshi: Run, fixtures: Path) -> None:
    import os

    pipe = folder / "pipe.gguf"
    os.mkfifo(pipe)
    others = {"--model": folder, "--mimi": folder / MIMI} | {option: pipe}
    options = [item for pair in others.items() for item in pair]
    result = run_pymoshi("talk", *options, "--input", fixtures / "mimi" / "input.wav", "--output", "out.wav")
    assert result.returncode == 2
    assert "pipe.gguf" in result.stderr
    assert "Traceback" not in result.stderr


def test_device_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to("/dev/zero")
    refused(tmp_path / "model.gguf", ModelFormatError, "model.gguf")


def test_language_model_is_no_codec(folder: Path) -> None:
    with pytest.raises(InputError, match="expected a Mimi codec, found a language model"):
        pymoshi.load(folder, mimi=folder / LM, device="cpu")


def test_codec_is_no_language_model(folder: Path) -> None:
    shutil.copy(folder / MIMI, folder / LM)
    with pytest.raises(PymoshiError, match="codec alone"):
        pymoshi.load(folder, device="cpu").session()


def test_engine_itself_tells_the_two_apart(folder: Path) -> None:
    from pymoshi import _native

    for lm, mimi, missing in ((MIMI, MIMI, "moshi"), (LM, LM, "mimi")):
        with pytest.raises(ModelFormatError, match=rf"keys {missing}\.\*"):
            _native.NativeModel(
                folder / lm, folder / mimi, lm_metadata=None, mimi_metadata=None, device="cpu", threads=1, repack=True,
                progress=None,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "found"), [("mimi.quantizer.bins", 64), ("mimi.quantizer.n_q", 4)], ids=["fewer_codes", "fewer_codebooks"]
)
def test_codec_that_does_not_fit_the_model_is_refused(key: str, found: int, folder: Path) -> None:
    file = gguf_edit.read(folder / MIMI)
    file.key(key, found)
    for tensor in file.tensors:
        if key.endswith("bins") and str(tensor.name).endswith("_codebook.embedding"):
            tensor.extents[1] = found
            tensor.data = tensor.data[: len(tensor.data) // 2]
    file.write(folder / MIMI)
    refused(folder, ModelFormatError, MIMI, "does not fit")


def test_data_that_was_zeroed_loads_and_is_harmless(folder: Path) -> None:
    """A file that was allocated but never written to the end: nothing in it is wrong but the numbers."""
    file = gguf_edit.read(folder / LM)
    for tensor in file.tensors:
        tensor.data = bytes(len(tensor.data))
    file.write(folder / LM)
    with pymoshi.load(folder, device="cpu", threads=1) as model, model.session(seed=1) as session:
        assert session.step_codes([0] * 8) is None
        frame = session.step_codes([0] * 8)
        assert frame is not None
        assert 0 <= frame[0] < 400


def test_weights_that_are_no_numbers_are_noticed(folder: Path) -> None:
    file = gguf_edit.read(folder / MIMI)
    tensor = file.tensor("mimi.decoder.model.0.conv.conv.weight")
    tensor.data = struct.pack("<f", float("nan")) * (len(tensor.data) // 4)
    file.write(folder / MIMI)
    with (
        pymoshi.load(folder, device="cpu", threads=1) as model,
        pytest.raises(ModelFormatError, match=r"not a number.*damaged"),
    ):
        model.mimi.decode([[1], [2]])


def test_surplus_tensors_do_no_harm(folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    file.tensors.append(Tensor("something.else", [8], gguf_edit.TYPE_F32, bytes(32)))
    file.write(folder / LM)
    pymoshi.load(folder, device="cpu", threads=1).close()
