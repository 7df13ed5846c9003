"""What a server is started with."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from pymoshi.errors import InputError
from pymoshi.server.options import CallOptions

__all__ = ["Settings", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Settings:
    """All options of a server. Raises InputError if they do not go together."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 for any that is free."""
    defaults: CallOptions = field(default_factory=CallOptions)
    """Of every call; what a client names replaces them."""
    device: str = "auto"
    threads: int | None = None
    mimi: Path | None = None
    tokenizer: Path | None = None
    token: str | None = None
    """What clients must know; None for a server that only this machine can reach."""
    allow_hosts: tuple[str, ...] = ()
    """Names in addition to `host` by which the server may be called, e.g. that of a proxy before it."""
    ssl_cert: Path | None = None
    ssl_key: Path | None = None
    idle_unload: float = 300.0
    """Seconds without a call, after which the worker ends and gives all memory back; 0: at once."""
    client_timeout: float = 8.0
    """Seconds without a message, after which a client is taken for gone."""
    prepared_timeout: float = 30.0
    """Seconds that a call which was prepared for the browser waits for its sound."""
    log_text: bool = False
    """Whether the log may hold what the model said."""

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"Other machines can reach {self.host}: give --token TOKEN (or PYMOSHI_TOKEN in the environment), "
                "which clients then have to know; --token auto draws one. Or stay on 127.0.0.1 and use a tunnel."
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InputError("The token must be of printable ASCII characters, and not empty.")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise InputError("--ssl-cert and --ssl-key go together: the certificate, and its private key.")
        if not 0 <= self.port <= 65_535:
            raise InputError(f"--port must be from 0 to 65535, not {self.port}.")
        if self.idle_unload < 0:
            raise InputError(f"--idle-unload must not be negative; found {self.idle_unload:g}.")

    @property
    def scheme(self) -> str:
        """Of the server's address."""
        return "https" if self.ssl_cert else "http"
