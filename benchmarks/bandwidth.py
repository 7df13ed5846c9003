"""How fast this machine's processor reads memory: numpy reductions over more than any cache holds."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BYTES = 512 << 20  # in all
_ROUNDS = 8
_REDUCTIONS: list[Callable[[NDArray[np.float64]], Any]] = [np.sum, np.max]  # which is faster depends on the machine


def read_bandwidth(threads: int) -> float:
    """Bytes per second that `threads` threads read together: the best of some rounds."""
    parts = [np.ones(_BYTES // 8 // threads) for _ in range(threads)]
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            for reduction in _REDUCTIONS:
                start = time.perf_counter()
                list(pool.map(reduction, parts))
                seconds.append(time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / min(seconds)
