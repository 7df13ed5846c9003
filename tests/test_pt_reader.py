"""NVIDIA's .pt voice files are read without PyTorch, and a hostile one can do nothing but be refused."""

import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from pymoshi.errors import VoiceError
from pymoshi.voices.files import read_voice_file
from pymoshi.voices.pt import read_pt

FIXTURES = Path(__file__).parent / "fixtures" / "personaplex"


# ---- making .pt files by hand: a small assembler of pickle instructions ----


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key: str, kind: str, numel: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    place = text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cuda:0") + number(numel)
    hooks = b"ccollections\nOrderedDict\n)R"
    description = number(offset) + numbers(size) + numbers(stride) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n((" + place + b"tQ" + description + b"tR"


def voice_pickle(embeddings: bytes | None = None, cache: bytes | None = None) -> bytes:
    embeddings = embeddings or tensor("0", "FloatStorage", 6, (3, 1, 1, 2), (2, 2, 2, 1))
    cache = cache or tensor("1", "LongStorage", 68, (1, 17, 4), (68, 4, 1))
    return b"\x80\x02}(" + text("embeddings") + embeddings + text("cache") + cache + b"u."


def write_pt(path: Path, data: bytes, members: dict[str, bytes] | None = None, packing: int = 0) -> Path:
    if members is None:
        members = {"data/0": np.arange(6, dtype="<f4").tobytes(), "data/1": np.arange(68, dtype="<i8").tobytes()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in members.items():
            archive.writestr(name if name.startswith(("!", "/", "..")) else f"archive/{name}", content)
    return path


@pytest.fixture
def pt(tmp_path: Path) -> Path:
    return tmp_path / "voice.pt"


# ---- reading ----


def test_published_layout_is_read_to_the_bit() -> None:
    golden = load_file(FIXTURES / "golden.safetensors")
    tensors = read_pt(FIXTURES / "voice.pt")
    assert tensors["embeddings"].dtype == np.float32
    assert np.array_equal(tensors["embeddings"], golden["voice_pt.embeddings"])
    assert np.array_equal(tensors["cache"], golden["voice_pt.cache"])


def test_voice_of_a_pt_file_has_flat_embeddings_and_ring() -> None:
    voice = read_voice_file(FIXTURES / "voice.pt")
    assert voice.embeddings is not None and voice.embeddings.shape == (19, 32)
    assert voice.cache is not None and voice.cache.shape == (17, 4) and voice.cache.dtype == np.int32
    assert voice.n_frames == 19


def test_bfloat16_saved_from_a_gpu_is_widened(pt: Path) -> None:
    bits = np.array([0x3F80, 0xC000, 0x4049, 0, 0x3E80, 0x7F7F], dtype="<u2")
    pickled = voice_pickle(tensor("0", "BFloat16Storage", 6, (3, 1, 1, 2), (2, 2, 2, 1)))
    write_pt(pt, pickled, {"data/0": bits.tobytes(), "data/1": np.zeros(68, "<i8").tobytes()})
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(read_pt(pt)["embeddings"].ravel(), expected)


def test_offset_and_strides_are_honoured(pt: Path) -> None:
    transposed = tensor("0", "FloatStorage", 6, (2, 1, 1, 2), (1, 1, 1, 3), offset=1)
    write_pt(pt, voice_pickle(transposed))
    assert read_pt(pt)["embeddings"].ravel().tolist() == [1, 4, 2, 5]


def test_big_endian_files_are_read(pt: Path) -> None:
    members = {
        "byteorder": b"big",
        "data/0": np.arange(6, dtype=">f4").tobytes(),
        "data/1": np.arange(68, dtype=">i8").tobytes(),
    }
    write_pt(pt, voice_pickle(), members)
    assert read_pt(pt)["embeddings"].ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert read_pt(pt)["cache"].ravel().tolist() == list(range(68))


# ---- pickled code ----


class Attack:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickled_code_is_refused_and_never_runs(pt: Path, tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "was_here"
    attack = pickle.dumps({"embeddings": Attack(os.mkdir, str(trace))}, protocol)
    assert pickle.loads(attack) is not None and trace.is_dir()  # the attack itself works
    trace.rmdir()
    write_pt(pt, attack)
    with pytest.raises(VoiceError):
        read_pt(pt)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins\neval",
        "builtins\ngetattr",
        "os\nsystem",
        "posix\nsystem",
        "torch\nload",
        "torch\n__builtins__",
        "torch._utils\n_rebuild_tensor_v2.__globals__",
        "torch.hub\nload",
        "collections\nnamedtuple",
        "numpy\nload",
        "pymoshi.voices.pt\nread_pt",
    ],
)
def test_only_the_names_of_tensors_are_resolved(pt: Path, name: str) -> None:
    call = b"c" + name.encode() + b"\n(" + text("x") + b"tR"
    write_pt(pt, b"\x80\x02}(" + text("embeddings") + call + b"u.")
    with pytest.raises(VoiceError, match=r"wants to run|refused"):
        read_pt(pt)


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("BUILD", b"ccollections\nOrderedDict\n)R}(" + text("__class__") + number(1) + b"ub."),
        ("INST", b"(" + text("id") + b"ios\nsystem\n."),
        ("OBJ", b"(cos\nsystem\n" + text("id") + b"o."),
        ("NEWOBJ", b"ccollections\nOrderedDict\n)\x81."),
        ("EXT1", b"\x82\x01."),
        ("STACK_GLOBAL", text("os") + text("system") + b"\x93."),
    ],
)
def test_instructions_that_make_objects_are_refused(pt: Path, what: str, code: bytes) -> None:
    write_pt(pt, b"\x80\x02" + code)
    with pytest.raises(VoiceError, match=f"uses {what}"):
        read_pt(pt)


