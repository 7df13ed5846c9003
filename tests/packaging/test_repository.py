"""What a stranger's clone must be: complete, licensed, and of no one machine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".py", ".cpp", ".h", ".md", ".toml", ".cmake", ".txt", ".json", ".yml", ".sh", ""}


def tracked_texts() -> dict[str, str]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    paths = {name: ROOT / name for name in names if Path(name).suffix in TEXT}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}


@pytest.mark.parametrize(
    "pattern",
    [
        r"\.\./" + r"shared\b",  # a folder that only some checkouts have
        r"(?<![\w.])/(?:work|root)/\w",  # someone's machine
        r"https?://(?:deb\.debian\.org|files\.pythonhosted\.org|pypi\.org|registry\.npmjs\.org)",
    ],
)
def test_nothing_points_outside_the_repository(pattern: str) -> None:
    found = [f"{name}: {match[0]}" for name, text in tracked_texts().items() for match in re.finditer(pattern, text)]
    assert found == []


def test_every_command_of_ci_starts_from_a_script_that_runs() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_engine_says_first_whose_name_it_bears() -> None:
    first_lines = (ROOT / "vendor" / "moshi.cpp" / "README.md").read_text().splitlines()[:5]
    assert "none of that" in " ".join(first_lines)


def test_ggml_licence_is_passed_on() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
    assert "Copyright (c) 2023-2026 The ggml authors" in notices
    assert "THE SOFTWARE IS PROVIDED" in notices
