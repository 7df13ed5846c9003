"""Checks of single options: the value in the type that C wants, or an InputError that names it."""

import math
import operator
from collections.abc import Iterable
from typing import Any

from pymoshi.errors import InputError

HOTTEST = 100.0  # the highest temperature: beyond it nothing but noise is left
LARGEST_TOP_K = 2**31 - 1


def whole(name: str, value: Any, low: int, high: int) -> int:
    """An integer from low to high; bool is refused, numpy's integers are taken."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not {value!r}.") from None
    if isinstance(value, bool):
        raise InputError(f"{name} must be a whole number, not {value!r}.")
    if not low <= number <= high:
        raise InputError(f"{name} must be from {low} to {high}, not {number}.")
    return number


def real(name: str, value: Any, low: float, high: float) -> float:
    """A finite number from low to high."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}.") from None
    if not math.isfinite(number) or not low <= number <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, not {value!r}.")
    return number


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of a few words."""
    known = list(choices)
    if value not in known:
        raise InputError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}.")
    return str(value)
