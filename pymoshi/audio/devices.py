"""The machine's microphones and speakers: which there are, which one is meant, and which one to take next time.

PortAudio (through the package sounddevice) is asked only when somebody wants sound: a machine without it imports
pymoshi, converts models and works on files. A choice is remembered by name in `audio.toml` in the configuration
folder, as indices change whenever something is plugged in.
"""

import ctypes
import json
import logging
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from pymoshi import paths
from pymoshi.errors import AudioDeviceError, InputError

__all__ = ["AudioDevice", "Direction", "audio_file", "choose", "find_device", "list_devices", "remember", "remembered"]

log = logging.getLogger("pymoshi")

# One sound card has a name in each of Windows' sound systems; the first of these that has it is meant.
_HOSTS: Final = ("Windows WASAPI", "Core Audio", "ALSA", "JACK Audio Connection Kit", "Windows DirectSound", "MME")
_MME_NAME: Final = 31  # characters, after which MME cuts a name off


class Direction(StrEnum):
    """Which way sound goes, seen from the machine."""

    INPUT = "input"
    OUTPUT = "output"

    @property
    def noun(self) -> str:
        """As people call it."""
        return "microphone" if self is Direction.INPUT else "speaker"


@dataclass(frozen=True, slots=True)
class AudioDevice:
    """A sound device as PortAudio sees it now; `index` holds until something is plugged in or out."""

    index: int
    name: str
    host: str  # "ALSA", "Core Audio", "Windows WASAPI", ...
    input_channels: int
    output_channels: int
    sample_rate: int  # Hz, the one it prefers
    default_input: bool = False
    default_output: bool = False

    def channels(self, direction: Direction) -> int:
        """How many it has in that direction; 0 if it cannot."""
        return self.input_channels if direction is Direction.INPUT else self.output_channels

    def is_default(self, direction: Direction) -> bool:
        """Whether the system uses it where nothing is said."""
        return self.default_input if direction is Direction.INPUT else self.default_output


def portaudio() -> Any:
    """The module sounddevice, with PortAudio running.

    Raises AudioDeviceError if either is not installed or cannot start.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise AudioDeviceError(
            f"Sound devices need the package sounddevice ({error}). Install it with: pip install sounddevice"
        ) from error
    except OSError as error:  # the package is there, the C library is not
        raise AudioDeviceError(
            "Sound devices need the library PortAudio, which is not installed. On Debian and Ubuntu: "
            "apt install libportaudio2; on Fedora: dnf install portaudio; on macOS: brew install portaudio. "
            "Without it pymoshi works on sound files."
        ) from error
    except Exception as error:  # PortAudioError, which cannot be named without the import that failed
        raise AudioDeviceError(f"PortAudio cannot start: {error}") from error
    _quiet_alsa()
    return sounddevice


@cache
def _quiet_alsa() -> object:
    """ALSA writes of every underrun to stderr, into whatever the terminal shows; we count them, and log what it says.

    Returns what must live as long as ALSA may call it.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL("libasound.so.2")
        kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
        # The last argument is printf's format; what belongs into it is not asked for.
        handler = kind(lambda _file, _line, function, _code, text: log.debug("ALSA: %r: %r", function, text))
        library.snd_lib_error_set_handler(handler)
    except (OSError, AttributeError):  # a PortAudio that has no ALSA
        return None
    return handler


def list_devices() -> list[AudioDevice]:
    """All devices, in PortAudio's order; empty on a machine that has none. Raises AudioDeviceError as `portaudio`."""
    sounddevice = portaudio()
    try:
        found = list(sounddevice.query_devices())
        hosts = [str(host["name"]) for host in sounddevice.query_hostapis()]
        default_input, default_output = sounddevice.default.device
    except sounddevice.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio cannot list the sound devices: {error}") from error
    return [
        AudioDevice(
            index=int(device["index"]),
            name=str(device["name"]),
            host=hosts[device["hostapi"]],
            input_channels=int(device["max_input_channels"]),
            output_channels=int(device["max_output_channels"]),
            sample_rate=round(device["default_samplerate"]),
            default_input=device["index"] == default_input,
            default_output=device["index"] == default_output,
        )
        for device in found
    ]


# ---- choosing ----------------------------------------------------------------------------------------------------


def find_device(direction: Direction, wanted: str | int | None = None) -> AudioDevice:
    """The device to use: the wanted one, else the remembered one if it is connected, else the system's default.

    Raises AudioDeviceError if there is none, or if `wanted` fits none or several.
    """
    devices = list_devices()
    if wanted is None and (name := remembered().get(direction)) is not None:
        try:
            return choose(devices, direction, name)
        except AudioDeviceError:
            device = choose(devices, direction, None)
            log.warning("The %s %r is not connected; using %r.", direction.noun, name, device.name)
            return device
    return choose(devices, direction, wanted)


