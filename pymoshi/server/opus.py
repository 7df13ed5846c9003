"""A peer's sound as a conversation's source and sink: Ogg-Opus in, Ogg-Opus out.

    bytes -> Opus decoder -> Capture -> conversation -> Opus encoder -> bytes

The source is the same ring as a sound card's, and the loop does with it what it does with a sound card's.
"""

import threading
from collections.abc import Callable
from typing import Final

import numpy as np
import sphn

from pymoshi.audio.capture import Capture
from pymoshi.audio.files import SAMPLE_RATE
from pymoshi.audio.ports import PortStats, Samples
from pymoshi.audio.signals import NullSink
from pymoshi.errors import InputError

_PIECE: Final = 1024  # bytes that are decoded before it is looked whether they were too much
_BURST: Final = 30 * SAMPLE_RATE  # samples that may come at once: what a stalled network held back


class OpusSource:
    """What a peer says: an AudioSource fed with the bytes of its stream, however they are cut."""

    paced = True

    def __init__(self) -> None:
        self._decoder = sphn.OpusStreamReader(SAMPLE_RATE)
        self._ring = Capture(SAMPLE_RATE)
        self._open = threading.Event()
        self._credit = float(_BURST)

    def begin(self) -> None:
        """From now on it is heard. What came before was decoded, as a stream has to be from its beginning, and lost."""
        self._open.set()

    def feed(self, data: bytes, elapsed: float) -> None:
        """More of the stream; `elapsed` seconds after the last of it.

        Raises InputError if it is no Ogg-Opus, or if there is far more of it than time has passed.
        """
        self._credit = min(_BURST, self._credit + 2 * elapsed * SAMPLE_RATE)
        for at in range(0, len(data), _PIECE):
            pcm = self._decode(data[at : at + _PIECE])
            self._credit -= pcm.size
            if self._credit < 0:
                raise InputError("The sound comes faster than anybody speaks.")
            if pcm.size and self._open.is_set():
                self._ring.push(pcm)

    def _decode(self, data: bytes) -> Samples:
        try:
            pcm = self._decoder.append_bytes(data)
        except BaseException as error:  # a panic of the decoder is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise InputError(f"The sound is not an Ogg-Opus stream: {error}.") from None
        return np.asarray(pcm, np.float32).reshape(-1)

    def read(self, n: int, timeout: float) -> Samples | None:
        return self._ring.read(n, timeout)

    def pending(self) -> int:
        return self._ring.pending()

    def skip(self, n: int) -> int:
        return self._ring.skip(n)

    def stats(self) -> PortStats:
        return self._ring.stats()

    def close(self) -> None:
        self._ring.close()


class OpusSink(NullSink):
    """What a peer hears: an AudioSink that passes the bytes of a stream on, some 33 kbit/s."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._encoder = sphn.OpusStreamWriter(SAMPLE_RATE)
        self._send = send

    def write(self, pcm: Samples) -> None:
        data = self._encoder.append_pcm(np.ascontiguousarray(pcm, np.float32))
        if data:
            self._send(bytes(data))
