"""Models that the tests share, made once from the fixtures as a user would: with pymoshi's own converter.

Tests that compute run on the device that PYMOSHI_TEST_DEVICE names, "cpu" if it names none.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import pymoshi
from pymoshi.audio import files
from pymoshi.hub.convert import convert

FIXTURES = Path(__file__).parent / "fixtures"

# A shell starts background jobs with Ctrl-C ignored, and Python leaves it so; the tests of Ctrl-C need it answered.
signal.signal(signal.SIGINT, signal.default_int_handler)

Goldens = dict[str, NDArray[Any]]


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the folders of whoever runs them, and find nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYMOSHI_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of golden fixtures; its README says what they are."""
    return FIXTURES


@pytest.fixture(scope="session")
def device() -> str:
    """What `load(device=...)` takes."""
    return os.environ.get("PYMOSHI_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session")
def goldens() -> Callable[[str], Goldens]:
    """The reference's results, by fixture."""
    return lambda name: load_file(FIXTURES / name / "golden.safetensors")


@pytest.fixture(scope="session")
def moshi_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published model in small: the tiny Moshi with the tiny codec of the same card, and a tokenizer."""
    folder = tmp_path_factory.mktemp("source") / "tiny-moshi"
    folder.mkdir()
    for source in (
        "moshi/model.safetensors",
        "moshi/config.json",
        "mimi/mimi.safetensors",
        "mimi/mimi_config.json",
        "personaplex/tokenizer.model",
    ):
        shutil.copy(FIXTURES / source, folder)
    return folder


@pytest.fixture(scope="session")
def moshi_folder(moshi_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`moshi_source`, converted. In f32: with bf16 weights ggml rounds activations, too, and parity ends at 1e-2."""
    return convert(moshi_source, tmp_path_factory.mktemp("converted") / "tiny-moshi", quantize="f32", mimi_type="f32")


@pytest.fixture(scope="session")
def personaplex_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny PersonaPlex, converted, in f32."""
    return convert(
        FIXTURES / "personaplex", tmp_path_factory.mktemp("converted") / "tiny-plex", quantize="f32", mimi_type="f32"
    )


@pytest.fixture(scope="session")
def voiced_folder(personaplex_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny PersonaPlex with a voice beside it, NATF2. Not to be written to."""
    folder = shutil.copytree(personaplex_folder, tmp_path_factory.mktemp("voiced") / "tiny-plex")
    (folder / "voices").mkdir()
    shutil.copy(FIXTURES / "personaplex" / "voice.pt", folder / "voices" / "NATF2.pt")
    return folder


@pytest.fixture(scope="session")
def plex(personaplex_folder: Path, device: str) -> Iterator[pymoshi.Model]:
    """The tiny PersonaPlex, loaded."""
    with pymoshi.load(personaplex_folder, device=device, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def model(moshi_folder: Path, device: str) -> Iterator[pymoshi.Model]:
    """The tiny Moshi with its codec and a tokenizer, loaded. One thread: more only wait in one so small."""
    with pymoshi.load(moshi_folder, device=device, threads=1) as loaded:
        yield loaded


@pytest.fixture
def session(model: pymoshi.Model) -> Iterator[pymoshi.Session]:
    """A new conversation with `model`."""
    with model.session(seed=7) as started:
        yield started


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float32]:
    """50 frames of sound, 24 kHz."""
    return files.read(FIXTURES / "mimi" / "input.wav")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_pymoshi(tmp_path: Path) -> Run:
    """Runs the command line in a folder of its own; what it returns has returncode, stdout and stderr."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pymoshi", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **(env or {}), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
