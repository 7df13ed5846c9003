"""Checks of the arrays that go to the engine: what it may read directly, or an InputError that says what is wrong."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymoshi.errors import InputError

_LOUDEST = 100.0  # no sound in [-1, 1] comes near; integers that were cast to float go far beyond


def samples(pcm: ArrayLike) -> NDArray[np.float32]:
    """Audio as one-dimensional contiguous float32; copied only if it is not that already.

    Raises InputError for integers, for more than one dimension, for NaN and infinities and for a scale that is not
    [-1, 1]: any of these would otherwise live on in the model's memory.
    """
    array = np.asarray(pcm)
    if array.dtype.kind in "iu":
        raise InputError(
            f"Audio must be float32 in [-1, 1]; found {array.dtype}. For 16-bit samples: pcm.astype('float32') / 32768."
        )
    if array.dtype.kind != "f":
        raise InputError(f"Audio must be float32 in [-1, 1]; found {array.dtype}.")
    if array.ndim != 1:
        raise InputError(f"Audio must be mono, one dimension; found the shape {array.shape}.")
    # A NaN compares as neither; and one pass over a frame's samples is enough for all three.
    if array.size and not np.abs(array).max() <= _LOUDEST:
        found = "NaN or infinity" if not np.isfinite(array).all() else f"a sample of {np.abs(array).max():g}"
        raise InputError(f"Audio must be in [-1, 1]; found {found}.")
    return np.ascontiguousarray(array, dtype=np.float32)


def codes(values: ArrayLike, card: int, name: str = "codes") -> NDArray[np.int32]:
    """Audio codes, 0 <= code < card, as contiguous int32 of the same shape; copied only if they are not that already.

    Raises InputError for anything but integers, and for codes out of range.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} must be int32; found {array.dtype}.")
    if array.size and (array.min() < 0 or array.max() >= card):
        wrong = array.min() if array.min() < 0 else array.max()
        raise InputError(f"{name} must be from 0 to {card - 1}; found {wrong}.")
    return np.ascontiguousarray(array, dtype=np.int32)
