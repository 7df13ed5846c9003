"""A sound card for another process: stands in for the package sounddevice, first on its path.

One device, in and out. Its microphone hears a tone, its clock is the system's. PYMOSHI_FAKE_CARD=none takes it away.
"""

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

_HERE = os.environ.get("PYMOSHI_FAKE_CARD") != "none"


class PortAudioError(Exception):
    """As the real one."""


default = SimpleNamespace(device=(0, 0) if _HERE else (-1, -1))


def query_devices() -> list[dict[str, Any]]:
    """All of them."""
    card = {"index": 0, "name": "Fake card", "hostapi": 0, "default_samplerate": 24000.0}
    return [card | {"max_input_channels": 1, "max_output_channels": 1}] if _HERE else []


def query_hostapis() -> list[dict[str, Any]]:
    """One."""
    return [{"name": "ALSA"}]


def _initialize() -> None:
    pass


_terminate = _initialize


class Stream:
    """Duplex, driven by a thread."""

    def __init__(self, *, samplerate: int, blocksize: int, callback: Any, **_: Any) -> None:
        self.samplerate, self.latency, self.active = float(samplerate), (0.01, 0.01), False
        self._n, self._callback = blocksize, callback
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Sound flows."""
        self.active = True
        self._thread.start()

    def _run(self) -> None:
        status = SimpleNamespace(
            input_overflow=False, input_underflow=False, output_underflow=False, output_overflow=False
        )
        phase, due = np.arange(self._n), time.monotonic()
        while self.active:
            tone = 0.1 * np.sin(phase * (2 * np.pi * 300 / self.samplerate)).astype(np.float32)
            self._callback(tone[:, np.newaxis], np.zeros((self._n, 1), np.float32), self._n, None, status)
            phase = phase + self._n
            due += self._n / self.samplerate
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """No more sound."""
        self.active = False

    abort = close = stop


InputStream = OutputStream = Stream
