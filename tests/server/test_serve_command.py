"""`pymoshi serve` as a person starts and ends it."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from websockets.sync.client import connect

from pymoshi.cli.app import app
from pymoshi.errors import PymoshiError
from pymoshi.server.serve import Server
from pymoshi.server.settings import Settings
from server import processes
from server.running import PATIENCE, RunningServer
from server.spec_client import SpecClient

TLS = Path(__file__).with_name("tls")
LONGEST_END = 15.0  # s; on a machine with a free core it is below one, and benchmarks may assert that


@contextmanager
def serve(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, its address)."""
    command = [sys.executable, "-m", "pymoshi", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "Talk with" in line, line + process.stderr.read()
            yield process, line.split(" at ")[1].split()[0].rstrip("/")
        finally:
            process.kill()


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """(exit code, what it still said)."""
    process.send_signal(number)
    _, said = process.communicate(timeout=LONGEST_END)
    return process.returncode, said


def worker_of(process: subprocess.Popen[str]) -> int:
    """The worker's process, waiting until the server has one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            if children := (task / "children").read_text().split():
                return int(children[0])
    raise AssertionError("the server has no worker")


def gone(pid: int) -> bool:
    """Whether the process ends; waits for it."""
    deadline = time.monotonic() + PATIENCE
    while processes.exists(pid) and time.monotonic() < deadline:
        os.sched_yield()
    return not processes.exists(pid)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["idle", "in a call"])
def test_a_signal_ends_it_and_its_worker(number: signal.Signals, code: int, moment: str) -> None:
    with serve() as (process, address):
        worker = worker_of(process)
        if moment == "in a call":
            with httpx.Client(base_url=address) as http:
                http.post("/start", json={"mode": "browser"}).raise_for_status()
        returned, said = end(process, number)
        assert returned == code
        assert "Traceback" not in said
        assert gone(worker)


def test_a_killed_server_leaves_no_worker() -> None:
    with serve() as (process, _):
        worker = worker_of(process)
        process.kill()
        assert gone(worker)


def test_a_port_in_use_is_told_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "pymoshi", "serve", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "256.1.1.1", "--token", "x"], "--host 256.1.1.1"),
        (["--port", "70000"], "--port"),
        (["--temperature", "-1"], "--temperature"),
        (["--context", "1"], "--context"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--ssl-cert", "cert.pem"], "--ssl-key"),
        (["--ssl", "/nowhere"], "cert.pem"),
        (["--ssl-cert", __file__, "--ssl-key", __file__], "PEM"),
        (["--prompt", "a", "--persona", "teacher"], "only one"),
        (["--idle-unload", "-1"], "--idle-unload"),
    ],
)
def test_a_wrong_option_is_explained(options: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "run", lambda *_, **__: pytest.fail("it serves"))
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert isinstance(result.exception, PymoshiError)
    assert said in str(result.exception)


def test_a_drawn_token_is_told_and_needed() -> None:
    with serve("--token", "auto") as (_, address):
        place, _, token = address.partition("/?token=")
        assert len(token) >= 20
        with httpx.Client(base_url=place) as http:
            assert http.get("/status").status_code == 401
            assert http.get("/status", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_with_a_certificate_it_speaks_tls() -> None:
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    with RunningServer(ssl_cert=TLS / "cert.pem", ssl_key=TLS / "key.pem") as server:
        assert httpx.get(f"https://127.0.0.1:{server.port}/status", verify=context).status_code == 200
        with SpecClient(server.connect("/api/chat", ssl=context)) as client:
            client.wait_until_ready()
            client.converse(0.5)


@pytest.mark.parametrize("asked", [False, True])
def test_what_was_said_is_logged_only_if_asked_for(asked: bool) -> None:
    with serve("--token", "auto", *(["--log-text"] if asked else [])) as (process, address):
        place, _, token = address.partition("/?token=")
        path = f"{place.replace('http', 'ws')}/api/chat?token={token}&text_prompt=Top+secret"
        with SpecClient(connect(path, proxy=None)) as client:
            client.wait_until_ready()
            client.converse(4.0)
            words = client.text.split()
        _, said = end(process, signal.SIGTERM)
    assert words
    assert "secret" not in said
    assert token not in said
    assert (words[0] in said) == asked


def test_settings_know_their_scheme() -> None:
    assert Settings().scheme == "http"
    assert Settings(ssl_cert=TLS / "cert.pem", ssl_key=TLS / "key.pem").scheme == "https"
