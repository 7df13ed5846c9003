"""The HTTP side: status, lists, and what is refused."""

import time

import httpx
import pytest

from pymoshi.server.options import CallOptions
from server.running import RunningServer


def test_a_new_server_is_ready(server: RunningServer) -> None:
    status = server.status()
    assert status["state"] == "ready"
    assert status["model"] == "demo"
    assert status["mode"] is None
    assert status["call_seconds"] is None
    assert status["settings"]["seed"] == 7


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"text_temperature": 1e9}, "text_temperature"),
        ({"top_k": -3}, "top_k"),
        ({"text_top_k": 1.5}, "text_top_k"),
        ({"context": 0}, "context"),
        ({"seed": -1}, "seed"),
        ({"mode": "client"}, "mode"),
        ({"mode": "telephone"}, "mode"),
        ({"voice": "../secret"}, "voice"),
        ({"voice": "/etc/passwd"}, "voice"),
        ({"model": "../../secret.gguf"}, "model"),
        ({"model": "/etc/passwd"}, "model"),
        ({"prompt": "x" * 9000}, "prompt"),
        ({"volume": 3}, "volume"),
        ({"input_device": [1]}, "input_device"),
    ],
)
def test_a_wrong_value_is_named_and_starts_nothing(server: RunningServer, body: object, field: str) -> None:
    answer = server.http.post("/start", json=body)
    assert answer.status_code == 422
    assert answer.json()["reason"].startswith(f"{field}: ")
    assert server.status()["state"] == "ready"


def test_what_is_no_json_is_refused(server: RunningServer) -> None:
    answer = server.http.post("/start", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["reason"]


def test_stop_without_a_call_is_no_error(server: RunningServer) -> None:
    assert server.http.post("/stop").status_code == 202
    assert server.http.post("/stop", json={}).status_code == 202


def test_mute_without_a_call_says_why_not(server: RunningServer) -> None:
    answer = server.http.post("/mute", json={"muted": True})
    assert answer.status_code == 409
    assert "no call" in answer.json()["reason"]


def test_the_demo_is_among_the_models(server: RunningServer) -> None:
    models = {model["name"]: model for model in server.http.get("/api/models").json()}
    assert models["demo"]["installed"]
    assert models["demo"]["size_bytes"] > 1 << 20
    assert not models["personaplex:q4_k"]["installed"]


def test_personas_have_a_prompt(server: RunningServer) -> None:
    personas = server.http.get("/api/personas").json()
    assert {"name", "title", "prompt"} <= set(personas[0])


def test_the_demo_has_no_other_voices(server: RunningServer) -> None:
    assert server.http.get("/api/voices", params={"model": "demo"}).json() == []
    assert server.http.get("/api/voices", params={"model": "../../etc"}).json() == []


@pytest.mark.parametrize("name", ["NATF2", "..%2f..%2fetc%2fpasswd", "%2e%2e"])
def test_a_preview_that_is_not_there_is_not_found(server: RunningServer, name: str) -> None:
    assert server.http.get(f"/api/voices/{name}/preview").status_code == 404


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fsettings.py", "/nowhere"])
def test_files_outside_the_page_are_not_served(server: RunningServer, path: str) -> None:
    with httpx.Client() as client:
        request = httpx.Request("GET", server.url)
        request.url = httpx.URL(server.url).copy_with(raw_path=path.encode())
        assert client.send(request).status_code == 404


def test_there_is_no_recording_before_a_call(server: RunningServer) -> None:
    assert server.http.get("/recordings/latest.wav").status_code == 404


def test_health_and_metrics(server: RunningServer) -> None:
    assert server.http.get("/health").json()["status"] == "ok"
    lines = server.http.get("/metrics").text.splitlines()
    assert "pymoshi_worker_up 1" in lines
    assert "pymoshi_call_active 0" in lines
    values = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    assert all(float(value) >= 0 for _, value in values)


def test_the_api_is_described_without_a_foreign_server(server: RunningServer) -> None:
    docs = server.http.get("/docs").text
    assert "/start" in docs
    assert "http:" not in docs and "https:" not in docs
    assert "/start" in server.http.get("/openapi.json").json()["paths"]


def test_every_answer_says_what_browsers_may_do_with_it(server: RunningServer) -> None:
    for answer in (server.http.get("/"), server.http.get("/status"), server.http.post("/start", json={"seed": -1})):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_status_is_answered_whatever_the_worker_does() -> None:
    """Also while it is stopped in the middle of a call: nothing here waits for it."""
    import os
    import signal

    with RunningServer(defaults=CallOptions(model="demo")) as server, server.events() as events:
        server.http.post("/start", json={"mode": "browser"}).raise_for_status()
        events.until(lambda event: event.get("detail", "").startswith("waiting"))
        pid = server.supervisor.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            assert server.status()["state"] == "priming"
            times.append(time.perf_counter() - began)
        os.kill(pid, signal.SIGCONT)
    assert sorted(times)[len(times) // 2] < 1
