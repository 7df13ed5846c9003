"""Models of random weights that exist for as long as they are measured: in memory where there is room for them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pymoshi.doctor.machine import available_memory
from pymoshi.errors import InputError
from pymoshi.hub.synth import SYNTHETIC, synthesize, synthetic_bytes

_PUBLISHED: Final = {"personaplex-7b": "personaplex", "moshika-7b": "moshi", "moshiko-7b": "moshi"}

#: What can be made, by the names of what it stands for.
SYNTHETIC_NAMES: Final = (*_PUBLISHED, *(name for name in SYNTHETIC if name not in _PUBLISHED.values()))

_MEMORY_FOLDER: Final = Path("/dev/shm")  # a tmpfs, on Linux
_SPARE: Final = 2 << 30  # bytes of memory that other programs and a conversation may want


@contextmanager
def synthetic_model(
    name: str,
    *,
    quantize: str = "q4_k",
    mimi_type: str = "f16",
    progress: Callable[[float], bool | None] | None = None,
) -> Iterator[Path]:
    """A folder with a model of the published sizes, for the duration of a `with`.

    name: one of SYNTHETIC_NAMES, or a name that `pymoshi.hub.synth` knows. quantize, mimi_type: as in `convert`.
    progress: called with the fraction made, 0 to 1; returning False stops with Cancelled.

    Raises InputError, DiskSpaceError, Cancelled.
    """
    made = _PUBLISHED.get(name.lower(), name.lower())
    if made not in SYNTHETIC:
        raise InputError(f"{name!r} cannot be made; expected one of {', '.join(SYNTHETIC_NAMES)}.")
    place = _place_for(synthetic_bytes(made, quantize, mimi_type))
    with tempfile.TemporaryDirectory(prefix="pymoshi-bench-", dir=place, ignore_cleanup_errors=True) as folder:

        def report(done: int, total: int, _: str) -> bool | None:
            return None if progress is None else progress(done / total)

        yield synthesize(made, Path(folder) / name.lower(), quantize=quantize, mimi_type=mimi_type, progress=report)


def _place_for(n_bytes: int) -> Path | None:
    """Where so much is written fastest: memory that holds it twice, as files and as weights; else (None) the usual
    folder for temporary files."""
    available = available_memory()
    if available is None or available < 2 * n_bytes + _SPARE or not os.access(_MEMORY_FOLDER, os.W_OK):
        return None
    return _MEMORY_FOLDER if shutil.disk_usage(_MEMORY_FOLDER).free > n_bytes + _SPARE else None
