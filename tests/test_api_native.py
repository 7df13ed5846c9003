"""The binding and moshi.h say the same thing."""

import dataclasses
import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import pymoshi
from pymoshi import _native
from pymoshi._native import library
from pymoshi.mimi import WINDOWS
from pymoshi.session import KV_TYPES, TOKEN_NONE

ROOT = Path(__file__).parents[1]
INCLUDE = ROOT / "vendor" / "moshi.cpp" / "include"
STRUCTS = [
    "moshi_device_info",
    "moshi_model_params",
    "moshi_model_info",
    "moshi_mimi_params",
    "moshi_session_params",
    "moshi_frame",
    "moshi_gguf_tensor",
]


def compile_only(source: Path) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "the tests need the C compiler that built the engine"
    command = [compiler, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", f"-I{INCLUDE}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_structs_lie_in_memory_as_the_compiler_lays_them_out(tmp_path: Path) -> None:
    ffi = _native.ffi()
    checks = []
    for struct in STRUCTS:
        checks.append(f'_Static_assert(sizeof({struct}) == {ffi.sizeof(struct)}, "{struct}");')
        for name, field in ffi.typeof(struct).fields:
            checks.append(f'_Static_assert(offsetof({struct}, {name}) == {field.offset}, "{struct}.{name}");')
    source = tmp_path / "layout.c"
    source.write_text('#include "moshi.h"\n' + "\n".join(checks) + "\n")
    done = compile_only(source)
    assert done.returncode == 0, done.stderr


def test_constants_are_those_of_the_header() -> None:
    numbers = {**_native.ffi().typeof("moshi_window").relements, **_native.ffi().typeof("moshi_kv_type").relements}
    assert {f"MOSHI_WINDOW_{name.upper()}": value for name, value in WINDOWS.items()} | {
        f"MOSHI_KV_{name.upper()}": value for name, value in KV_TYPES.items()
    } == numbers
    assert _native.lib().MOSHI_TOKEN_NONE == TOKEN_NONE


def test_every_declared_function_is_in_the_library() -> None:
    lib = _native.lib()
    functions = [name for name in dir(lib) if name.startswith("moshi_")]
    assert len(functions) > 40
    for name in functions:
        assert getattr(lib, name)


def test_info_has_the_fields_of_the_struct() -> None:
    def fields(struct: str) -> list[str]:
        return [name for name, _ in _native.ffi().typeof(struct).fields]

    assert sorted(field.name for field in dataclasses.fields(pymoshi.ModelInfo)) == sorted(fields("moshi_model_info"))
    assert [field.name for field in dataclasses.fields(pymoshi.Device)] == fields("moshi_device_info")


def test_every_status_has_its_exception() -> None:
    statuses = set(_native.ffi().typeof("moshi_status").relements) - {"MOSHI_OK"}
    assert statuses == set(library._EXCEPTIONS)
    for status, exception in library._EXCEPTIONS.items():
        with pytest.raises(exception):
            library.check(_native.ffi().typeof("moshi_status").relements[status])


def test_status_of_a_newer_library_is_an_error_too() -> None:
    with pytest.raises(pymoshi.InternalError):
        library.check(77)


def test_missing_library_says_how_to_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_LIBRARY_NAME", "libnowhere.so")
    with pytest.raises(pymoshi.InternalError, match=r"libnowhere\.so is not in .*Install pymoshi again"):
        library.library_path()


def test_engine_messages_arrive_in_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="pymoshi"):
        library._log_callback()(3, _native.ffi().new("char[]", "80 % of ä\n".encode()), _native.ffi().NULL)
    assert caplog.record_tuples == [("pymoshi", logging.WARNING, "80 % of ä")]


def test_string_with_nul_is_refused() -> None:
    with pytest.raises(pymoshi.InputError, match="NUL"):
        library.c_string("model\0.gguf")


def test_exception_of_a_progress_callback_comes_back() -> None:
    def report(_fraction: float) -> bool:
        raise KeyboardInterrupt

    progress = library.Progress(report)
    assert progress.pointer(0.5, _native.ffi().NULL) is False
    with pytest.raises(KeyboardInterrupt):
        progress.raise_pending()


