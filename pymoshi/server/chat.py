"""/api/chat: the WebSocket that Kyutai's and NVIDIA's clients speak.

Binary messages; the first byte is the kind. From the server: 0 once, when the model listens; 1 sound, 2 text, 5 an
error, after which it closes. From the client: 1 sound; 3 control, 4 metadata and 6 ping change nothing but show that
somebody is there. Sound is Ogg-Opus in both directions, cut anywhere.

A client may speak from the first moment on: what it says before the handshake is decoded and forgotten.
"""

import asyncio
import logging
import time
from contextlib import suppress
from enum import IntEnum
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pymoshi.errors import InputError, PymoshiError
from pymoshi.server.calls import Busy, Peer, ServerCall
from pymoshi.server.metrics import Metrics
from pymoshi.server.schema import from_query
from pymoshi.server.security import Bucket
from pymoshi.server.supervisor import Supervisor

__all__ = ["ByteKind", "Chat"]

log = logging.getLogger("pymoshi")

_MOST_UNSENT: Final = 512  # messages, some 20 s; a client that is so far behind does not listen
_RATE: Final = 96 << 10  # bytes a second: Opus has 64 KB at most
_BURST: Final = 1 << 20  # bytes: what a client sends at once after a gap in its network
_TRY_AGAIN: Final = 1013
_POLICY: Final = 1008
_INTERNAL: Final = 1011
_NORMAL: Final = 1000


class ByteKind(IntEnum):
    """The first byte of a message."""

    HANDSHAKE = 0
    AUDIO = 1
    TEXT = 2
    CONTROL = 3
    METADATA = 4
    ERROR = 5
    PING = 6


class _ClientFailed(Exception):
    """The client broke a rule; its text says which."""


class Chat:
    """One connection, from its acceptance to its end."""

    def __init__(self, socket: WebSocket, supervisor: Supervisor, metrics: Metrics) -> None:
        self._socket = socket
        self._supervisor = supervisor
        self._metrics = metrics
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue(_MOST_UNSENT)
        self._behind = asyncio.Event()
        self._rate = Bucket(_RATE, _BURST)
        self._heard = time.monotonic()

    async def run(self) -> None:
        """All of it."""
        await self._socket.accept()
        try:
            call = await self._begin()
        except Busy as error:
            self._metrics.add("calls_refused_total", reason="busy")
            await self._end(str(error), _TRY_AGAIN)
        except InputError as error:
            self._metrics.add("calls_refused_total", reason="bad_value")
            await self._end(str(error), _POLICY)
        except PymoshiError as error:
            await self._end(str(error), _INTERNAL)
        else:
            try:
                await self._converse(call)
            finally:
                self._supervisor.stop(call)

    async def _begin(self) -> ServerCall:
        options, ignored = from_query(self._socket.query_params)
        if ignored:
            log.info("Without effect here: %s", ", ".join(ignored))
        peer = Peer(on_audio=lambda data: self._put(ByteKind.AUDIO, data), on_text=self._on_text)
        attached = self._supervisor.attach(peer, options)
        return attached or await self._supervisor.start("client", options, peer)

    async def _converse(self, call: ServerCall) -> None:
        """Until the call, the client or the patience with it ends."""
        tasks = {
            "client": asyncio.create_task(self._listen(call)),
            "gone": asyncio.create_task(self._watch(call)),
            "speaker": asyncio.create_task(self._speak(call)),
            "behind": asyncio.create_task(self._wait_behind()),
            "call": asyncio.create_task(self._wait_end(call)),
        }
        done, pending = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        failures = [error for task in done if (error := task.exception()) is not None]
        self._supervisor.stop(call)
        for error in failures:
            if isinstance(error, _ClientFailed | PymoshiError):
                self._metrics.add("calls_refused_total", reason="client")
                await self._end(str(error), _POLICY)
                return
            if not isinstance(error, WebSocketDisconnect):
                raise error
        if call.ended.is_set() and tasks["call"] in done:
            await self._end(call.reason if call.failed else "", _INTERNAL if call.failed else _NORMAL)
        elif not failures:
            await self._end("", _NORMAL)

    # ---- the client's side -----------------------------------------------------------------------------------------

    async def _listen(self, call: ServerCall) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            data: bytes | None = message.get("bytes")
            if not data:  # text, or nothing: not of this protocol
                continue
            if not self._rate.take(len(data)):
                raise _ClientFailed(f"More than {_RATE >> 10} kB a second were sent.")
            self._heard = time.monotonic()
            if data[0] == ByteKind.AUDIO:
                self._supervisor.hear(call, data[1:])
            elif data[0] not in (ByteKind.CONTROL, ByteKind.METADATA, ByteKind.PING):
                log.debug("A client sent a message of the unknown kind %d", data[0])

    async def _watch(self, call: ServerCall) -> None:
        """A client that vanished without a word must not keep the model from others."""
        await call.listening.wait()
        self._heard = time.monotonic()
        limit = self._supervisor.settings.client_timeout
        while (left := self._heard + limit - time.monotonic()) > 0:
            await asyncio.sleep(left)
        raise _ClientFailed(f"Nothing came for {limit:g} s.")

    # ---- the model's side ------------------------------------------------------------------------------------------

    def _on_text(self, text: str) -> None:
        self._put(ByteKind.TEXT, text.encode(errors="replace"))

    def _put(self, kind: ByteKind, content: bytes) -> None:
        try:
            self._unsent.put_nowait(bytes([kind]) + content)
        except asyncio.QueueFull:
            self._behind.set()

    async def _speak(self, call: ServerCall) -> None:
        await call.listening.wait()
        await self._socket.send_bytes(bytes([ByteKind.HANDSHAKE]))
        while True:
            await self._socket.send_bytes(await self._unsent.get())

    async def _wait_behind(self) -> None:
        await self._behind.wait()
        raise _ClientFailed("The client does not take what is sent to it.")

    async def _wait_end(self, call: ServerCall) -> None:
        await call.ended.wait()

    async def _end(self, error: str, code: int) -> None:
        """Closes; a client that takes nothing any more is not waited for."""
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(1.0):
                if self._socket.application_state is not WebSocketState.CONNECTED:
                    return
                if error:
                    await self._socket.send_bytes(bytes([ByteKind.ERROR]) + error.encode(errors="replace"))
                await self._socket.close(code, error.encode()[:120].decode(errors="ignore"))
