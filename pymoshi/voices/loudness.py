"""Integrated loudness after ITU-R BS.1770-4, mono, as PersonaPlex's voices were prepared.

Own code because the library that the reference uses needs SciPy (35 MB packed, the largest dependency by far) for
two second-order filters. The filters' figures are those of that library (pyloudnorm's default K-weighting), so that a
recording gets the gain that it got in the reference; the standard's own tables differ in the third digit.
"""

from math import cos, log10, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["integrated_loudness", "normalise"]

BLOCK = 0.4  # s; gating blocks overlap by 75 %
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the loudness of what passed the absolute gate
OFFSET = -0.691  # dB; makes a 997 Hz sine read its RMS level

# A biquad's response to an impulse: both filters' slowest pole (38 Hz) has fallen below 1e-20 after 0.2 s.
RESPONSE_SECONDS = 0.25


def integrated_loudness(pcm: NDArray[np.float32], rate: int) -> float:
    """Loudness of a mono signal in LUFS.

    Args:
        pcm: float [T], T at least 0.4 s.
        rate: samples per second.

    Returns:
        LUFS; -inf if no block of 0.4 s is louder than -70 LUFS (silence).
    """
    weighted = _k_weighted(np.asarray(pcm, dtype=np.float64), rate)
    power = _block_powers(weighted, rate)
    with np.errstate(divide="ignore"):
        blocks = OFFSET + 10.0 * np.log10(power)
    loud = power[blocks >= ABSOLUTE_GATE]
    if loud.size == 0:
        return float("-inf")
    gate = OFFSET + 10.0 * log10(float(loud.mean())) + RELATIVE_GATE
    kept = power[(blocks > gate) & (blocks > ABSOLUTE_GATE)]
    return OFFSET + 10.0 * log10(float(kept.mean())) if kept.size else float("-inf")


def normalise(pcm: NDArray[np.float32], rate: int, target: float) -> NDArray[np.float32]:
    """Scales a mono signal to `target` LUFS. Silence is returned as it is. Nothing is clipped."""
    loudness = integrated_loudness(pcm, rate)
    if loudness == float("-inf"):
        return pcm
    louder: NDArray[np.float32] = (pcm.astype(np.float64) * 10.0 ** ((target - loudness) / 20.0)).astype(np.float32)
    return louder


def _block_powers(signal: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Mean square of every gating block, [blocks]."""
    seconds = signal.size / rate
    count = int(np.round((seconds - BLOCK) / (BLOCK * 0.25))) + 1
    energy = np.concatenate([[0.0], np.cumsum(signal**2)])
    starts = np.array([int(BLOCK * (index * 0.25) * rate) for index in range(count)])
    ends = np.array([int(BLOCK * (index * 0.25 + 1.0) * rate) for index in range(count)])
    powers: NDArray[np.float64] = (energy[np.minimum(ends, signal.size)] - energy[starts]) / (BLOCK * rate)
    return np.maximum(powers, 0.0)


def _k_weighted(signal: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Applies the head filter (+4 dB above 1.5 kHz) and the high-pass (38 Hz)."""
    # The cascade's impulse response is finite for all that float64 can tell, so one FFT product is the exact filter.
    length = int(RESPONSE_SECONDS * rate)
    size = 1 << (signal.size + length - 1).bit_length()
    spectrum = np.fft.rfft(signal, size)
    frequencies = np.exp(-2j * pi * np.arange(size // 2 + 1) / size)
    for b, a in (_high_shelf(rate), _high_pass(rate)):
        spectrum *= np.polyval(b[::-1], frequencies) / np.polyval(a[::-1], frequencies)
    return np.fft.irfft(spectrum, size)[: signal.size]


def _high_shelf(rate: int, gain_db: float = 4.0, corner: float = 1500.0) -> tuple[list[float], list[float]]:
    """Biquad (b, a) of the shelf that models the head, Q = 1/sqrt(2) (R. Bristow-Johnson's formulas)."""
    a = 10.0 ** (gain_db / 40.0)
    w = 2.0 * pi * corner / rate
    c, s = cos(w), sqrt(2.0 * a) * sin(w)
    b = [a * ((a + 1) + (a - 1) * c + s), -2 * a * ((a - 1) + (a + 1) * c), a * ((a + 1) + (a - 1) * c - s)]
    return b, [(a + 1) - (a - 1) * c + s, 2 * ((a - 1) - (a + 1) * c), (a + 1) - (a - 1) * c - s]


def _high_pass(rate: int, q: float = 0.5, corner: float = 38.0) -> tuple[list[float], list[float]]:
    """Biquad (b, a) of the high-pass."""
    w = 2.0 * pi * corner / rate
    alpha, c = sin(w) / (2.0 * q), cos(w)
    return [(1 + c) / 2, -(1 + c), (1 + c) / 2], [1 + alpha, -2 * c, 1 - alpha]
