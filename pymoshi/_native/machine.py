"""What this machine's processors can do, and how fast they get through weights."""

from dataclasses import dataclass

from pymoshi._native.library import c_string, check, ffi, lib, text


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Weights that a device multiplies with a vector, in bytes per second."""

    best: float
    median: float
    op_seconds: float
    """What an operation takes that has next to nothing to compute: a launch, or a hand-over between threads."""
    n_bytes: int
    """Of weights that each pass went through."""
    n_passes: int


def features() -> dict[str, dict[str, str]]:
    """What each backend was compiled for and has found here, e.g. {"cpu": {"AVX2": "1", ...}}; the words are ggml's."""
    found: dict[str, dict[str, str]] = {}
    for line in text(lib().moshi_features()).splitlines():
        backend, _, words = line.partition(":")
        found[backend] = dict(word.partition("=")[::2] for word in words.split())
    return found


def bandwidth(device: str, kind: str, *, threads: int = 0, n_bytes: int = 0, seconds: float = 0.5) -> Bandwidth:
    """Measures a device with the product that a conversation consists of.

    kind: type of the weights as ggml names it, "q4_K", "q8_0", "f16", ...; "kv" for attention to the past.
    threads: of the CPU, 0 for the physical cores.
    n_bytes: of weights, 0 for many times what caches hold.
    seconds: 0.01 to 60.

    Raises InputError, DeviceError, OutOfMemoryError, UnsupportedModelError (the device cannot compute with that type).
    """
    result = ffi().new("moshi_bandwidth_result *")
    check(lib().moshi_bandwidth(c_string(device), threads, c_string(kind), n_bytes, seconds, result))
    return Bandwidth(
        float(result.best), float(result.median), float(result.op_seconds), int(result.n_bytes), int(result.n_passes)
    )


def default_threads() -> int:
    """Physical cores that this process may use."""
    return int(lib().moshi_default_threads())
