"""How close is equal: the tolerances of tests/fixtures/README.md."""

import os

import numpy as np
from numpy.typing import ArrayLike

# A GPU sums in another order and, on some drivers, rounds exponentials differently.
SLACK = 1 if os.environ.get("PYMOSHI_TEST_DEVICE", "cpu") == "cpu" else 20

LATENTS = 2e-5 * SLACK
HIDDEN = 2e-5 * SLACK
LOGITS = 1e-4 * SLACK
PCM = 1e-5 * SLACK


def worst(found: ArrayLike, expected: ArrayLike) -> float:
    """The largest absolute difference; shapes must agree."""
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a - b).max())
