"""What a training tells of itself: the means of its losses since it last told."""

import logging
import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

log = logging.getLogger("training")


class Means:
    """Collects losses, and logs their means every so many steps."""

    def __init__(self, every: int, digits: int = 4) -> None:
        self._every, self._digits = every, digits
        self._begin = time.monotonic()
        self._values: dict[str, list[float]] = {}
        self._steps = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Those of the next step."""
        for name, value in losses.items():
            self._values.setdefault(name, []).append(float(value.detach()))
        self._steps += 1
        if self._steps % self._every == 0:
            figures = " ".join(f"{name} {np.mean(found):.{self._digits}f}" for name, found in self._values.items())
            log.info("step %d, %.0f s: %s", self._steps, time.monotonic() - self._begin, figures)
            self._values.clear()
