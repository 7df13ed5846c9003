"""The worker crashes, hangs, idles; clients vanish, stall, babble. The server goes on."""

import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pymoshi.server import app
from pymoshi.server import supervisor as supervising
from pymoshi.server.options import CallOptions
from server import processes
from server.running import PATIENCE, RunningServer
from server.spec_client import SpecClient


def wait_until(condition: Callable[[], bool], server: RunningServer) -> None:
    """Until it holds; the server's own events are the clock."""
    with server.events() as events:
        for _ in range(int(PATIENCE)):
            if condition():
                return
            events.until(lambda event: event["type"] == "heartbeat")
    assert condition()


def kill_worker(server: RunningServer, number: int = signal.SIGKILL) -> int:
    wait_until(lambda: server.supervisor.worker_pid is not None, server)
    pid = server.supervisor.worker_pid
    assert pid is not None
    os.kill(pid, number)
    return pid


def test_a_killed_worker_is_told_of_and_the_next_call_works() -> None:
    with RunningServer() as server, server.events() as events:
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            client.converse(0.5)
            kill_worker(server)
            failed = events.until_state("failed")
            client.drain()
        assert "SIGKILL" in failed["reason"]
        assert client.error == failed["reason"]
        assert client.code == 1011
        assert server.http.get("/health").json()["status"] == "degraded"

        began = time.monotonic()
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            took = time.monotonic() - began
            client.converse(0.5)
        assert took < PATIENCE
        assert server.http.get("/health").json()["status"] == "ok"
        assert "pymoshi_worker_crashes_total 1" in server.http.get("/metrics").text


def test_a_worker_that_dies_while_nobody_calls_is_replaced_when_one_is_needed() -> None:
    with RunningServer() as server, server.events() as events:
        kill_worker(server)
        events.until(lambda event: event["type"] == "log" and event["level"] == "error")
        assert server.status()["state"] == "ready"
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "_NO_HEARTBEAT", 2.5)
    with RunningServer() as server, server.events() as events, SpecClient(server.connect("/api/chat")) as client:
        client.wait_until_ready()
        pid = kill_worker(server, signal.SIGSTOP)
        assert "did not answer" in events.until_state("failed")["reason"]
        wait_until(lambda: not processes.exists(pid), server)


def test_after_some_time_without_a_call_all_memory_is_given_back() -> None:
    with RunningServer(idle_unload=0.0) as server, server.events() as events:
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            pid = server.supervisor.worker_pid
            events.until_state("listening")
        events.until(lambda event: event["type"] == "state" and event["state"] == "ready" and not event["loaded"])
        assert pid is not None
        assert not processes.exists(pid)
        with SpecClient(server.connect("/api/chat")) as client:  # and is taken again when it is needed
            client.wait_until_ready()


def test_stop_gives_the_models_memory_back_if_asked() -> None:
    with RunningServer() as server:
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            assert server.status()["loaded"]
            assert not server.http.post("/stop", json={"unload": True}).json()["loaded"]
        assert server.supervisor.worker_pid is None


def test_no_worker_outlives_the_server() -> None:
    with RunningServer() as server, SpecClient(server.connect("/api/chat")) as client:
        client.wait_until_ready()
        pid = server.supervisor.worker_pid
    assert pid is not None
    assert not processes.exists(pid)


def test_a_prepared_call_goes_on_with_the_browsers_sound(tmp_path: Path) -> None:
    with RunningServer() as server, server.events() as events:
        server.http.post("/start", json={"mode": "browser", "seed": 5, "record": True}).raise_for_status()
        events.until(lambda event: event.get("detail") == "waiting for the browser's sound")
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            assert server.status()["mode"] == "browser"
            assert server.status()["settings"]["seed"] == 5
            client.converse(1.0)
        events.until_state("ready")
        assert server.http.get("/recordings/latest.wav").status_code == 200


def test_a_prepared_call_that_nobody_takes_ends() -> None:
    with RunningServer(prepared_timeout=0.2) as server, server.events() as events:
        server.http.post("/start", json={"mode": "browser"}).raise_for_status()
        assert "did not send" in events.until_state("failed")["reason"]


