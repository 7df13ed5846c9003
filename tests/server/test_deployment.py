"""The Dockerfiles and the systemd unit start the server as it wants to be started, and build as README.md says."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pymoshi.cli.app import app
from pymoshi.server.serve import Server
from pymoshi.server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
UNIT = ROOT / "examples" / "systemd" / "pymoshi.service"


def started(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings with which `pymoshi ARGUMENTS` would serve."""
    seen: list[Settings] = []

    def keep(self: Server, settings: Settings) -> None:
        seen.append(settings)

    monkeypatch.setattr(Server, "__init__", keep)
    monkeypatch.setattr(Server, "run", lambda *_, **__: None)
    result = CliRunner().invoke(app, [*arguments, "--port", "0"])
    assert result.exception is None, result.exception
    return seen[0]


def test_there_is_one_for_each_backend() -> None:
    assert [path.suffix for path in DOCKERFILES] == [".cpu", ".cuda", ".vulkan"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_a_container_serves_to_those_who_know_the_token(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text("utf-8")
    command = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.M)[-1]) + json.loads(
        re.findall(r"^CMD (.*)$", text, re.M)[-1]
    )
    assert command[0] == "pymoshi"
    monkeypatch.setenv("PYMOSHI_TOKEN", "choose-one")
    settings = started(command[1:], monkeypatch)
    assert settings.host == "0.0.0.0"
    assert settings.token == "choose-one"
    assert "-e PYMOSHI_TOKEN=choose-one" in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.suffix)
def test_a_container_is_built_with_the_options_of_the_readme(path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    backend = path.suffix.removeprefix(".").upper()
    text = path.read_text("utf-8")
    if backend != "CPU":
        assert f"-C cmake.define.GGML_{backend}=ON" in text
        assert f"-C cmake.define.GGML_{backend}=ON" in readme
    assert "-C cmake.define.GGML_NATIVE=OFF" in text  # it runs elsewhere
    assert "'.[serve]'" in text


def test_the_unit_serves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    line = re.findall(r"^ExecStart=(.*)$", UNIT.read_text("utf-8"), re.M)[0]
    program, *arguments = shlex.split(line)
    assert program.endswith("/bin/pymoshi")
    settings = started(arguments, monkeypatch)
    assert settings.host == "127.0.0.1"
    assert settings.idle_unload == 600
