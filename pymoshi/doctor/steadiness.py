"""What a series of measurements says when other programs may have been in the way."""

from collections.abc import Sequence
from statistics import median
from typing import Final

STEADY: Final = 1.3
"""The median may be so many times the best; beyond it something else was running."""


def typical(seconds: Sequence[float]) -> float:
    """The median of a steady series. One that was disturbed tells of the disturbance: there the best counts."""
    middle, best = median(seconds), min(seconds)
    return middle if is_steady(best, middle) else best


def is_steady(best: float, middle: float) -> bool:
    """Whether times (or their inverses, the other way round) lie close enough together."""
    return middle <= STEADY * best
