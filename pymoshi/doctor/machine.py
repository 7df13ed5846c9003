"""The machine and this installation: versions, processors, memory, disk, network."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymoshi import _native, paths
from pymoshi.errors import PymoshiError
from pymoshi.model import Device

#: Instruction sets that make a difference, in ggml's words.
_TELLING: Final = (
    "AVX2", "FMA", "F16C", "AVX_VNNI", "AVX512", "AVX512_VNNI", "AVX512_BF16", "AMX_INT8", "NEON", "DOTPROD",
    "MATMUL_INT8", "SVE", "LLAMAFILE", "ACCELERATE", "REPACK",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Build:
    """This installation."""

    version: str
    engine: str
    ggml: str
    python: str
    system: str
    backends: dict[str, dict[str, str]]
    """What each was compiled for and has found, in ggml's words."""

    @property
    def cpu_features(self) -> list[str]:
        """Those that make a difference."""
        found = self.backends.get("cpu", {})
        return [name for name in _TELLING if found.get(name, "0") != "0"]

    @property
    def cpu_variant(self) -> str:
        """For which generation of processors the code is that was chosen for this one; "" if there is only one code."""
        return self.backends.get("cpu", {}).get("variant", "")


@dataclass(frozen=True, slots=True)
class Folder:
    """A place on a disk."""

    what: str
    path: str
    free: int
    """Bytes."""
    writable: bool


@dataclass(frozen=True, slots=True)
class Network:
    """What the model hub's client would do."""

    offline: bool
    """HF_HUB_OFFLINE forbids the network."""
    endpoint: str
    cache: str
    token: bool
    """Whether there is one, as gated models need; not whether it is accepted."""
    reachable: bool | None
    """None if it was not tried."""
    detail: str
    """What was found out by trying."""


def examine_build() -> Build:
    """Raises InternalError if the engine cannot be loaded."""
    import pymoshi

    engine, ggml = _native.versions()
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Build(pymoshi.__version__, engine, ggml, platform.python_version(), system, _native.features())


def load_per_core() -> float | None:
    """Programs that wanted to compute in the last minute, by processor; None where the system does not say."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def free_memory(device: Device) -> int:
    """Bytes that a model may take on a device; 0 if unknown. ggml says of the machine's memory how much there is."""
    available = available_memory() if not device.is_gpu else None
    if available is None:
        return device.memory_free
    return min(available, device.memory_free) if device.memory_free else available


def available_memory() -> int | None:
    """Bytes that Linux could give to a program now; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def examine_folders() -> list[Folder]:
    """Where models, the hub's files and primed personas go."""
    from huggingface_hub import constants

    from pymoshi.hub.download import free_bytes

    found = []
    for what, path in (
        ("models and voices", paths.data_dir()),
        ("the hub's files", Path(constants.HF_HUB_CACHE)),
        ("primed personas", paths.cache_dir()),
    ):
        found.append(Folder(what, str(path), free_bytes(path), _is_writable(path)))
    return found


def _is_writable(path: Path) -> bool:
    """Whether files could be made there; a folder that is not there yet would be made first."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)


def examine_network(*, ask: bool) -> Network:
    """ask: really use the network, to fetch the size of one small published file."""
    from huggingface_hub import get_token

    from pymoshi.hub.download import Hub

    hub = Hub()
    reachable, detail = _ask(hub) if ask else (None, "")
    return Network(hub.offline, hub.endpoint, str(hub.cache), bool(get_token()), reachable, detail)


def _ask(hub: Any) -> tuple[bool, str]:
    from pymoshi.hub.catalog import load_catalog

    model = next(iter(load_catalog().models.values()))
    files = [file for variant in model.variants.values() for file in variant.files.values() if not file.gated]
    files = [file for file in files if hub.cached(file) is None] or files  # one that the hub must be asked for
    smallest = min(files, key=lambda file: file.size or 0)
    try:
        hub.look(smallest)
    except PymoshiError as error:
        return False, str(error)
    return True, f"{smallest} was found"
