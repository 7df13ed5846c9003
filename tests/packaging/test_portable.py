"""A portable build takes, of the libraries beside libmoshi and of no others, the code that fits this processor best."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import pymoshi
from pymoshi import _native

SUFFIX = ".dll" if sys.platform == "win32" else ".so"
PREFIX = "ggml-cpu" if sys.platform == "win32" else "libggml-cpu"
LOOK = """
import json, threading
from pymoshi import PymoshiError, _native
seen = []
def look():
    try:
        names = [device["name"] for device in _native.devices()]
        seen.append({"devices": names, "variant": _native.features()["cpu"].get("variant", "")})
    except PymoshiError as error:
        seen.append({"error": f"{type(error).__name__}: {error}"})
threads = [threading.Thread(target=look) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(seen))
"""


@dataclass(frozen=True)
class Engine:
    """What the engine says of the machine."""

    devices: list[str] | None = None
    variant: str | None = None
    error: str = ""


def cpu_libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def variant_in(library: Path) -> str:
    """What `pymoshi doctor` should say of it; "" for the one of a build with a single one."""
    return library.stem.removeprefix(PREFIX).removeprefix("-")


def score(library: Path) -> int:
    """What ggml says of the code in it on this processor: 0 if it cannot run, else the more the better."""
    return int(ctypes.CDLL(str(library)).ggml_backend_score())


@dataclass
class Installation:
    """A copy of the installed package, to be taken apart."""

    package: Path
    somewhere: Path
    """An empty folder to run in."""

    @property
    def libraries(self) -> Path:
        return self.package / "_native" / "lib"

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(self.package.parent), **environment}
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.somewhere, env=env, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def look(self, **environment: str) -> Engine:
        """The same for each of eight threads that ask at once."""
        done = self.run("-c", LOOK, **environment)
        assert done.returncode == 0, done.stderr
        first, *others = json.loads(done.stdout)
        assert others == [first] * 7
        return Engine(**first)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    source = _native.library_path().parents[2]
    copy = tmp_path / "site" / "pymoshi"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("models", "__pycache__"))
    (copy / "models").symlink_to(source / "models")
    (tmp_path / "somewhere").mkdir()
    return Installation(copy, tmp_path / "somewhere")


def able(installation: Installation) -> list[Path]:
    """The CPU's libraries that can run here, the worst first."""
    return sorted((library for library in cpu_libraries(installation.libraries) if score(library)), key=score)


def test_every_library_lies_beside_the_engine() -> None:
    """Once each: a wheel turns the links of versioned libraries into copies."""
    files = list(_native.library_path().parent.iterdir())
    assert cpu_libraries(_native.library_path().parent), "this is not a portable build"
    assert len({file.read_bytes() for file in files}) == len(files)


def test_code_in_use_is_the_best_that_this_processor_can_run() -> None:
    scores = {variant_in(library): score(library) for library in cpu_libraries(_native.library_path().parent)}
    used = _native.features()["cpu"].get("variant", "")
    assert scores[used] == max(scores.values()) > 0


def test_doctor_names_the_code_in_use(installation: Installation) -> None:
    able(installation)[-1].rename(installation.libraries / f"{PREFIX}-mine{SUFFIX}")
    shown = installation.run("-m", "pymoshi", "doctor", "--quick", "--no-sound", "--threads", "1")
    assert "as mine, the best fit" in " ".join(shown.stdout.split())


def test_older_code_is_taken_where_nothing_better_is_installed(installation: Installation) -> None:
    worst, *better = able(installation)
    for library in better:
        library.unlink()
    assert installation.look().variant == variant_in(worst)


def test_backends_that_cannot_be_opened_are_passed_over(installation: Installation) -> None:
    """As a GPU's is without its driver."""
    (installation.libraries / f"{PREFIX.replace('cpu', 'cuda')}{SUFFIX}").write_bytes(b"\x7fELF")
    (installation.libraries / f"{PREFIX}-zzz{SUFFIX}").write_bytes(b"")
    assert installation.look().devices == ["cpu"]


def test_a_missing_processor_is_an_error_that_says_where_it_was_looked_for(installation: Installation) -> None:
    for library in cpu_libraries(installation.libraries):
        library.unlink()
    error = installation.look().error
    assert error.startswith("DeviceError")
    assert str(installation.libraries) in error
    command = installation.run("-m", "pymoshi", "devices")
    assert command.returncode == 2
    assert "Traceback" not in command.stderr
    assert "install pymoshi again" in " ".join(command.stderr.split())


def test_code_for_another_processor_is_named_in_the_error(installation: Installation) -> None:
    for library in cpu_libraries(installation.libraries):
        library.write_bytes(b"for something else")
    error = installation.look().error
    assert all(library.name in error for library in cpu_libraries(installation.libraries))


def test_nothing_is_loaded_from_the_current_folder_or_the_environment(installation: Installation) -> None:
    stranger = shutil.copy(able(installation)[-1], installation.somewhere / f"{PREFIX}-stranger{SUFFIX}")
    found = installation.look(GGML_BACKEND_PATH=str(stranger))
    assert found.devices == ["cpu"]
    assert found.variant != "stranger"


def test_it_is_this_installation_that_was_tested() -> None:
    assert Path(pymoshi.__file__).parent == _native.library_path().parents[2]
