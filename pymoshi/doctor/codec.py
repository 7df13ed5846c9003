"""How long the full-size codec takes on a device: measured with one of random weights, which exists for a moment.

Where there is no time or no disk for that, the demo's small codec is measured, and the result scaled by what the
full-size one has to compute. That is rough.
"""

import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pymoshi._native.gguf import GgufFile
from pymoshi.cost import codec_work
from pymoshi.doctor.steadiness import typical
from pymoshi.errors import DiskSpaceError, InputError
from pymoshi.hub.config import MIMI_24KHZ
from pymoshi.hub.synth import synthesize
from pymoshi.model import load

_CODEBOOKS: Final = 8
_WARM_UP: Final = 2
_FEWEST: Final = 3  # frames
_MOST: Final = 40
_GROWTH: Final = 0.65
"""Small convolutions use a processor less well: 20 times the work took 7 times the time (two cores, AVX-512)."""


@dataclass(frozen=True, slots=True)
class CodecSpeed:
    """Milliseconds of a frame of 80 ms."""

    encode_ms: float
    decode_ms: float
    how: str
    """In words."""


def measure_codec(device: str, threads: int | None, *, quick: bool, seconds: float = 0.6) -> CodecSpeed:
    """threads: of the CPU, None for the physical cores. quick: with the demo's codec.

    Raises DeviceError, OutOfMemoryError, UnsupportedModelError.
    """
    if not quick:
        try:
            with tempfile.TemporaryDirectory(prefix="pymoshi-") as folder:
                codec = synthesize("mimi", Path(folder) / "mimi")
                encode, decode = _measure(codec, device, threads, seconds)
                return CodecSpeed(encode, decode, "measured with a codec of the published size and random weights")
        except (DiskSpaceError, InputError, OSError):
            pass  # a temporary folder without 350 MB to spare
    encode, decode = _measure("demo", device, threads, seconds)
    factor = (codec_work(MIMI_24KHZ) / codec_work(_demo_config())) ** _GROWTH
    how = f"roughly estimated as {factor:.1f} times what the demo's small codec takes"
    return CodecSpeed(encode * factor, decode * factor, how)


def _measure(model: str | Path, device: str, threads: int | None, seconds: float) -> tuple[float, float]:
    encoding: list[float] = []
    decoding: list[float] = []
    with (
        load(model, device=device, threads=threads, codec_only=True) as loaded,
        loaded.mimi.stream(_CODEBOOKS) as stream,
    ):
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, loaded.frame_size).astype(np.float32)
        for _ in range(_WARM_UP):
            stream.decode(stream.encode(noise))
        end = time.perf_counter() + seconds
        while len(encoding) < _FEWEST or (len(encoding) < _MOST and time.perf_counter() < end):
            start = time.perf_counter()
            codes = stream.encode(noise)
            encoded = time.perf_counter()
            stream.decode(codes)
            encoding.append(encoded - start)
            decoding.append(time.perf_counter() - encoded)
    return 1000 * typical(encoding), 1000 * typical(decoding)


def _demo_config() -> dict[str, Any]:
    """The hyper-parameters that `codec_work` asks for, from the file's metadata; what it lacks is as published."""
    from pymoshi.hub import layout

    path = layout.resolve("demo").mimi
    assert path is not None  # it comes with the package
    with GgufFile(path) as file:
        values = {key.removeprefix("mimi."): entry.value for key, entry in file.keys.items()}

    def merged(published: dict[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: merged(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else _parsed(values.get(prefix + key), value)
            for key, value in published.items()
        }

    return merged(MIMI_24KHZ, "")


def _parsed(text: str | None, published: Any) -> Any:
    """The number or numbers in a key's text, where the published value is one."""
    if text is None or isinstance(published, bool | str) or published is None:
        return published
    numbers: Iterable[str] = re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)
    found = [float(number) if "." in number or "e" in number else int(number) for number in numbers]
    return found if isinstance(published, list) else found[0] if found else published
