"""Two results beside each other."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from pymoshi.bench.result import Result

_NOUNS: Final = {"model": "model", "settings": "setting", "machine": "machine", "software": "software"}
_STAGES: Final = ("encode", "lm", "decode", "frame")


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of both."""

    what: str
    unit: str
    before: float | None
    now: float | None

    @property
    def ratio(self) -> float | None:
        """Now over before."""
        return self.now / self.before if self.now is not None and self.before else None


def differences(before: Result, now: Result) -> list[str]:
    """Why the two are no fair comparison, or what was changed to get from one to the other; a line each."""
    return [
        f"{noun}: {key.replace('_', ' ')} was {_shown(old[key])}, is {_shown(new[key])}"
        for part, noun in _NOUNS.items()
        for old, new in [(asdict(getattr(before, part)), asdict(getattr(now, part)))]
        for key in old
        if old[key] != new[key]
    ]


def _shown(value: Any) -> str:
    return (" ".join(map(str, value)) or "nothing") if isinstance(value, list) else str(value)


def rows(before: Result, now: Result) -> list[Row]:
    """All figures that both have."""
    return list(_rows(before, now))


def _rows(before: Result, now: Result) -> Iterator[Row]:
    for stage in _STAGES:
        if stage in before.stages and stage in now.stages:
            old, new = before.stages[stage], now.stages[stage]
            yield Row(f"{stage} p50", "ms", old.p50_ms, new.p50_ms)
            yield Row(f"{stage} p95", "ms", old.p95_ms, new.p95_ms)
            yield Row(f"{stage} read", "MB", old.n_bytes / 1e6, new.n_bytes / 1e6)
            yield Row(f"{stage} of the bound", "%", 100 * old.of_bound, 100 * new.of_bound)
    yield Row("frames a second", "", before.frames_per_second, now.frames_per_second)
    yield Row("memory's speed", "GB/s", before.reading.bytes_per_second / 1e9, now.reading.bytes_per_second / 1e9)
    yield Row("load, first", "s", before.load.first, now.load.first)
    yield Row("load, warm", "s", before.load.warm, now.load.warm)
    for what, old_bytes, new_bytes in (
        ("resident", before.memory.resident, now.memory.resident),
        ("peak", before.memory.peak, now.memory.peak),
        ("on the GPU", before.memory.device, now.memory.device),
    ):
        if old_bytes is not None or new_bytes is not None:
            yield Row(f"memory, {what}", "MB", _megabytes(old_bytes), _megabytes(new_bytes))


def _megabytes(n_bytes: int | None) -> float | None:
    return None if n_bytes is None else n_bytes / 1e6
