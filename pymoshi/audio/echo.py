"""The model must not hear itself: what the speaker plays is taken out of what the microphone records.

The work is WebRTC's, in either of two packages; this module only knows how to ask them. Both find the delay from
speaker to microphone by themselves and follow it when it changes. A canceller needs to know what was played and keeps
the user's voice while both speak; a gate that closes the microphone while the model speaks would not, and is none.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from pymoshi.audio.ports import Samples

__all__ = ["INSTALL", "EchoCanceller", "LiveKitCanceller", "WebRtcCanceller", "open_canceller"]

log = logging.getLogger("pymoshi")

BLOCKS_A_SECOND: Final = 100
INSTALL: Final = (
    "Echo cancellation is not installed: through open speakers the model would hear itself. "
    "Use headphones, or install it: pip install 'pymoshi[aec]'"
)


class EchoCanceller(Protocol):
    """Takes an echo out, in blocks of 10 ms. One thread at a time."""

    name: str

    def process(self, near: Samples, far: Samples) -> Samples:
        """The microphone without what was played.

        near, far: float32 [rate / 100] each, recorded and played in the same 10 ms by the device's count.

        Returns float32 [rate / 100], some 10 ms later than `near`.
        """
        ...

    def set_delay(self, seconds: float) -> None:
        """About how long a played sample takes to be recorded: a hint, which shortens the search."""
        ...


class WebRtcCanceller:
    """By the package pywebrtc-audio: the extra `pymoshi[aec]`. rate: Hz. Raises ImportError if it is not installed."""

    name = "pywebrtc-audio"

    def __init__(self, rate: int) -> None:
        from pywebrtc_audio import AudioProcessor

        # Not its EchoCanceller: the same, but for 16, 32 and 48 kHz only.
        self._processor: Any = AudioProcessor(sample_rate=rate, echo_cancellation=True)

    def process(self, near: Samples, far: Samples) -> Samples:
        clean: Samples = self._processor.process(np.ascontiguousarray(near), np.ascontiguousarray(far))
        return clean

    def set_delay(self, seconds: float) -> None:
        self._processor.stream_delay_ms = max(0, round(seconds * 1000))


class LiveKitCanceller:
    """By the package livekit, where that is installed already. rate: Hz. Raises ImportError if it is not."""

    name = "livekit"

    def __init__(self, rate: int) -> None:
        from livekit import rtc

        self._rate = rate
        self._frame: Any = rtc.AudioFrame
        self._module: Any = rtc.AudioProcessingModule(echo_cancellation=True)
        self._delay_ms = 0

    def process(self, near: Samples, far: Samples) -> Samples:
        # In this order: it knows the far side before the near side that may hold its echo.
        self._module.process_reverse_stream(self._block(far))
        self._module.set_stream_delay_ms(self._delay_ms)
        block = self._block(near)
        self._module.process_stream(block)
        return np.frombuffer(block.data, np.int16).astype(np.float32) * np.float32(1 / 32768)

    def _block(self, pcm: Samples) -> Any:
        data = (np.clip(pcm, -1, 1) * 32767).astype(np.int16).tobytes()
        return self._frame(data, self._rate, 1, pcm.size)

    def set_delay(self, seconds: float) -> None:
        self._delay_ms = max(0, round(seconds * 1000))


_CANCELLERS: Final[tuple[Callable[[int], EchoCanceller], ...]] = (WebRtcCanceller, LiveKitCanceller)


def open_canceller(rate: int) -> EchoCanceller | None:
    """The best canceller that is installed, for blocks of 10 ms at `rate` Hz; None if there is none, or none for it.

    A package that is installed and does not work is passed over with a warning.
    """
    if rate % BLOCKS_A_SECOND:
        log.warning("No echo cancellation: it takes blocks of 10 ms, which a device of %d Hz does not have.", rate)
        return None
    for make in _CANCELLERS:
        try:
            return make(rate)
        except ImportError:
            continue
        except Exception as error:  # another package's own kinds of failure; sound goes on without it
            log.warning("No echo cancellation by %s: %s", getattr(make, "name", make), error)
    return None
