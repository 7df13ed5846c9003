"""What this process takes of the machine, as Linux counts it; elsewhere less is known."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_IO: Final = Path("/proc/self/io")
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


def _field(path: Path, name: str, unit: int) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next(unit * int(line.split()[1]) for line in lines if line.startswith(name))
    except (OSError, ValueError, StopIteration):
        return None
