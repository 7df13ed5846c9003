"""Which microphone and which speaker are meant, on a machine of the test's choosing."""

import builtins
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pymoshi.audio import devices
from pymoshi.audio.devices import AudioDevice, Direction
from pymoshi.cli.app import app
from pymoshi.errors import AudioDeviceError, InputError

IN, OUT = Direction.INPUT, Direction.OUTPUT


class PortAudioError(Exception):
    """As sounddevice has it."""


def machine(*found: tuple[str, str, int, int], defaults: tuple[int, int] = (-1, -1)) -> Any:
    """A stand-in for sounddevice on a machine with these devices: (name, host, inputs, outputs)."""
    hosts = list(dict.fromkeys(host for _, host, _, _ in found))
    listed = [
        {
            "index": index,
            "name": name,
            "hostapi": hosts.index(host),
            "max_input_channels": inputs,
            "max_output_channels": outputs,
            "default_samplerate": 48_000.0,
        }
        for index, (name, host, inputs, outputs) in enumerate(found)
    ]
    return SimpleNamespace(
        query_devices=lambda: listed,
        query_hostapis=lambda: [{"name": host} for host in hosts],
        default=SimpleNamespace(device=defaults),
        PortAudioError=PortAudioError,
    )


DESK = machine(
    ("Built-in Audio: Analog (hw:0,0)", "ALSA", 2, 2),
    ("Built-in Audio: HDMI (hw:0,3)", "ALSA", 0, 8),
    ("USB Headset: Audio (hw:1,0)", "ALSA", 1, 2),
    ("default", "ALSA", 32, 32),
    defaults=(3, 3),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> list[AudioDevice]:
    monkeypatch.setattr(devices, "portaudio", lambda: DESK)
    return devices.list_devices()


def test_a_device_is_found_by_number_name_part_or_words(desk: list[AudioDevice]) -> None:
    for wanted in (2, "2", "usb headset: audio (HW:1,0)", "headset", "hw:1,0", "headset usb", "usb, alsa"):
        assert devices.choose(desk, IN, wanted).index == 2, wanted


def test_a_whole_name_wins_over_a_part_of_another() -> None:
    found = [
        AudioDevice(0, "Speakers (2nd)", "ALSA", 0, 2, 48_000),
        AudioDevice(1, "Speakers", "ALSA", 0, 2, 48_000),
    ]
    assert devices.choose(found, OUT, "speakers").index == 1


def test_an_ambiguous_name_lists_those_it_fits(desk: list[AudioDevice]) -> None:
    with pytest.raises(AudioDeviceError, match="several speakers") as refused:
        devices.choose(desk, OUT, "built-in")
    assert "HDMI" in str(refused.value)
    assert "Analog" in str(refused.value)
    assert "USB" not in str(refused.value)


def test_a_name_is_looked_for_in_its_direction_only(desk: list[AudioDevice]) -> None:
    assert devices.choose(desk, IN, "built-in").index == 0
    with pytest.raises(AudioDeviceError, match=r"(?s)no microphone 'hdmi'.*USB"):
        devices.choose(desk, IN, "hdmi")
    with pytest.raises(AudioDeviceError, match="no microphone with the number 1"):
        devices.choose(desk, IN, 1)


def test_without_a_wish_the_system_decides(desk: list[AudioDevice]) -> None:
    assert devices.choose(desk, IN, None).index == 3
    assert devices.choose(desk, OUT, " ").index == 3


def test_a_machine_without_defaults_uses_the_first_that_can() -> None:
    found = [AudioDevice(0, "HDMI", "ALSA", 0, 2, 48_000), AudioDevice(1, "Webcam", "ALSA", 1, 0, 16_000)]
    assert devices.choose(found, IN, "default").index == 1


def test_a_card_that_windows_lists_three_times_is_one() -> None:
    found = [
        AudioDevice(0, "Headset Microphone (Jabra Evolv", "MME", 2, 0, 44_100),  # MME cuts names off
        AudioDevice(1, "Headset Microphone (Jabra Evolve 65)", "Windows DirectSound", 2, 0, 44_100),
        AudioDevice(2, "Headset Microphone (Jabra Evolve 65)", "Windows WASAPI", 1, 0, 48_000),
    ]
    assert devices.choose(found, IN, "jabra").index == 2
    assert devices.choose(found, IN, "jabra mme").index == 0


def test_two_cards_of_one_kind_are_not_one() -> None:
    found = [AudioDevice(i, "USB Mic", "Core Audio", 1, 0, 48_000) for i in range(2)]
    with pytest.raises(AudioDeviceError, match="several"):
        devices.choose(found, IN, "usb")


def test_a_machine_without_microphone_is_told_so() -> None:
    with pytest.raises(AudioDeviceError, match="No microphone was found"):
        devices.choose([AudioDevice(0, "HDMI", "ALSA", 0, 2, 48_000)], IN, None)


# ---- PortAudio ---------------------------------------------------------------------------------------------------


def _failing_import(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real = builtins.__import__

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "sounddevice":
            raise error
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", guarded)


def test_a_missing_portaudio_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_import(monkeypatch, OSError("PortAudio library not found"))
    with pytest.raises(AudioDeviceError, match="apt install libportaudio2"):
        devices.list_devices()


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_import(monkeypatch, ImportError("No module named 'sounddevice'"))
    with pytest.raises(AudioDeviceError, match="pip install sounddevice"):
        devices.list_devices()


def test_a_portaudio_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_import(monkeypatch, PortAudioError("Error initializing PortAudio: no jack"))
    with pytest.raises(AudioDeviceError, match="cannot start: Error initializing PortAudio: no jack"):
        devices.list_devices()


def test_importing_pymoshi_does_not_start_portaudio() -> None:
    code = "import sys, pymoshi, pymoshi.audio.devices, pymoshi.cli.app; sys.exit('sounddevice' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# ---- remembering -------------------------------------------------------------------------------------------------


def test_a_choice_is_remembered_by_name(desk: list[AudioDevice], monkeypatch: pytest.MonkeyPatch) -> None:
    devices.remember(input=desk[2])
    replugged = machine(("USB Headset: Audio (hw:1,0)", "ALSA", 1, 2), ("default", "ALSA", 32, 32), defaults=(1, 1))
    monkeypatch.setattr(devices, "portaudio", lambda: replugged)
    assert devices.find_device(IN).index == 0
    assert devices.find_device(OUT).index == 1


def test_a_wish_wins_over_what_is_remembered(desk: list[AudioDevice]) -> None:
    devices.remember(input=desk[2])
    assert devices.find_device(IN, "analog").index == 0


def test_a_remembered_device_that_is_away_gives_way_to_the_default(
    desk: list[AudioDevice], caplog: pytest.LogCaptureFixture
) -> None:
    devices.remember(input=AudioDevice(9, "Studio Mic", "ALSA", 1, 0, 48_000))
    assert devices.find_device(IN).index == 3
    assert "Studio Mic" in caplog.text


def test_directions_are_remembered_and_forgotten_apart(desk: list[AudioDevice]) -> None:
    devices.remember(input=desk[2], output=desk[1])
    devices.remember(input=None)
    assert list(devices.remembered()) == [OUT]


@pytest.mark.parametrize("name", ['Ann\'s "Mic"', "C:\\mic", "\u30de\u30a4\u30af \U0001f3a4", "tab\there", "del\x7f"])
def test_any_name_survives_being_remembered(desk: list[AudioDevice], name: str) -> None:
    devices.remember(output=AudioDevice(0, name, "ALSA", 1, 1, 48_000))
    assert devices.remembered() == {OUT: f"{name}, ALSA"}


@pytest.mark.parametrize("content", [b"input = ", b"\xff\xfe", b"input = 3", b"[input]\nname = 'x'"])
def test_a_damaged_memory_is_an_error_that_names_the_file(home: Path, content: bytes) -> None:
    file = devices.audio_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"audio\.toml"):
        devices.remembered()


# ---- the command -------------------------------------------------------------------------------------------------


def test_the_command_lists_and_remembers(desk: list[AudioDevice]) -> None:
    kept = CliRunner().invoke(app, ["devices", "--audio", "--input", "headset", "--json"])
    assert kept.exit_code == 0, kept.output
    listed = json.loads(kept.stdout)
    assert [entry["name"] for entry in listed if entry["used_for_input"]] == ["USB Headset: Audio (hw:1,0)"]
    assert [entry["name"] for entry in listed if entry["used_for_output"]] == ["default"]
    forgotten = CliRunner().invoke(app, ["devices", "--audio", "--input", "default"])
    assert forgotten.exit_code == 0, forgotten.output
    assert devices.remembered() == {}
    rows = [line for line in forgotten.stdout.splitlines() if "hw:0,3" in line]
    assert len(rows) == 1


def test_a_slip_in_one_direction_keeps_both_as_they_were(desk: list[AudioDevice]) -> None:
    result = CliRunner().invoke(app, ["devices", "--audio", "--input", "headset", "--output", "nonsense"])
    assert isinstance(result.exception, AudioDeviceError)
    assert devices.remembered() == {}


def test_a_machine_without_sound_devices_is_listed_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "portaudio", machine)
    result = CliRunner().invoke(app, ["devices", "--audio"])
    assert result.exit_code == 0
    assert "No sound device was found" in result.stderr
    assert json.loads(CliRunner().invoke(app, ["devices", "--audio", "--json"]).stdout) == []


def test_sound_options_without_audio_are_refused() -> None:
    assert isinstance(CliRunner().invoke(app, ["devices", "--input", "x"]).exception, InputError)
