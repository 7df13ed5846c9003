"""What this machine and this installation can do: `pymoshi doctor`.

    report = pymoshi.doctor.examine()
    report.choice                  # the model to take, and how it would run
    report.problems                # what stands in the way of a live conversation; empty if nothing does

The predictions are made from measurements of a second or two, before anything is downloaded: bytes that a frame goes
through over the measured bandwidth, plus what its many small operations take, plus the codec.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pymoshi import _native
from pymoshi.doctor.codec import CodecSpeed, measure_codec
from pymoshi.doctor.machine import (
    Build,
    Folder,
    Network,
    examine_build,
    examine_folders,
    examine_network,
    free_memory,
    load_per_core,
)
from pymoshi.doctor.prediction import KV, SAFE_MS, Prediction, Speed, Verdict, choose, predict_all, real_time
from pymoshi.doctor.sound import SoundReport, examine_sound
from pymoshi.doctor.steadiness import is_steady
from pymoshi.errors import DeviceError, UnsupportedModelError
from pymoshi.hub.catalog import load_catalog
from pymoshi.hub.download import human_size
from pymoshi.model import Device, devices

__all__ = ["Measured", "Prediction", "Report", "Verdict", "examine"]

log = logging.getLogger("pymoshi")

Step = Callable[[str], None]

_TYPES: Final = {"q4_k": "q4_K", "q8_0": "q8_0", "f16": "f16", "bf16": "bf16", KV: KV}  # ours: ggml's
_SECONDS: Final = 0.4  # of measuring, for each type of weights
_QUICK_SECONDS: Final = 0.15
_BUSY: Final = 0.5  # programs that wait for each processor


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast the chosen device is."""

    device: str
    reason: str
    """Why "auto" chose it; "" if it was asked for."""
    threads: int
    bandwidth: dict[str, _native.Bandwidth]
    """By type of weights; "kv" is attention to the past."""
    codec: CodecSpeed
    note: str
    """What makes the figures doubtful; "" if nothing does."""

    @property
    def speed(self) -> Speed:
        """As the predictions take it."""
        return Speed(
            bandwidth={kind: _typical(found) for kind, found in self.bandwidth.items()},
            op_seconds=min(found.op_seconds for found in self.bandwidth.values()),
            encode_ms=self.codec.encode_ms,
            decode_ms=self.codec.decode_ms,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found out."""

    build: Build
    devices: list[Device]
    measured: Measured
    sound: SoundReport
    folders: list[Folder]
    network: Network
    predictions: list[Prediction]
    choice: Prediction | None
    """The model to take; None if none fits into the memory."""
    problems: list[str] = field(default_factory=list)
    """What stands in the way of a live conversation with a full-size model."""
    notes: list[str] = field(default_factory=list)
    """What else is worth knowing."""

    @property
    def can_converse(self) -> bool:
        """Whether a live conversation with a full-size model is possible here."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self) | {"can_converse": self.can_converse}
        for found, prediction in zip(plain["predictions"], self.predictions, strict=True):
            found["frames_per_second"] = prediction.frames_per_second
            found["real_time_seconds"] = (
                None if prediction.real_time_seconds == float("inf") else found["real_time_seconds"]
            )
        plain["choice"] = self.choice.spec if self.choice else None
        return plain


def examine(
    device: str = "auto",
    *,
    threads: int | None = None,
    quick: bool = False,
    network: bool = False,
    sound: bool = True,
    step: Step = lambda _: None,
) -> Report:
    """Looks at this machine; takes some five seconds, `quick` one or two.

    device, threads: as in `pymoshi.load`. quick: shorter measurements, no full-size codec, no sound is played.
    network: ask the model hub whether it can be reached; otherwise nothing is sent anywhere.
    sound: False to leave the sound devices alone.
    step: called with the name of each thing that is begun.

    Raises DeviceError (no such device), InputError, InternalError (a broken installation), OutOfMemoryError.
    """
    step("this installation")
    build, found = examine_build(), devices()
    chosen, reason = choose_device(found, device)
    measured = _measure(chosen, reason, threads, quick, step)
    step("sound")
    heard = examine_sound(play=not quick) if sound else SoundReport(None, None, [], "not looked at", None, None, "")
    step("disk and network")
    folders, net = examine_folders(), examine_network(ask=network)
    predictions = predict_all(load_catalog(), measured.speed, free_memory(chosen))
    choice = choose(predictions)
    return Report(
        build=build,
        devices=found,
        measured=measured,
        sound=heard,
        folders=folders,
        network=net,
        predictions=predictions,
        choice=choice,
        problems=_problems(predictions, heard),
        notes=_notes(choice, folders, net, measured),
    )


def choose_device(found: list[Device], wanted: str) -> tuple[Device, str]:
    """The device to measure, and why, by the engine's rule: "auto" is the GPU with the most free memory.

    Raises DeviceError.
    """
    if wanted.lower() != "auto":
        for device in found:
            if wanted.lower() in (device.name, device.name + ":0"):
                return device, ""
        names = ", ".join(device.name for device in found)
        raise DeviceError(
            f"No device {wanted!r}; found: {names}. A GPU needs its driver and a build for it "
            "(GGML_CUDA=ON or GGML_VULKAN=ON)."
        )
    gpus = [device for device in found if device.is_gpu]
    if gpus:
        return max(gpus, key=lambda device: device.memory_free), "the GPU with the most free memory"
    return next(device for device in found if not device.is_gpu), "no GPU that this build can use"


def _measure(device: Device, reason: str, threads: int | None, quick: bool, step: Step) -> Measured:
    load = load_per_core()
    bandwidth = {}
    for kind, name in _TYPES.items():
        step("attention" if kind == KV else f"bandwidth with {kind} weights")
        try:
            bandwidth[kind] = _native.bandwidth(
                device.name, name, threads=threads or 0, seconds=_QUICK_SECONDS if quick else _SECONDS
            )
        except UnsupportedModelError as error:
            log.info("%s", error)
    step("the codec")
    codec = measure_codec(device.name, threads, quick=quick)
    return Measured(
        device=device.name,
        reason=reason,
        threads=threads or _native.default_threads(),
        bandwidth=bandwidth,
        codec=codec,
        note=_doubt(bandwidth, load),
    )


def _doubt(bandwidth: dict[str, _native.Bandwidth], load: float | None) -> str:
    """Why the figures may be wrong."""
    if load is not None and load > _BUSY:
        return f"other programs were computing meanwhile (load {load:.1f} for each processor): alone it is faster"
    worst = max((found.best / found.median for found in bandwidth.values()), default=1.0)
    if not is_steady(1.0, worst):
        return f"the speed varied by a factor of {worst:.1f}: something else was running"
    return ""


def _typical(found: _native.Bandwidth) -> float:
    """As `steadiness.typical`, for speeds."""
    return found.median if is_steady(found.median, found.best) else found.best


def _problems(predictions: list[Prediction], sound: SoundReport) -> list[str]:
    problems = []
    if not real_time(predictions):
        talking = [found for found in predictions if found.converses and found.first_ms]
        fastest = min(talking, key=lambda found: found.first_ms)
        if all(found.verdict is Verdict.NO_MEMORY for found in talking):
            smallest = min(found.memory for found in talking)
            problems.append(
                f"No full-size model fits into the device's free memory: {human_size(smallest)} are needed."
            )
        else:
            rate, lacking = fastest.frames_per_second, fastest.first_ms / SAFE_MS
            problems.append(
                f"No full-size model is real time here: {fastest.spec} would reach {rate:.1f} of the 12.5 frames a "
                f"second that are needed. That takes a GPU, or a machine {lacking:.1f} times as fast."
            )
    if sound.problem:
        problems.append(f"No sound: {sound.problem}")
    return problems


def _notes(choice: Prediction | None, folders: list[Folder], network: Network, measured: Measured) -> list[str]:
    notes = [f"The figures are doubtful: {measured.note}."] if measured.note else []
    if choice is not None:
        for folder in folders[:2]:  # where it would be downloaded to, and converted
            if folder.free < choice.download:
                size, free = human_size(choice.download), human_size(folder.free)
                notes.append(f"{choice.spec} is a download of {size}, and {folder.path} has {free} free.")
    notes += [f"{folder.path} cannot be written to." for folder in folders if not folder.writable]
    if network.offline:
        notes.append("HF_HUB_OFFLINE is set: nothing will be downloaded.")
    if choice is not None and not network.token and _gated(choice):
        notes.append(f"{choice.spec} needs a token of the model hub; `pymoshi pull {choice.spec}` says how to get one.")
    if network.reachable is False:
        notes.append(f"The model hub cannot be used: {network.detail}")
    return notes


def _gated(choice: Prediction) -> bool:
    variant = load_catalog().models[choice.model].variants[choice.variant]
    return any(file.gated for file in variant.files.values())
