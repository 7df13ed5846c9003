"""cmake/gen_abi.py: the Python side of moshi.h is cut out of moshi.h itself."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "vendor" / "moshi.cpp" / "include" / "moshi.h"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gen_abi() -> ModuleType:
    return load(ROOT / "cmake" / "gen_abi.py")


def test_generated_module_knows_the_header(
    gen_abi: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "_abi.py"
    monkeypatch.setattr(sys, "argv", ["gen_abi.py", str(HEADER), str(output)])
    gen_abi.main()
    ffi = load(output).ffi
    assert ffi.typeof("moshi_status").relements["MOSHI_OK"] == 0
    assert {"text_token", "codes", "encode_ms"} <= {name for name, _ in ffi.typeof("moshi_frame").fields}


@pytest.mark.parametrize("mark", ["[cdef]", "[end]"])
def test_header_without_its_marks_stops_the_build(gen_abi: ModuleType, mark: str) -> None:
    lines = [line for line in HEADER.read_text().splitlines() if mark not in line]
    with pytest.raises(SystemExit, match="are missing"):
        gen_abi.cut_declarations("\n".join(lines))
