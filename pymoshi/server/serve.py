"""Runs the application until Ctrl-C or SIGTERM."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
import websockets.http11
from fastapi import FastAPI

from pymoshi.errors import InputError
from pymoshi.server.app import create_app
from pymoshi.server.settings import Settings

__all__ = ["Server", "bind", "serve"]

log = logging.getLogger("pymoshi")

_MOST_MESSAGE = 64 << 10  # bytes: 15 s of sound at the usual rate
_LONGEST_ADDRESS = 64 << 10  # bytes, with all headers: 8000 characters of a prompt in any script
_MOST_CONNECTIONS = 200
_PING_EVERY, _PONG_WITHIN = 10.0, 10.0  # s
_LOST_WITHIN = 20_000  # ms: a peer whose machine is gone, or that takes nothing


class Server(uvicorn.Server):
    """uvicorn, in a server's settings. `run` takes the sockets of `bind`."""

    def __init__(self, settings: Settings, app: FastAPI | None = None) -> None:
        self.app = app or create_app(settings)
        # A prompt is a part of the address. What is longer than this lets uvicorn hang, so what h11 has taken must fit.
        websockets.http11.MAX_LINE_LENGTH = 2 * _LONGEST_ADDRESS
        config = uvicorn.Config(
            self.app,
            log_config=None,  # uvicorn would write addresses with their tokens and prompts into its log
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=_MOST_MESSAGE,
            ws_ping_interval=_PING_EVERY,
            ws_ping_timeout=_PONG_WITHIN,
            ws_per_message_deflate=False,  # Opus does not shrink, and a few bytes could unfold to megabytes
            h11_max_incomplete_event_size=_LONGEST_ADDRESS,
            http="h11",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
            server_header=False,
            ssl_certfile=settings.ssl_cert,
            ssl_keyfile=None if settings.ssl_key is None else str(settings.ssl_key),
        )
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.error").addFilter(_is_no_refusal)
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"The certificate {settings.ssl_cert} and its key {settings.ssl_key} cannot be used: {error}. "
                "Both have to be PEM files, the key without a password."
            ) from error
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the worker and the connections at the same time: within a second."""
        closing = asyncio.create_task(self.app.state.supervisor.close())
        await super().shutdown(sockets)
        await closing


def _is_no_refusal(record: logging.LogRecord) -> bool:
    """uvicorn takes a WebSocket that `Security` has answered with an error for one that it forgot."""
    return "without completing handshake" not in record.getMessage()


def bind(settings: Settings) -> socket.socket:
    """The socket to listen on. Raises InputError if the address cannot be had."""
    host = settings.host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"--host {settings.host}: {error.strerror or error}") from error
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
            with suppress(OSError):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LOST_WITHIN)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"Port {settings.port} of {settings.host} is in use: another server runs there. End it, or choose "
                "another one with --port (0 finds a free one)."
            ) from error
        raise InputError(f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}") from error
    return listener


def address(settings: Settings, listener: socket.socket) -> str:
    """Where a browser finds the server."""
    host = settings.host.strip("[]")
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return f"{settings.scheme}://{host}:{listener.getsockname()[1]}/"


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serves until a signal comes; `ready` is called with the address once connections are taken.

    Raises InputError (address, certificate). Signals are raised again at the end.
    """
    listener = bind(settings)
    try:
        server = Server(settings)
        ready(address(settings, listener))
        server.run(sockets=[listener])
    finally:
        listener.close()


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of a folder, as Kyutai's and NVIDIA's servers name them. Raises InputError."""
    found = folder / "cert.pem", folder / "key.pem"
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        raise InputError(f"--ssl {folder}: there is no {' and no '.join(missing)} in it.")
    return found
