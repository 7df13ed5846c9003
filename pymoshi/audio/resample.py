"""Sample rates, in a stream, with little delay.

soxr's variable-rate engine is used even where the rate stays: a tone's noise is 100 dB down, and it lags by 240 samples
of its input, always the same, while soxr's fixed-rate engine hands its output out in lumps that come up to 39 ms late.
Two facts about that lag are made use of. It is less time at a higher rate, so a signal to be raised is first doubled;
and it is more from a ratio of 2 on, so a signal to be lowered is first halved, which for 48 kHz is all there is to do.
Both take a filter of 0.7 ms. Together a 48 kHz device costs 0.7 ms on the way in and 6 ms on the way out.
"""

from typing import Final

import numpy as np
import soxr

from pymoshi.audio.ports import Samples

_WIDEST: Final = 1.02  # how far from the nominal ratio the rate may ever be set
_SIDE: Final = 31  # samples of the half-band filter on either side


def _half_band() -> Samples:
    """Passes the lower half of the band, float32 [63]; 80 dB down beyond, but for the transition around the middle."""
    n = np.arange(-_SIDE, _SIDE + 1)
    taps = np.sinc(n / 2) * np.kaiser(n.size, 8.0)
    return np.asarray(taps / taps.sum(), np.float32)


class _Filter:
    """The half-band filter in a stream."""

    def __init__(self) -> None:
        self._taps = _half_band()
        self._tail = np.zeros(2 * _SIDE, np.float32)

    def process(self, pcm: Samples) -> Samples:
        """float32 [n] in and out, 31 samples later."""
        whole = np.concatenate([self._tail, pcm])
        self._tail = whole[-2 * _SIDE :]
        out: Samples = np.convolve(whole, self._taps, "valid") if pcm.size else pcm
        return out


class _Doubler:
    """To twice the rate."""

    def __init__(self) -> None:
        self._filter = _Filter()

    def process(self, pcm: Samples) -> Samples:
        spread = np.zeros(2 * pcm.size, np.float32)
        spread[::2] = 2 * pcm
        return self._filter.process(spread)


class _Halver:
    """To half the rate."""

    def __init__(self) -> None:
        self._filter = _Filter()
        self._odd = 0  # whether the next sample is one of those left out

    def process(self, pcm: Samples) -> Samples:
        out = self._filter.process(pcm)[self._odd :: 2]
        self._odd = (self._odd + pcm.size) % 2
        return out


class Resampler:
    """Mono from one rate to another, block by block.

    rate_in, rate_out: Hz. Where they are equal and never vary (`varies=False`) blocks pass through as they are.
    """

    def __init__(self, rate_in: int, rate_out: int, *, varies: bool = False) -> None:
        self._worth = rate_out / rate_in  # output samples that one of the input is worth
        self._rate_out = rate_out
        self._filters: list[_Doubler | _Halver] = []
        self._filter_lag = 0.0
        rate = rate_in
        while rate < rate_out:
            rate *= 2
            self._filters.append(_Doubler())
            self._filter_lag += _SIDE / rate
        while rate >= 2 * rate_out and rate % 2 == 0:
            self._filters.append(_Halver())
            self._filter_lag += _SIDE / rate
            rate //= 2
        self._rate = rate  # what soxr is given
        self._factor = 1.0
        self._stream: soxr.ResampleStream | None = None
        if varies or rate != rate_out:
            self._stream = soxr.ResampleStream(rate * _WIDEST, rate_out, 1, dtype="float32", quality="HQ", vr=True)
            self._stream.set_io_ratio(rate, rate_out)
        self._taken = 0.0  # output samples that the input so far is worth
        self._given = 0

    def process(self, pcm: Samples) -> Samples:
        """float32 [n] in, about [n * rate_out / rate_in] out."""
        out = pcm
        for each in self._filters:
            out = each.process(out)
        if self._stream is not None:
            out = self._stream.resample_chunk(np.ascontiguousarray(out))
        self._taken += pcm.size * self._worth * self._factor
        self._given += out.size
        return out

    def stretch(self, factor: float, over: int) -> None:
        """From now on `factor` times as many samples come out, reached smoothly over so many of soxr's input samples.

        Of a resampler that `varies`.
        """
        if self._stream is not None and factor != self._factor:
            self._stream.set_io_ratio(self._rate, self._rate_out * factor, over)
            self._factor = factor

    @property
    def lag(self) -> float:
        """Seconds from a sample's way in to its way out."""
        return max(0.0, self._taken - self._given) / self._rate_out + self._filter_lag
