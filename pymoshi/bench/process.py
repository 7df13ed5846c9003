"""What this process takes of the machine, and what others do, as Linux counts it; elsewhere less is known."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_IO: Final = Path("/proc/self/io")
_PROCESSORS: Final = Path("/proc/stat")
_IDLE: Final = slice(3, 5)  # among the times of the processors: idle, and waiting for a disk
_TIMES: Final = 8  # that count; those after them are parts of the first
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"


def resident_bytes() -> int | None:
    """Memory that the process holds now, mapped files that are in memory included; None if unknown."""
    return _field(_STATUS, "VmRSS:", 1024)


def peak_bytes() -> int | None:
    """The most that it has held since `forget_peak`, or since it began where that cannot be forgotten."""
    found = _field(_STATUS, "VmHWM:", 1024)
    if found is None and sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def forget_peak() -> None:
    """Begins a new measurement of the peak, where the system can."""
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")


def disk_bytes() -> int | None:
    """What has been read from disks for this process so far, not from the system's cache; None if unknown."""
    return _field(_IO, "read_bytes:", 1)


class Others:
    """What other programs compute, from when this is made."""

    def __init__(self) -> None:
        self._before = self._now()

    def processors(self) -> float | None:
        """How many processors they have kept busy on the average; None if unknown."""
        (busy, own, start), (busy_now, own_now, now) = self._before, self._now()
        if busy is None or busy_now is None or now <= start:
            return None
        return max(0.0, (busy_now - busy) - (own_now - own)) / (now - start)

    @staticmethod
    def _now() -> tuple[float | None, float, float]:
        return _busy_seconds(), time.process_time(), time.perf_counter()


def _busy_seconds() -> float | None:
    """Of all processors together, since the machine was started."""
    try:
        times = [int(word) for word in _PROCESSORS.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
        return (sum(times[:_TIMES]) - sum(times[_IDLE])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def _field(path: Path, name: str, unit: int) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next(unit * int(line.split()[1]) for line in lines if line.startswith(name))
    except (OSError, ValueError, StopIteration):
        return None