def choose(devices: Sequence[AudioDevice], direction: Direction, wanted: str | int | None) -> AudioDevice:
    """The one device of that direction which `wanted` means.

    wanted: an index; a name; words which together fit one "name, host" only, in any case; None: the system's default.

    Raises AudioDeviceError if there is none, or if it fits none or several; the text lists what there is.
    """
    able = [device for device in devices if device.channels(direction) > 0]
    if not able:
        raise AudioDeviceError(
            f"No {direction.noun} was found. Connect one; in a container or over ssh the machine's sound server must "
            "be reachable. pymoshi talk --input FILE --output FILE needs none."
        )
    if wanted is None or (isinstance(wanted, str) and not wanted.strip()):
        return _default(able, direction)
    if isinstance(wanted, int) or wanted.strip().isdecimal():
        return _by_index(able, direction, int(wanted))
    fitting = _by_name(able, wanted)
    match len(fitting):
        case 1:
            return fitting[0]
        case 0:
            if wanted.strip().lower() == "default":
                return _default(able, direction)
            raise AudioDeviceError(f"There is no {direction.noun} {wanted!r}. There are:\n{_listed(able)}")
        case _:
            raise AudioDeviceError(
                f"{wanted!r} fits several {direction.noun}s. Say more of the name, or its number:\n{_listed(fitting)}"
            )


def _default(able: list[AudioDevice], direction: Direction) -> AudioDevice:
    return next((device for device in able if device.is_default(direction)), able[0])


def _by_index(able: list[AudioDevice], direction: Direction, index: int) -> AudioDevice:
    for device in able:
        if device.index == index:
            return device
    raise AudioDeviceError(f"There is no {direction.noun} with the number {index}. There are:\n{_listed(able)}")


def _by_name(able: list[AudioDevice], wanted: str) -> list[AudioDevice]:
    """Those of that name; else those that contain it; else those with all of its words. One card counts once."""
    wanted = wanted.strip().lower()
    words = wanted.replace(",", " ").split()
    fitting = (
        [device for device in able if wanted in (device.name.lower(), _full_name(device).lower())]
        or [device for device in able if wanted in _full_name(device).lower()]
        or [device for device in able if all(word in _full_name(device).lower() for word in words)]
    )
    if len({device.name[:_MME_NAME].lower() for device in fitting}) == 1 and len({d.host for d in fitting}) > 1:
        return sorted(fitting, key=_host_rank)[:1]
    return fitting


def _host_rank(device: AudioDevice) -> int:
    return _HOSTS.index(device.host) if device.host in _HOSTS else len(_HOSTS)


def _full_name(device: AudioDevice) -> str:
    return f"{device.name}, {device.host}"


def _listed(devices: Sequence[AudioDevice]) -> str:
    return "\n".join(f"  {device.index:>3}  {_full_name(device)}" for device in devices)


# ---- remembering -------------------------------------------------------------------------------------------------


def audio_file() -> Path:
    """Where the choice is kept."""
    return paths.config_dir() / "audio.toml"


def remembered() -> dict[Direction, str]:
    """Names of the remembered devices, by direction; those for which the system's default is used are absent.

    Raises InputError if the file is there and damaged.
    """
    path = audio_file()
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Correct it, or delete it.") from error
    names: dict[Direction, str] = {}
    for direction in Direction:
        name = content.get(direction.value)
        if isinstance(name, str):
            names[direction] = name
        elif name is not None:
            raise InputError(f"{path}: {direction.value} should be a device's name in quotes, but is {name!r}.")
    return names


def remember(**chosen: AudioDevice | None) -> Path:
    """Keeps `input=` and `output=` for the next time; None forgets that direction, what is not named stays.

    Returns the file. Raises InputError if the file cannot be read or written.
    """
    names = remembered()
    for key, device in chosen.items():
        direction = Direction(key)
        names.pop(direction, None)
        if device is not None:
            names[direction] = _full_name(device)
    path = audio_file()
    lines = ["# Written by: pymoshi devices --audio --input NAME --output NAME"]
    lines += [f"{direction.value} = {_toml_string(names[direction])}" for direction in Direction if direction in names]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", "utf-8")
    except (OSError, UnicodeEncodeError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return path


def _toml_string(text: str) -> str:
    # JSON's strings are TOML's, but for DEL, which only TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
