"""Sound: which microphone and speaker a conversation would use, and whether sound goes through them.

The loop test opens both, plays a short sweep and listens for it. Where loudspeakers are open the microphone hears it,
and the time that it took is what the sound devices add to a conversation; with headphones it hears nothing, and that
is well, too.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import AudioDeviceError, PymoshiError

if TYPE_CHECKING:
    from pymoshi.audio.ports import PortStats

_RATE: Final = 24000  # Hz
_SWEEP_SECONDS: Final = 0.3
_SWEEP_HZ: Final = (300.0, 3000.0)
_SWEEP_LEVEL: Final = 0.1  # of full scale: to be noticed, not to startle
_LISTEN_SECONDS: Final = 1.2
_START_SECONDS: Final = 3.0  # that a device may take until it gives sound
_ATTEMPTS: Final = 2  # some devices fail the first time, and a busy machine tears the sweep apart
_BLOCK: Final = 480
_TOLERABLE: Final = 2  # interruptions, as the driver counts them; opening a device may cost one or two
_HEARD: Final = 6.0
"""How far the correlation's peak must stand out, in multiples of its RMS."""
_SILENT_DB: Final = -90.0

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundReport:
    """What was found out about sound."""

    microphone: str | None
    speaker: str | None
    devices: list[str]
    """All of them, by name and host."""
    loop: str
    """What the loop test has shown, in words; "" if it was not made."""
    round_trip_ms: float | None
    """From the speaker to the microphone, if the sweep was heard."""
    microphone_db: float | None
    """Level of what was recorded, dBFS; None if nothing was."""
    problem: str
    """Why no live conversation is possible; "" if one is."""


def examine_sound(*, play: bool) -> SoundReport:
    """play: make the loop test. Never raises: what is wrong is part of the report."""
    try:
        from pymoshi.audio.devices import Direction, find_device, list_devices

        devices = [f"{device.name}, {device.host}" for device in list_devices()]
    except PymoshiError as error:
        return SoundReport(None, None, [], "", None, None, str(error))
    names: dict[Direction, str] = {}
    problems = []
    for direction in Direction:
        try:
            names[direction] = find_device(direction).name
        except PymoshiError as error:
            problems.append(str(error))
    microphone, speaker = names.get(Direction.INPUT), names.get(Direction.OUTPUT)
    if problems or not play:
        return SoundReport(microphone, speaker, devices, "", None, None, _joined(problems))
    for _ in range(_ATTEMPTS):
        try:
            recorded, stats = _play_and_record()
        except AudioDeviceError as error:
            return SoundReport(microphone, speaker, devices, "", None, None, str(error))
        loop, round_trip, level = judge(recorded, stats.latency)
        if round_trip is not None:
            break
    if stats.xruns > _TOLERABLE:
        loop += f"; {stats.xruns} interruptions: the machine is busy, or the device needs longer blocks"
    problem = "" if level is not None else f"{microphone or 'The microphone'} gives no sound."
    return SoundReport(microphone, speaker, devices, loop, round_trip, level, problem)


def _joined(problems: list[str]) -> str:
    """Two messages that give the same advice give it once."""
    if len(problems) == 2:
        first, _, advice = problems[0].partition(". ")
        if problems[1].endswith(advice):
            return f"{first}. {problems[1]}"
    return " ".join(problems)


def sweep() -> Samples:
    """The test sound, float32 [n], 24 kHz."""
    seconds = np.arange(round(_SWEEP_SECONDS * _RATE)) / _RATE
    low, high = _SWEEP_HZ
    phase = 2 * np.pi * (low * seconds + (high - low) * seconds**2 / (2 * _SWEEP_SECONDS))
    return (_SWEEP_LEVEL * np.hanning(seconds.size) * np.sin(phase)).astype(np.float32)


def _play_and_record() -> tuple[Samples, "PortStats"]:
    """What the microphone heard since the sweep was handed to the speaker, and how the devices fared."""
    from pymoshi.audio.stream import open_duplex

    with open_duplex(echo_cancel=False) as stream:
        deadline = time.perf_counter() + _START_SECONDS
        while stream.read(_BLOCK, 0.1) is None and time.perf_counter() < deadline:
            pass  # until sound comes
        stream.skip(stream.pending())
        stream.write(sweep())
        blocks = []
        end = time.perf_counter() + _LISTEN_SECONDS
        while time.perf_counter() < end:
            block = stream.read(_BLOCK, 0.05)
            if block is not None:
                blocks.append(block.copy())
        return np.concatenate(blocks or [np.zeros(0, np.float32)]), stream.stats()


def judge(recorded: Samples, latency: float) -> tuple[str, float | None, float | None]:
    """What a recording of the loop test means: in words, the round trip in ms if the sweep is in it, the level in dBFS.

    recorded: float32 [n], 24 kHz, from when the sweep was handed to the speaker. latency: seconds, as the devices say.
    """
    probe = sweep()
    if recorded.size < probe.size:
        return "nothing was recorded", None, None
    power = float(np.mean(np.square(recorded, dtype=np.float64)))
    level = 10 * np.log10(power) if power > 0 else -np.inf
    if level < _SILENT_DB:
        return "digital silence was recorded: the microphone may be muted or forbidden", None, float(max(level, -200.0))
    size = 1 << int(recorded.size + probe.size).bit_length()
    product = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(probe, size))
    correlation = np.abs(np.fft.irfft(product, size)[: recorded.size - probe.size + 1])
    at = int(np.argmax(correlation))
    rest = float(np.sqrt(np.mean(np.square(correlation)))) or 1.0
    if correlation[at] > _HEARD * rest:
        round_trip = 1000 * at / _RATE
        return f"the microphone hears the speaker after {round_trip:.0f} ms", round_trip, float(level)
    words = f"the microphone does not hear the speaker (headphones, or turned down); latency {1000 * latency:.0f} ms"
    return words, None, float(level)
