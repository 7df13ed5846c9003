"""The source distribution: what a build needs is in it, what only the repository needs is not."""

import tarfile
from pathlib import Path

import pytest
from scikit_build_core.build import build_sdist

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Sizes of the files in the sdist, by path below its top folder."""
    folder = tmp_path_factory.mktemp("sdist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build_sdist(str(folder))
    with tarfile.open(folder / name) as archive:
        return {member.name.split("/", 1)[1]: member.size for member in archive if member.isfile()}


def source_files(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_sdist_has_all_that_the_build_reads(members: dict[str, int]) -> None:
    needed = {"pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md"}
    needed |= {"cmake/ggml.cmake", "cmake/gen_abi.py", "vendor/moshi.cpp/cmake/exports.map"}
    needed |= source_files("vendor/moshi.cpp/src", "*.cpp") | source_files("vendor/moshi.cpp/include", "*.h")
    assert needed - members.keys() == set()


def test_sdist_has_the_whole_package(members: dict[str, int]) -> None:
    package = source_files("pymoshi", "*.py") | source_files("pymoshi", "*.gguf") | {"pymoshi/py.typed"}
    generated = {"pymoshi/_native/_abi.py"}
    assert package - generated - members.keys() == set()


def test_sdist_leaves_tests_and_builds_behind(members: dict[str, int]) -> None:
    assert [name for name in members if name.startswith(("tests/", "build/", ".ci/", "vendor/moshi.cpp/tests/"))] == []


def test_sdist_stays_small(members: dict[str, int]) -> None:
    assert sum(members.values()) < 32 * 2**20
