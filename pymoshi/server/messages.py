"""What passes between the server and its worker: through two pipes, one message after the other.

A message is four bytes of length, one of kind, and its content: a JSON object, or bytes of an Ogg-Opus stream. To the
worker go commands (`do`: start, attach, stop, mute, unload), from it come news (`type`, the same as on /ws, and
`phase`, `ended`, `model`, `heartbeat`). Nothing is ever unpickled.
"""

import asyncio
import json
from enum import IntEnum
from typing import Any, BinaryIO, Final

from pymoshi.errors import InternalError

__all__ = ["Kind", "pack_audio", "pack_json", "read", "read_from", "unpack_json"]

LONGEST: Final = 4 << 20  # bytes
_HEADER: Final = 5


class Kind(IntEnum):
    """Of a message."""

    JSON = 0
    AUDIO = 1


def pack_json(message: dict[str, Any]) -> bytes:
    """A command or news, ready to be written."""
    return _pack(Kind.JSON, json.dumps(message, separators=(",", ":")).encode())


def pack_audio(data: bytes) -> bytes:
    """Bytes of an Ogg-Opus stream, ready to be written."""
    return _pack(Kind.AUDIO, data)


def _pack(kind: Kind, content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + bytes([kind]) + content


def unpack_json(content: bytes) -> dict[str, Any]:
    """The object in a message. Raises InternalError."""
    message = json.loads(content)
    if not isinstance(message, dict):
        raise InternalError(f"A message between the server and its worker is no object: {message!r:.80}")
    return message


def _header(header: bytes) -> tuple[int, Kind]:
    length = int.from_bytes(header[:4], "little")
    if length > LONGEST or header[4] not in list(Kind):
        raise InternalError("The pipe between the server and its worker carries something else than messages.")
    return length, Kind(header[4])


def read(pipe: BinaryIO) -> tuple[Kind, bytes] | None:
    """The next message, waiting for it; None at the pipe's end. Raises InternalError."""
    header = pipe.read(_HEADER)
    if len(header) < _HEADER:
        return None
    length, kind = _header(header)
    content = pipe.read(length)
    return (kind, content) if len(content) == length else None


async def read_from(pipe: asyncio.StreamReader) -> tuple[Kind, bytes] | None:
    """As `read`, without blocking."""
    try:
        length, kind = _header(await pipe.readexactly(_HEADER))
        return kind, await pipe.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
