"""Conversions between float types, bfloat16 being held as uint16 since numpy has none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bf16_to_f32(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Exact. Any shape."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def f32_to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounded to nearest, ties to even; a NaN stays one. Any shape."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(is_nan, (bits >> 16).astype(np.uint16) | np.uint16(0x0040), rounded)


def to_f32(values: NDArray[Any], kind: str) -> NDArray[np.float32]:
    """From "f64", "f32", "f16" or "bf16". Any shape."""
    return bf16_to_f32(values) if kind == "bf16" else values.astype(np.float32, copy=False)


def convert(values: NDArray[Any], source: str, target: str) -> NDArray[Any]:
    """From "f64", "f32", "f16" or "bf16" to one of the last three. Any shape.

    What f16 cannot hold becomes its largest number.
    """
    if source == target:
        return values
    wide = to_f32(values, source)
    match target:
        case "f32":
            return wide
        case "f16":
            largest = np.finfo(np.float16).max
            return wide.clip(-largest, largest).astype(np.float16)
        case "bf16":
            return f32_to_bf16(wide)
        case _:
            raise ValueError(f"{target} is not a float type")


def all_finite(values: NDArray[Any], kind: str) -> bool:
    """Whether there is neither NaN nor infinity. Any shape, bf16 as uint16."""
    if kind == "bf16":
        exponent = np.uint16(0x7F80)
        return not bool(((values & exponent) == exponent).any())
    return bool(np.isfinite(values).all())
