"""What `pip install` puts on a machine."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import pymoshi
from pymoshi import _native

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dynamic_symbols(library: Path) -> list[str]:
    """Names that the library gives to whoever loads it."""
    table = run("nm", "--dynamic", "--defined-only", "--format=posix", str(library), cwd=ROOT)
    return [line.split()[0].split("@")[0] for line in table.splitlines()]


def test_one_version_everywhere() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    engine = _native.ffi().string(_native.lib().moshi_version()).decode()
    assert {importlib.metadata.version("pymoshi"), pymoshi.__version__, engine} == {stated}


def test_command_and_module_are_the_same_program(tmp_path: Path) -> None:
    command = run(str(Path(sys.executable).with_name("pymoshi")), "--version", cwd=tmp_path)
    module = run(sys.executable, "-m", "pymoshi", "--version", cwd=tmp_path)
    assert pymoshi.__version__ in command
    assert command == module


def test_type_information_is_installed() -> None:
    assert (files("pymoshi") / "py.typed").is_file()


def test_licences_are_installed() -> None:
    names = {Path(str(file)).name for file in importlib.metadata.files("pymoshi") or []}
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} <= names


def test_demo_model_is_installed_with_its_notice() -> None:
    names = {entry.name for entry in (files("pymoshi") / "models" / "demo").iterdir()}
    assert {"config.json", "tokenizer.model", "NOTICE.hibari.txt"} <= names
    assert len([name for name in names if name.endswith(".gguf")]) == 2


def test_wheel_serves_every_python() -> None:
    wheel = importlib.metadata.distribution("pymoshi").read_text("WHEEL") or ""
    tags = [line.removeprefix("Tag: ") for line in wheel.splitlines() if line.startswith("Tag: ")]
    assert tags
    assert all(tag.startswith("py3-none-") for tag in tags)


def test_torch_is_not_required() -> None:
    required = importlib.metadata.requires("pymoshi") or []
    assert required
    assert [line for line in required if "torch" in line and 'extra == "training"' not in line] == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF symbols")
def test_library_shows_nothing_but_its_own_functions() -> None:
    """Two copies of ggml in one process (another package's and ours) must not meet."""
    symbols = dynamic_symbols(_native.library_path())
    assert "moshi_model_load" in symbols
    assert [name for name in symbols if not name.startswith("moshi_")] == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ELF symbols")
def test_library_has_every_function_of_its_header() -> None:
    declared = {name for name in dir(_native.lib()) if name.startswith("moshi_")}
    missing = declared - set(dynamic_symbols(_native.library_path()))
    assert missing == set()
