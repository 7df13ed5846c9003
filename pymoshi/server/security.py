"""Who may speak to the server, how much, and how often. An ASGI middleware: what it refuses reaches nothing else.

- Host must be one of the served names: a foreign name that resolves to this machine (DNS rebinding) is refused.
- Origin, if there is one, must be the server itself: a foreign web page must not listen to the microphone.
- The token, if there is one, must come as `Authorization: Bearer`, as the cookie that the page's address with `?token=`
  sets, or, for WebSocket clients that can do neither, as `?token=`. Guesses are slowed down.
- Bodies and the rate of requests that change something are bounded.
"""

import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pymoshi.server.metrics import Metrics
from pymoshi.server.settings import Settings

__all__ = ["COOKIE", "Bucket", "Security"]

COOKIE: Final = "pymoshi_token"
MOST_BODY: Final = 64 << 10  # bytes: a prompt of 8000 characters, in any script, escaped
_POLICY: Final = (
    "default-src 'self'; connect-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",  # an address may hold the token
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN: Final = frozenset({"/health"})  # for those who watch over the server
_ASK: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>pymoshi</title>
<meta name="viewport" content="width=device-width"><h1>This server wants its token</h1>
<p>It was printed where the server was started: <code>pymoshi serve</code>.</p>
<form method="get" action="/"><label>Token <input name="token" type="password" autocomplete="current-password" required>
</label> <button>Open</button></form></html>"""


class Bucket:
    """Lets `rate` a second through, and `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._then = burst, clock()

    @property
    def level(self) -> float:
        """What could be taken now."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._then) * self._rate)
        self._then = now
        return self._level

    def take(self, amount: float = 1.0) -> bool:
        """Whether there is so much left; takes it if so."""
        if self.level < amount:
            return False
        self._level -= amount
        return True


class Security:
    """The middleware."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._names = _served_names(settings)
        self._any_address = _is_wildcard(settings.host)
        self._changes = Bucket(rate=20, burst=200)
        self._guesses: OrderedDict[str, Bucket] = OrderedDict()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            reason, response = refusal
            self._metrics.add("requests_refused_total", reason=reason)
            await _refuse(response, scope, receive, send)
            return
        cookie = self._cookie(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = list(message.get("headers", []))
                present = {name.lower() for name, _ in fields}
                fields += [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
                if cookie:
                    fields.append((b"set-cookie", cookie.encode()))
                message = {**message, "headers": fields}
            await send(message)

        await self._app(scope, _bounded(receive) if scope["type"] == "http" else receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[str, Response] | None:
        """(the reason in a word, what is answered), or None."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._serves(hosts[0]):
            return "host", _problem(
                421,
                f"This server is not called {', '.join(hosts) or '(nothing)'!r:.100}. Its other names: --allow-host.",
            )
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin, hosts[0]):
            return "origin", _problem(403, "A page from another place must not use this server.")
        if not self._is_known(scope, headers):
            return self._unknown(scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return "size", _problem(413, f"A request may have {MOST_BODY} bytes.")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if changes and not self._changes.take():
            return "rate", _problem(429, "Too many requests; try again in a second.")
        return None

    def _serves(self, host: str) -> bool:
        name = _name_of(host)
        if name in self._names:
            return True
        return self._any_address and _is_address(name)  # no foreign name can be an address

    # ---- the token -------------------------------------------------------------------------------------------------

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        token = self._settings.token
        if token is None or scope["path"] in _OPEN:
            return True
        shown = _shown_tokens(scope, headers)
        bucket = self._guesses.get(_address(scope))
        if shown and bucket is not None and bucket.level < 1:
            return False  # not even the right one: else guessing would go on
        return any(hmac.compare_digest(one.encode(), token.encode()) for one in shown)

    def _unknown(self, scope: Scope) -> tuple[str, Response]:
        address = _address(scope)
        guesses = self._guesses.setdefault(address, Bucket(rate=0.2, burst=10))
        self._guesses.move_to_end(address)
        if len(self._guesses) > 1000:
            self._guesses.popitem(last=False)
        if _shown_tokens(scope, Headers(scope=scope)) and not guesses.take():
            return "guesses", _problem(429, "Too many wrong tokens; try again in a minute.")
        if scope["type"] == "http" and scope["path"] == "/":
            return "token", HTMLResponse(_ASK, 401, headers=_HEADERS)
        text = "This server wants its token: Authorization: Bearer TOKEN, or open its page once with ?token=TOKEN."
        return "token", _problem(401, text, {"www-authenticate": "Bearer"})

    def _cookie(self, scope: Scope) -> str:
        """For the page's next requests, if its address had the token."""
        if self._settings.token is None or scope["type"] != "http" or scope["path"] != "/":
            return ""
        if not _query_token(scope):
            return ""
        secure = "; Secure" if scope["scheme"] == "https" else ""
        return f"{COOKIE}={_hexed(self._settings.token)}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _hexed(token: str) -> str:
    """A token as a cookie's value, which may not hold every character."""
    return token.encode().hex()


def _shown_tokens(scope: Scope, headers: Headers) -> list[str]:
    shown = []
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        shown.append(value.strip())
    if (scope["type"] == "websocket" or scope["path"] == "/") and (asked := _query_token(scope)):
        shown.append(asked)
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        if morsel is not None:
            shown.append(bytes.fromhex(morsel.value).decode())
    except (CookieError, ValueError):
        pass
    return shown


def _query_token(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("token", [""])[-1]


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


# ---- names ---------------------------------------------------------------------------------------------------------


def _served_names(settings: Settings) -> set[str]:
    names = {"localhost", "127.0.0.1", "::1", *(name.lower() for name in settings.allow_hosts)}
    if _is_wildcard(settings.host):
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local"}
    else:
        names.add(settings.host.strip("[]").lower())
    return names


def _is_wildcard(host: str) -> bool:
    return host.strip("[]") in ("0.0.0.0", "::", "")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """Without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_place(origin: str, host: str) -> bool:
    """Whether a page from `origin` belongs to the server that was called as `host`. "null" belongs to nobody.

    The scheme may differ: a proxy before the server may speak TLS.
    """
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
        default = {"http": 80, "https": 443}.get(theirs.scheme)
        if default is None or not theirs.hostname:
            return False
        ports = {theirs.port or default, ours.port or default}
        return theirs.hostname == ours.hostname and len(ports) == 1
    except ValueError:
        return False


# ---- answers -------------------------------------------------------------------------------------------------------


def _problem(code: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason}, code, headers=_HEADERS | (headers or {}))


async def _refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    # A WebSocket that is not accepted: the client sees the status and the text of a plain answer.
    start = {"type": "websocket.http.response.start", "status": response.status_code, "headers": response.raw_headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": response.body})


def _bounded(receive: Receive) -> Receive:
    """Without Content-Length a body could be endless."""
    total = 0

    async def bounded() -> Message:
        nonlocal total
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > MOST_BODY:
                return {"type": "http.disconnect"}
        return message

    return bounded
