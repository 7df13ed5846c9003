"""A call as the server sees it: who, where, how far it has come."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pymoshi.errors import StateError
from pymoshi.server.options import CallOptions, Mode

__all__ = ["Busy", "Peer", "Phase", "ServerCall"]


class Busy(StateError):
    """There is a call already."""


class Phase(StrEnum):
    """What the server as a whole is doing."""

    READY = "ready"
    LOADING = "loading"
    PRIMING = "priming"
    LISTENING = "listening"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a call that is not at this machine. Both are called in the event loop and must not wait."""

    on_audio: Callable[[bytes], None]
    on_text: Callable[[str], None]


@dataclass(slots=True, eq=False)
class ServerCall:
    """A call as the server sees it."""

    number: int
    mode: Mode
    options: CallOptions
    peer: Peer | None = None
    began: float | None = None
    """When it reached the state listening, by the monotonic clock."""
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Of which exactly one comes, or `listening` first."""
    reason: str = ""
    failed: bool = False
    stop_by: float | None = None
    launched: bool = False
    """Whether the worker was told."""
    early: list[bytes] = field(default_factory=list)
    """What the peer said before."""