def test_progress_callback_stops_with_false_alone() -> None:
    null = _native.ffi().NULL
    assert library.Progress(lambda fraction: None).pointer(0.5, null) is True
    assert library.Progress(lambda fraction: fraction < 0.5).pointer(0.5, null) is False


def test_devices_include_the_cpu() -> None:
    found = pymoshi.devices()
    assert "cpu" in [device.name for device in found]
    assert not next(device for device in found if device.name == "cpu").is_gpu


@pytest.mark.parametrize(
    ("kind", "expected"), [("f32", 1024), ("f16", 512), ("q8_0", 272), ("q4_0", 144), ("q4_K", 144)]
)
def test_row_sizes_are_ggmls(kind: str, expected: int) -> None:
    assert _native.row_size(kind, 256) == expected


def test_row_that_is_no_multiple_of_the_block_has_no_size() -> None:
    assert _native.row_size("q8_0", 33) == 0


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q4_K"])
def test_quantized_rows_do_not_depend_on_the_number_of_threads(kind: str) -> None:
    rows = np.random.default_rng(1).standard_normal((37, 512)).astype(np.float32)
    one = _native.quantize(rows, "f32", kind, threads=1)
    assert one.shape == (37, _native.row_size(kind, 512))
    np.testing.assert_array_equal(one, _native.quantize(rows, "f32", kind, threads=3))


def test_q8_0_holds_what_its_format_says() -> None:
    rows = np.random.default_rng(2).standard_normal((3, 64)).astype(np.float32)
    blocks = _native.quantize(rows, "f32", "q8_0").reshape(3, 2, 34)
    scales = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    values = (blocks[..., 2:].view(np.int8) * scales).reshape(3, 64)
    assert np.abs(values - rows).max() <= np.abs(rows).max() / 127


@pytest.mark.parametrize(
    ("rows", "source", "target"),
    [
        (np.zeros((2, 64), np.float64), "f32", "q8_0"),
        (np.zeros(64, np.float32), "f32", "q8_0"),
        (np.zeros((2, 64), np.float32).T, "f32", "q8_0"),
        (np.zeros((2, 33), np.float32), "f32", "q8_0"),
        (np.zeros((2, 64), np.float32), "f32", "q9_9"),
        (np.zeros((2, 64), np.int32), "i32", "q8_0"),
    ],
)
def test_rows_that_cannot_be_quantized_are_refused(rows: np.ndarray, source: str, target: str) -> None:
    with pytest.raises(pymoshi.InputError):
        _native.quantize(rows, source, target)


def test_gguf_file_is_read_as_it_was_written(moshi_folder: Path, fixtures: Path) -> None:
    from safetensors.numpy import load_file  # bfloat16 needs ml_dtypes; the codec's file has none

    stored = load_file(fixtures / "mimi" / "mimi.safetensors")["encoder.model.0.conv.conv.weight"]
    with _native.GgufFile(moshi_folder / "mimi-f32.gguf") as file:
        assert file.keys["general.architecture"].value == "moshi"
        tensor = file.tensors["mimi.encoder.model.0.conv.conv.weight"]
        values = file.read_f32(tensor.name)
        assert tensor.type == "f32"
        assert file.read_raw(tensor.name).tobytes() == values.tobytes()
    np.testing.assert_array_equal(values.reshape(stored.shape), stored)


def test_closed_gguf_file_is_an_error(moshi_folder: Path) -> None:
    file = _native.GgufFile(moshi_folder / "mimi-f32.gguf")
    file.close()
    file.close()
    with pytest.raises(pymoshi.StateError, match="closed"):
        _ = file.tensors


def test_unknown_tensor_is_an_error(moshi_folder: Path) -> None:
    with _native.GgufFile(moshi_folder / "mimi-f32.gguf") as file, pytest.raises(pymoshi.InputError, match="no tensor"):
        file.read_f32("mimi.nothing")


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", pymoshi.ModelFormatError), (b"GGUF", pymoshi.ModelFormatError), (b"RIFF" * 20, pymoshi.ModelFormatError)],
)
def test_what_is_no_gguf_file_is_refused(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(error, match=r"model\.gguf"):
        _native.GgufFile(path)


def test_missing_gguf_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pymoshi.ModelNotFoundError):
        _native.GgufFile(tmp_path / "nowhere.gguf")
