"""Who is refused: foreign pages, foreign names, those without the token, those who send too much."""

import socket
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from pymoshi.errors import InputError
from pymoshi.server.security import Bucket
from pymoshi.server.settings import Settings, is_loopback
from server.running import RunningServer

TOKEN = "correct horse"


@pytest.fixture(scope="module")
def locked() -> Any:
    """A server with a token."""
    with RunningServer(token=TOKEN, allow_hosts=("moshi.example",)) as running:
        yield running


def refused(server: RunningServer, path: str, **options: Any) -> int:
    """The status with which a WebSocket is refused."""
    with pytest.raises(InvalidStatus) as caught, server.connect(path, **options):
        pass
    return int(caught.value.response.status_code)


# ---- Host and Origin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[", "a b", ""])
def test_a_foreign_name_of_this_machine_is_refused(server: RunningServer, host: str) -> None:
    """A page that has its name point to this machine (DNS rebinding) must get nothing."""
    assert server.http.get("/status", headers={"host": host}).status_code in (400, 421)


@pytest.mark.parametrize("path", ["/ws", "/api/chat"])
def test_a_websocket_under_a_foreign_name_is_refused(server: RunningServer, path: str) -> None:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(request.encode())
        assert raw.recv(100).split()[1] == b"421"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_served_names_are_accepted(server: RunningServer, name: str) -> None:
    assert server.http.get("/status", headers={"host": f"{name}:{server.port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"]
)
def test_a_page_from_another_place_is_refused(server: RunningServer, origin: str) -> None:
    headers = {"origin": origin}
    assert server.http.post("/start", json={}, headers=headers).status_code == 403
    assert server.http.post("/stop", headers=headers).status_code == 403
    assert server.http.get("/status", headers=headers).status_code == 403
    assert refused(server, "/ws", origin=origin) == 403
    assert refused(server, "/api/chat", origin=origin) == 403
    assert server.status()["state"] == "ready"


def test_the_servers_own_page_is_accepted(server: RunningServer) -> None:
    assert server.http.post("/stop", headers={"origin": server.url}).status_code == 202
    with server.connect("/ws", origin=server.url) as page:
        assert "ready" in str(page.recv(timeout=10))


def test_a_proxy_with_tls_may_stand_before_it(locked: RunningServer) -> None:
    headers = {"host": "moshi.example", "origin": "https://moshi.example", "authorization": f"Bearer {TOKEN}"}
    assert locked.http.post("/stop", headers=headers).status_code == 202


def test_on_every_address_its_addresses_and_its_own_name_are_accepted() -> None:
    with RunningServer(host="0.0.0.0", token=TOKEN) as server:
        key = {"authorization": f"Bearer {TOKEN}"}
        for name in ("192.168.1.5", "[fe80::1]", socket.gethostname(), f"{socket.gethostname()}.local"):
            assert server.http.get("/status", headers={"host": f"{name}:{server.port}", **key}).status_code == 200
        assert server.http.get("/status", headers={"host": "evil.example", **key}).status_code == 421


# ---- the token -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/status", "/api/models", "/metrics", "/static/app.css", "/recordings/latest.wav"]
)
def test_without_the_token_nothing_is_told(locked: RunningServer, path: str) -> None:
    assert locked.http.get(path).status_code == 401


@pytest.mark.parametrize("path", ["/ws", "/api/chat"])
def test_without_the_token_no_websocket(locked: RunningServer, path: str) -> None:
    assert refused(locked, path) == 401
    assert refused(locked, path, additional_headers={"authorization": "Bearer wrong"}) in (401, 429)


def test_health_needs_no_token(locked: RunningServer) -> None:
    assert locked.http.get("/health").status_code == 200


def test_the_token_opens(locked: RunningServer) -> None:
    header = {"authorization": f"Bearer {TOKEN}"}
    assert locked.http.get("/status", headers=header).status_code == 200
    with locked.connect("/ws", additional_headers=header) as page:
        assert "ready" in str(page.recv(timeout=10))
    with locked.connect("/ws?token=correct+horse") as page:
        assert "ready" in str(page.recv(timeout=10))


def test_the_pages_address_with_the_token_sets_a_cookie_that_opens(locked: RunningServer) -> None:
    with httpx.Client(base_url=locked.url) as browser:
        cookie = browser.get("/", params={"token": TOKEN}).headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/status").status_code == 200
        pair = cookie.partition(";")[0]
    with locked.connect("/ws", additional_headers={"cookie": pair}) as page:
        assert "ready" in str(page.recv(timeout=10))


def test_the_token_in_an_address_opens_only_the_page(locked: RunningServer) -> None:
    assert locked.http.get("/status", params={"token": TOKEN}).status_code == 401


def test_guessing_is_slowed_down() -> None:
    with RunningServer(token=TOKEN) as server:
        codes = [
            server.http.get("/status", headers={"authorization": f"Bearer {guess}"}).status_code for guess in range(15)
        ]
        assert codes[0] == 401
        assert codes[-1] == 429
        right = server.http.get("/status", headers={"authorization": f"Bearer {TOKEN}"})
        assert right.status_code == 429  # a guess among many is not answered either


# ---- how much ------------------------------------------------------------------------------------------------------


def test_an_oversized_body_is_refused(server: RunningServer) -> None:
    assert server.http.post("/start", content=b"x" * 100_000).status_code == 413


def test_an_oversized_body_of_unknown_length_is_not_read(server: RunningServer) -> None:
    def endless() -> Any:
        for _ in range(10_000):
            yield b" " * 10_000

    try:
        answer = server.http.post("/start", content=endless())
    except httpx.TransportError:
        pass  # it hung up
    else:
        assert answer.status_code >= 400
    assert server.status()["state"] == "ready"


def test_a_flood_of_requests_is_bounded(server: RunningServer) -> None:
    with RunningServer() as own:
        codes = {own.http.post("/stop").status_code for _ in range(300)}
    assert codes == {202, 429}


def test_a_bucket_fills_again() -> None:
    now = 0.0
    bucket = Bucket(rate=2, burst=3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now = 1000.0
    assert bucket.level == 3


# ---- where it listens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "moshi.example", ""])
def test_beyond_this_machine_a_token_is_required(host: str) -> None:
    with pytest.raises(InputError, match="--token"):
        Settings(host=host)
    assert Settings(host=host, token="x").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert Settings(host=host).token is None


@pytest.mark.parametrize("token", ["", "  ", "schlüssel", "a\nb"])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="token"):
        Settings(token=token)
