"""Sample rates, in a stream, with little delay.

soxr's variable-rate engine is used even where the rate stays: it lags 5 to 13 ms, always the same, with a tone's noise
100 dB down, while soxr's fixed-rate engine hands its output out in lumps that come up to 39 ms late.
"""

from typing import Final

import numpy as np
import soxr

from pymoshi.audio.ports import Samples

_WIDEST: Final = 1.02  # how far from the nominal ratio the rate may ever be set


class Resampler:
    """Mono from one rate to another, block by block.

    rate_in, rate_out: Hz. Where they are equal and never vary (`varies=False`) blocks pass through as they are.
    """

    def __init__(self, rate_in: int, rate_out: int, *, varies: bool = False) -> None:
        self._rates = (rate_in, rate_out)
        self._ratio = 1.0
        self._stream: soxr.ResampleStream | None = None
        if varies or rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in * _WIDEST, rate_out, 1, dtype="float32", quality="HQ", vr=True)
            self._stream.set_io_ratio(rate_in, rate_out)
        self._taken = 0.0  # output samples that the input so far is worth
        self._given = 0

    def process(self, pcm: Samples) -> Samples:
        """float32 [n] in, about [n * rate_out / rate_in] out."""
        if self._stream is None:
            return pcm
        out: Samples = self._stream.resample_chunk(np.ascontiguousarray(pcm))
        self._taken += pcm.size * self._rates[1] / self._rates[0] * self._ratio
        self._given += out.size
        return out

    def stretch(self, factor: float, over: int) -> None:
        """From now on `factor` times as many samples come out, reached smoothly over so many input samples."""
        if self._stream is not None and factor != self._ratio:
            self._stream.set_io_ratio(self._rates[0], self._rates[1] * factor, over)
            self._ratio = factor

    @property
    def lag(self) -> float:
        """Seconds of the input that have not come out yet."""
        return 0.0 if self._stream is None else max(0.0, self._taken - self._given) / self._rates[1]