def test_parameters_override_what_was_prepared() -> None:
    with RunningServer() as server:
        server.http.post("/start", json={"mode": "browser", "seed": 5}).raise_for_status()
        with SpecClient(server.connect("/api/chat?seed=6")) as client:
            client.wait_until_ready()
            assert server.status()["settings"]["seed"] == 6


@pytest.mark.parametrize("moment", ["at once", "in the call"])
def test_a_client_that_vanishes_frees_the_model(moment: str) -> None:
    with RunningServer() as server, server.events() as events:
        with SpecClient(server.connect("/api/chat")) as client:
            if moment == "in the call":
                client.wait_until_ready()
            # As if its machine had gone: the connection is reset, without a word of farewell.
            client.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.socket.socket.close()
        events.until_state("ready")


def test_a_client_that_falls_silent_frees_the_model() -> None:
    with RunningServer(client_timeout=0.5) as server:
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            client.drain()
        assert "Nothing came" in client.error
        assert client.code == 1008
        wait_until(lambda: server.status()["state"] == "ready", server)


def test_a_page_that_does_not_read_is_left_behind_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_SEND_WITHIN", 0.5)
    with RunningServer() as server:
        hub, loop = server.app.state.hub, server.loop
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            with server.events() as events:  # a page that does read
                wait_until(lambda: len(hub) >= 2, server)
                for _ in range(20_000):
                    loop.call_soon_threadsafe(hub.publish, {"type": "log", "text": "x" * 20_000})
                    events.until(lambda event: event["type"] == "log")
                    if len(hub) == 1:
                        break
                assert len(hub) == 1
            assert server.status()["state"] == "ready"


def test_a_hundred_bad_clients_leave_nothing_behind() -> None:
    """They connect and go, stall, send garbage, break off in the middle of a message, call twice."""
    silence = np.zeros(1920, np.float32)

    def vanish(client: SpecClient) -> None:
        client.socket.socket.shutdown(socket.SHUT_RDWR)

    def stall(client: SpecClient) -> None:
        client.drain()

    def garbage(client: SpecClient) -> None:
        client.socket.send(b"\x01OggS" + os.urandom(500))
        client.drain()

    def half_a_message(client: SpecClient) -> None:
        client.socket.socket.sendall(b"\x82\xfe\x10\x00\x01\x02\x03\x04half")
        client.socket.socket.shutdown(socket.SHUT_RDWR)

    def converse(client: SpecClient) -> None:
        client.wait_until_ready()
        client.say(silence)
        client.listen()

    kinds = [vanish, converse, garbage, half_a_message, stall]
    with RunningServer(client_timeout=0.3, defaults=CallOptions(model="demo")) as server:

        def round_of(count: int) -> None:
            for i in range(count):
                with SpecClient(server.connect("/api/chat")) as client:
                    kinds[i % len(kinds)](client)
            wait_until(lambda: server.status()["state"] in ("ready", "failed"), server)

        def counts() -> list[int]:
            gc.collect()
            return [count(pid) for pid in (os.getpid(), worker()) for count in (processes.handles, processes.threads)]

        def worker() -> int:
            assert server.supervisor.worker_pid is not None
            return server.supervisor.worker_pid

        def memory() -> int:
            return processes.resident(os.getpid()) + processes.resident(worker())

        round_of(10)  # what is made once has been made
        pid, before, memory_before = worker(), counts(), memory()
        round_of(100)
        wait_until(lambda: all(after <= then + 8 for after, then in zip(counts(), before, strict=True)), server)
        assert worker() == pid, "the worker crashed"
        assert memory() - memory_before < 40 << 20
        assert processes.children() == [pid]
        with SpecClient(server.connect("/api/chat")) as client:
            client.wait_until_ready()
            client.converse(0.5)


def test_a_client_that_does_not_take_the_sound_is_let_go() -> None:
    with RunningServer() as server:
        with SpecClient(server.connect("/api/chat", max_queue=1)) as client:
            client.wait_until_ready()
            call = server.supervisor.call
            assert call is not None
            assert call.peer is not None
            for _ in range(2000):  # 100 MB, more than any buffer on the way holds
                server.loop.call_soon_threadsafe(call.peer.on_audio, bytes(50_000))
            wait_until(lambda: server.supervisor.call is not call, server)
        assert server.status()["state"] in ("ready", "stopping")
