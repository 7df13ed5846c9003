"""The measurement: load twice, fill the memory, run frames, and count."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from pymoshi import _native
from pymoshi.bench import process
from pymoshi.bench.frames import Times, runner_for
from pymoshi.bench.result import (
    Loading,
    Machine,
    MeasuredModel,
    Memory,
    Reading,
    Result,
    Settings,
    Software,
    Stage,
)  # fmt: skip
from pymoshi.bench.traffic import Traffic, traffic
from pymoshi.doctor.machine import available_memory, examine_build
from pymoshi.errors import InputError, UnsupportedModelError
from pymoshi.model import Device, Model, ModelInfo, devices, load
from pymoshi.options import one_of, whole
from pymoshi.session import KV_TYPES, KvType

#: Called with what is being done, and the fraction of it that is done: 0 to 1, or None if that is not known.
Step = Callable[[str, float | None], None]

_BUSY: Final = 0.2  # processors
_READING_SECONDS: Final = 0.4
_READING_BYTES: Final = 1 << 30
"""Many times what a core's caches hold, and gone through within a second: until it is, Ctrl-C is not answered."""
_CODEC_TYPE: Final = "f32"  # what most of a codec is computed in
_MOST_FRAMES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure. threads, context: None for the usual ones, as in `pymoshi.load` and `Model.session`."""

    device: str = "auto"
    threads: int | None = None
    context: int | None = None
    kv_type: KvType = "f16"
    frames: int = 100
    fill: int = 0
    """Frames that the model shall remember beforehand: computed as a prompt, which takes its time."""

    def check(self) -> None:
        """Raises InputError."""
        whole("frames", self.frames, 1, _MOST_FRAMES)
        whole("fill", self.fill, 0, _MOST_FRAMES)
        if self.context is not None:
            whole("context", self.context, 1, _MOST_FRAMES)
        one_of("kv_type", self.kv_type, KV_TYPES)


def measure(
    model: str | Path = "demo", options: Options | None = None, *, step: Step = lambda _what, _fraction: None
) -> Result:
    """Measures a model.

    model: as in `pymoshi.load`. step: told what is being done.

    Raises what `pymoshi.load` and `Model.session` raise, InputError for options.
    """
    options = options or Options()
    options.check()
    found = devices()
    first = _load(model, options, "loading for the first time", step)
    info, disk = first.model.info, first.disk_bytes
    first.model.close()
    before = _read_speed(info, step)  # alone: what it takes must not count as the model's
    process.forget_peak()
    warm = _load(model, options, "loading again", step)
    device = next((one for one in found if one.name == info.device), found[0])
    with warm.model as loaded:
        begin = partial(step, "beginning a conversation")
        with runner_for(loaded, options.context, options.kv_type, begin) as run:
            run.fill(options.fill, partial(step, "filling the memory"))
            others = process.Others()
            times = run.measure(options.frames, partial(step, "running frames"))
            busy = others.processors()
            memory = Memory(process.resident_bytes(), process.peak_bytes(), _taken(device))
        reading = max(before, _read_speed(info, step), key=lambda speed: speed.bytes_per_second)
        remembered = run.remembered(options.fill, options.frames)
        stages = _stages(times, traffic(loaded, kv_type=options.kv_type), remembered, reading)
        return Result(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            model=_described(loaded),
            settings=Settings(info.device, info.n_threads, run.context, options.kv_type, options.fill, options.frames),
            machine=_machine(found, device),
            software=_software(),
            load=Loading(first.seconds, disk, warm.seconds),
            memory=memory,
            reading=reading,
            stages=stages,
            frames_per_second=1000 / float(np.mean(times["frame"])),
            notes=_notes(stages, busy),
        )


@dataclass(frozen=True, slots=True)
class _Loaded:
    model: Model
    seconds: float
    disk_bytes: int | None
    """Read from a disk meanwhile."""


def _load(model: str | Path, options: Options, what: str, step: Step) -> _Loaded:
    disk, start = process.disk_bytes(), time.perf_counter()
    loaded = load(model, device=options.device, threads=options.threads, progress=partial(step, what))
    seconds, now = time.perf_counter() - start, process.disk_bytes()
    return _Loaded(loaded, seconds, None if disk is None or now is None else now - disk)


def _read_speed(info: ModelInfo, step: Step) -> Reading:
    """How fast the device gets through weights of the type that most of the model's have."""
    step("measuring the memory", None)
    n_bytes = min(_READING_BYTES, (available_memory() or _READING_BYTES) // 4)

    def measured(kind: str) -> Reading:
        found = _native.bandwidth(info.device, kind, threads=info.n_threads, n_bytes=n_bytes, seconds=_READING_SECONDS)
        return Reading(kind, found.median, found.op_seconds)

    try:
        return measured(info.weight_type if info.has_lm else _CODEC_TYPE)
    except (InputError, UnsupportedModelError):  # a type that only some older files have
        return measured("q8_0")


def _stages(times: Times, read: Traffic, remembered: float, reading: Reading) -> dict[str, Stage]:
    kv = round(read.kv_per_frame * remembered)
    found = {"encode": read.encode, "lm": read.lm, "decode": read.decode}
    weights = {stage: n_bytes for stage, n_bytes in found.items() if stage in times}
    weights["frame"] = sum(weights.values())
    return {
        stage: _stage(times[stage], n_bytes, kv if stage in ("lm", "frame") else 0, reading)
        for stage, n_bytes in weights.items()
    }


def _stage(times: list[float], weights: int, kv: int, reading: Reading) -> Stage:
    p50, p95 = (float(np.percentile(times, q)) for q in (50, 95))
    return Stage(p50, p95, max(times), weights, kv, 1000 * (weights + kv) / reading.bytes_per_second)


def _described(model: Model) -> MeasuredModel:
    info = model.info
    kind = info.weight_type or "codec"
    return MeasuredModel(model.name, info.model_type, kind, info.weight_bytes, f"{info.fingerprint:016x}")


def _machine(found: list[Device], used: Device) -> Machine:
    processor = next((one.description for one in found if not one.is_gpu), "")
    total = next((one.memory_total for one in found if not one.is_gpu), 0)
    return Machine(processor, used.description, total, examine_build().system)


def _software() -> Software:
    build = examine_build()
    return Software(build.version, build.engine, build.ggml, build.python, sorted(build.backends), build.cpu_features)


def _taken(device: Device) -> int | None:
    """Bytes of a GPU that are taken since `device` was looked at."""
    now = next((one for one in devices() if one.name == device.name), None)
    return device.memory_free - now.memory_free if device.is_gpu and device.memory_free and now else None


def _notes(stages: dict[str, Stage], busy: float | None) -> list[str]:
    notes = []
    if busy is not None and busy > _BUSY:
        notes.append(f"Other programs kept {busy:.1f} processors busy meanwhile: alone it is faster.")
    if any(stage.of_bound > 1 for stage in stages.values()):
        notes.append("It is faster than the memory: much of it stays in the processor's cache from frame to frame.")
    return notes
