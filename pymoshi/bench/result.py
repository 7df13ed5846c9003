"""The result of a measurement, and files of it."""

import json
import types
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from pymoshi.errors import InputError

_FORMAT: Final = "pymoshi bench"
_VERSION: Final = 1
_MOST_BYTES: Final = 1 << 20  # of a file; ours have three thousand


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a frame: "encode", "lm", "decode", or all of it: "frame"."""

    p50_ms: float
    p95_ms: float
    max_ms: float
    weight_bytes: int
    """That it must read at least."""
    kv_bytes: int
    """Keys and values of the past, on the average of the measured frames."""
    bound_ms: float
    """What reading all that takes at least."""

    @property
    def n_bytes(self) -> int:
        """All that it must read."""
        return self.weight_bytes + self.kv_bytes

    @property
    def of_bound(self) -> float:
        """How close it comes: 1 is as fast as the memory."""
        return self.bound_ms / self.p50_ms if self.p50_ms else 0.0


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """What was measured."""

    name: str
    model_type: str
    weight_type: str
    weight_bytes: int
    """In the device's memory."""
    fingerprint: str
    """Equal for equal weights."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was measured."""

    device: str
    threads: int
    context: int
    kv_type: str
    fill: int
    """Frames that the model remembered beforehand."""
    frames: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    processor: str
    device: str
    """The driver's name for the device in use."""
    memory_bytes: int
    system: str


@dataclass(frozen=True, slots=True)
class Software:
    """With what it was measured."""

    pymoshi: str
    engine: str
    ggml: str
    python: str
    backends: list[str]
    cpu_features: list[str]


@dataclass(frozen=True, slots=True)
class Loading:
    """Seconds that loading took."""

    first: float
    from_disk_bytes: int | None
    """That the first one read from a disk, the rest having been in memory already; None if unknown."""
    warm: float
    """The second one: all files are in memory."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the process that held this model and one conversation; None where the system does not say."""

    resident: int | None
    peak: int | None
    """While loading and computing."""
    device: int | None
    """Of a GPU's memory."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How fast the device gets through weights, with the kernels that compute frames."""

    kind: str
    """Type of those weights."""
    bytes_per_second: float
    op_seconds: float
    """What an operation takes that computes next to nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was found out."""

    date: str
    model: MeasuredModel
    settings: Settings
    machine: Machine
    software: Software
    load: Loading
    memory: Memory
    reading: Reading
    stages: dict[str, Stage]
    frames_per_second: float
    notes: list[str]
    """What makes the figures doubtful, or needs an explanation."""

    @property
    def real_time_factor(self) -> float:
        """Seconds of sound that are computed in a second; live conversations need more than 1."""
        return 0.08 * self.frames_per_second

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        for name, stage in self.stages.items():
            plain["stages"][name]["of_bound"] = stage.of_bound
        return {"format": _FORMAT, "version": _VERSION} | plain | {"real_time_factor": self.real_time_factor}


def write(result: Result, path: str | Path) -> None:
    """Raises OSError."""
    text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False)
    Path(path).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def read(path: str | Path) -> Result:
    """A result that `write` wrote. Raises InputError if there is no such file, or it is something else."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        content = json.loads(raw) if len(raw) <= _MOST_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested without end
        content = None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f"{path}: is no result of `pymoshi bench`; expected a file that `--json` wrote.")
    if content.get("version") != _VERSION:
        raise InputError(
            f"{path}: is of version {content.get('version')!r}; this pymoshi reads version {_VERSION}. Measure anew."
        )
    try:
        return Result(**_fields_of(Result, content, ""))
    except _Misfit as misfit:
        raise InputError(f"{path}: is damaged: {misfit}.") from None


class _Misfit(Exception):
    """What does not fit, in words."""


def _fields_of(kind: type[Any], content: Any, where: str) -> dict[str, Any]:
    """Arguments of a dataclass; what it has no field for is left out."""
    if not isinstance(content, dict):
        raise _Misfit(f"{where} is not an object")
    hints = get_type_hints(kind)
    found = {}
    for field in fields(kind):
        inner = f"{where}.{field.name}".lstrip(".")
        if field.name not in content:
            raise _Misfit(f"{inner} is missing")
        found[field.name] = _value_of(hints[field.name], content[field.name], inner)
    return found


def _value_of(kind: Any, value: Any, where: str) -> Any:
    """`value` as a field of that type takes it."""
    if is_dataclass(kind) and isinstance(kind, type):
        return kind(**_fields_of(kind, value, where))
    match get_origin(kind), value:
        case types.UnionType | Union.__class__, _:
            return None if value is None else _value_of(get_args(kind)[0], value, where)
        case origin, list() if origin is list:
            return [_value_of(get_args(kind)[0], item, where) for item in value]
        case origin, dict() if origin is dict:
            return {str(key): _value_of(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    raise _Misfit(f"{where} is {value!r:.60}")