def test_storage_types_cannot_be_called(pt: Path) -> None:
    write_pt(pt, b"\x80\x02ctorch\nFloatStorage\n(" + number(10**9) + b"tR.")
    with pytest.raises(VoiceError, match="damaged"):
        read_pt(pt)


def test_a_huge_memo_index_takes_no_memory(pt: Path) -> None:
    write_pt(pt, b"\x80\x02}r" + struct.pack("<I", 0x7FFFFFFF) + b".")
    with pytest.raises(VoiceError, match="memo"):
        read_pt(pt)


def test_an_endless_pickle_is_refused(pt: Path) -> None:
    write_pt(pt, b"\x80\x02" + b"}" * 60_000 + b".")
    with pytest.raises(VoiceError, match="instructions"):
        read_pt(pt)


@pytest.mark.parametrize(
    "persistent_id",
    [
        text("storage"),
        b"(" + text("module") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(6) + b"t",
        b"(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + number(6) + b"t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("../0") + text("cpu") + number(6) + b"t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(-6) + b"t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(1 << 60) + b"t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"\x88t",
    ],
)
def test_odd_storages_are_refused(pt: Path, persistent_id: bytes) -> None:
    write_pt(pt, b"\x80\x02}(" + text("embeddings") + persistent_id + b"Qu.")
    with pytest.raises(VoiceError, match="refused"):
        read_pt(pt)


