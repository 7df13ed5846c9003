"""A client of /api/chat, written from the description of the protocol alone.

Binary messages whose first byte is the kind: 0 handshake, 1 Ogg-Opus, 2 text, 5 an error. Mono, 24 kHz.

It keeps time by what it hears: a frame is sent for every frame that came, two ahead. So nothing has to sleep.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Self

import numpy as np
import sphn
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

FRAME = 1920
RATE = 24_000
PATIENCE = 30.0


class SpecClient:
    """One conversation over a WebSocket that it opens and closes as a context manager."""

    def __init__(self, connection: AbstractContextManager[ClientConnection]) -> None:
        self._connection = connection
        self._encoder = sphn.OpusStreamWriter(RATE)
        self._decoder = sphn.OpusStreamReader(RATE)
        self._heard: list[NDArray[np.float32]] = []
        self.text = ""
        self.error = ""
        self.ready = False

    @property
    def heard(self) -> NDArray[np.float32]:
        """What the model said so far, [n]."""
        return np.concatenate([np.zeros(0, np.float32), *self._heard])

    @property
    def seconds(self) -> float:
        """How much that is."""
        return sum(block.size for block in self._heard) / RATE

    @property
    def code(self) -> int | None:
        """With which the connection was closed."""
        return self.socket.close_code

    def say(self, pcm: NDArray[np.float32]) -> None:
        """Sends one frame."""
        data = self._encoder.append_pcm(pcm)
        if data:
            self.socket.send(b"\x01" + bytes(data))

    def listen(self) -> bool:
        """Takes the next message. Returns whether there was one: False at the end."""
        try:
            message = self.socket.recv(timeout=PATIENCE)
        except ConnectionClosed:
            return False
        assert isinstance(message, bytes)
        match message[0]:
            case 0:
                self.ready = True
            case 1:
                self._heard.append(np.asarray(self._decoder.append_bytes(message[1:]), np.float32).reshape(-1))
            case 2:
                self.text += message[1:].decode()
            case 5:
                self.error = message[1:].decode()
            case kind:
                raise AssertionError(f"a message of the unknown kind {kind}")
        return True

    def wait_until_ready(self) -> None:
        """For the handshake, which is the first message."""
        assert self.listen(), f"closed with {self.code}: {self.error}"
        assert self.ready, self.error

    def converse(self, seconds: float, speech: NDArray[np.float32] | None = None) -> None:
        """Says the speech, and silence around it, until it has heard so much."""
        frames = _frames(speech)
        start, sent = self.seconds, 0
        while self.seconds < start + seconds:
            while sent * FRAME <= (self.seconds - start) * RATE + FRAME:
                self.say(next(frames))
                sent += 1
            assert self.listen(), f"closed with {self.code}: {self.error}"

    def drain(self) -> None:
        """Takes everything until the server closes."""
        while self.listen():
            pass

    def close(self) -> None:
        """Ends the conversation."""
        self.socket.close()

    def __enter__(self) -> Self:
        self.socket = self._connection.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)


def _frames(speech: NDArray[np.float32] | None) -> Iterator[NDArray[np.float32]]:
    if speech is not None:
        yield from speech[: speech.size // FRAME * FRAME].reshape(-1, FRAME)
    while True:
        yield np.zeros(FRAME, np.float32)