# ---- numbers that lie ----


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((3, 1, 1, 3), (2, 2, 2, 1), 0),  # one element past the end
        ((3, 1, 1, 2), (2, 2, 2, 1), 1),  # pushed past the end
        ((3, 1, 1, 2), (1000, 2, 2, 1), 0),  # strides over the end
        ((1 << 40, 1, 1, 2), (0, 0, 0, 1), 0),  # a bomb of stride 0
        ((4096, 4096, 4096, 2), (0, 0, 0, 1), 0),
        ((3, 1, 1, 2), (2, 2, 1), 0),  # ranks differ
        ((-3, 1, 1, -2), (2, 2, 2, 1), 0),
        ((3, 1, 1, 2), (-2, 2, 2, 1), 4),
        ((1,) * 40, (1,) * 40, 0),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(
    pt: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    write_pt(pt, voice_pickle(tensor("0", "FloatStorage", 6, size, stride, offset)))
    with pytest.raises(VoiceError, match="refused"):
        read_pt(pt)


def test_a_storage_larger_than_its_bytes_is_refused(pt: Path) -> None:
    write_pt(pt, voice_pickle(tensor("0", "FloatStorage", 600, (300, 1, 1, 2), (2, 2, 2, 1))))
    with pytest.raises(VoiceError, match="24 bytes"):
        read_pt(pt)


def test_missing_storage_is_named(pt: Path) -> None:
    write_pt(pt, voice_pickle(), {"data/1": np.zeros(68, "<i8").tobytes()})
    with pytest.raises(VoiceError, match="data/0"):
        read_pt(pt)


# ---- archives that lie ----


def test_truncated_pt_is_refused_at_every_length(pt: Path) -> None:
    whole = (FIXTURES / "voice.pt").read_bytes()
    for length in range(0, len(whole), 97):
        pt.write_bytes(whole[:length])
        with pytest.raises(VoiceError):
            read_pt(pt)


def test_flipped_bytes_never_raise_anything_else(pt: Path) -> None:
    whole = (FIXTURES / "voice.pt").read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for position in random.integers(0, len(data), 3):
            data[position] = random.integers(0, 256)
        pt.write_bytes(data)
        try:
            read_voice_file(pt)
        except VoiceError:
            refused += 1
    assert refused > 200  # the archive's checksums find most of them


def test_a_zip_bomb_is_refused_before_it_unpacks(pt: Path) -> None:
    write_pt(pt, voice_pickle(), {"data/0": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    assert pt.stat().st_size < 1 << 20
    with pytest.raises(VoiceError, match="unpack"):
        read_pt(pt)


def test_too_many_members_are_refused(pt: Path) -> None:
    write_pt(pt, voice_pickle(), {f"data/{i}": b"" for i in range(200)})
    with pytest.raises(VoiceError, match="members"):
        read_pt(pt)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "..\\escape"])
def test_member_names_that_leave_the_archive_are_refused(pt: Path, name: str) -> None:
    write_pt(pt, voice_pickle(), {name: b"x"})
    with pytest.raises(VoiceError, match="member name"):
        read_pt(pt)


def test_two_pickles_are_refused(pt: Path) -> None:
    write_pt(pt, voice_pickle(), {"other/data.pkl": b"x"})
    with pytest.raises(VoiceError, match=r"data\.pkl"):
        read_pt(pt)


def test_an_old_style_pickle_without_archive_is_refused(pt: Path) -> None:
    pt.write_bytes(pickle.dumps({"embeddings": [1, 2]}))
    with pytest.raises(VoiceError, match="zip archive"):
        read_pt(pt)


def test_something_else_than_tensors_is_refused(pt: Path) -> None:
    write_pt(pt, b"\x80\x02}(" + text("embeddings") + number(1) + b"u.")
    with pytest.raises(VoiceError, match="something else"):
        read_pt(pt)


def test_a_model_checkpoint_is_not_a_voice(pt: Path) -> None:
    weight = tensor("0", "FloatStorage", 6, (3, 2), (2, 1))
    write_pt(pt, b"\x80\x02}(" + text("weight") + weight + b"u.")
    with pytest.raises(VoiceError, match="embeddings"):
        read_voice_file(pt)


def test_missing_file_folder_and_foreign_file_are_named(tmp_path: Path) -> None:
    for name, prepare in [("none.pt", None), ("folder.pt", "folder"), ("text.pt", "text")]:
        path = tmp_path / name
        if prepare == "folder":
            path.mkdir()
        elif prepare == "text":
            path.write_text("hello")
        with pytest.raises(VoiceError, match=name):
            read_voice_file(path)


def test_reading_leaves_no_trace_of_torch() -> None:
    read_pt(FIXTURES / "voice.pt")
    assert "torch" not in sys.modules
