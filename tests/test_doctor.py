"""`pymoshi doctor` tells what this machine can do, and is honest about what stands in the way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from pymoshi import AudioDeviceError, Device, DeviceError, DiskSpaceError, _native, doctor
from pymoshi.cli.app import app
from pymoshi.doctor import Report, Verdict, codec, machine
from pymoshi.doctor.codec import CodecSpeed
from pymoshi.doctor.sound import SoundReport, examine_sound, judge, sweep
from pymoshi.doctor.steadiness import typical

GOOD_SOUND = SoundReport("a microphone", "a speaker", ["a microphone, ALSA"], "", None, None, "")
NO_SOUND = SoundReport(None, None, [], "", None, None, "No microphone was found.")

Speed = Callable[[float], None]


@pytest.fixture
def machine_of(monkeypatch: pytest.MonkeyPatch) -> Speed:
    """Pretends that this machine's memory has that many GB a second, that it is quiet, and that it has sound."""

    def pretend(gigabytes: float) -> None:
        speed = gigabytes * 1e9
        monkeypatch.setattr(
            _native, "bandwidth", lambda *_, **__: _native.Bandwidth(1.05 * speed, speed, 2e-6, 256 << 20, 9)
        )
        monkeypatch.setattr(doctor, "measure_codec", lambda *_, **__: CodecSpeed(3.0, 3.0, "made up"))
        monkeypatch.setattr(doctor, "examine_sound", lambda **_: GOOD_SOUND)
        monkeypatch.setattr(doctor, "load_per_core", lambda: 0.1)
        monkeypatch.setattr(doctor, "free_memory", lambda _: 64 << 30)

    return pretend


def run(*options: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *options])


def test_fast_machine_can_converse_and_is_told_how(machine_of: Speed) -> None:
    machine_of(1000)
    found = run()
    assert found.exit_code == 0
    assert "pymoshi pull personaplex:q8_0 && pymoshi talk --model personaplex:q8_0" in found.stdout
    assert "problem" not in found.stdout


def test_slow_machine_ends_with_one_and_says_what_it_would_reach(machine_of: Speed) -> None:
    machine_of(30)
    found = run()
    assert found.exit_code == 1
    assert "No full-size model is real time here" in found.stdout
    assert "of the 12.5 frames a second" in found.stdout
    assert "pymoshi demo" in found.stdout


def test_machine_that_is_fast_enough_at_first_is_told_a_context(machine_of: Speed) -> None:
    machine_of(70)
    report = doctor.examine(sound=False)
    assert report.choice is not None
    assert report.choice.verdict is Verdict.AT_FIRST
    assert f"--context {report.choice.context}" in run().stdout


def test_machine_without_sound_cannot_hold_a_live_conversation(
    machine_of: Speed, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_of(1000)
    monkeypatch.setattr(doctor, "examine_sound", lambda **_: NO_SOUND)
    found = run()
    assert found.exit_code == 1
    assert "No sound: No microphone was found." in found.stdout


def test_machine_with_little_memory_is_told_how_much_is_needed(
    machine_of: Speed, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_of(1000)
    monkeypatch.setattr(doctor, "free_memory", lambda _: 2 << 30)
    report = doctor.examine(sound=False)
    assert report.choice is None
    assert any("6.5 GB are needed" in problem for problem in report.problems)


def test_busy_machine_is_told_that_the_figures_are_doubtful(machine_of: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(1000)
    monkeypatch.setattr(doctor, "load_per_core", lambda: 3.0)
    assert any("doubtful" in note for note in doctor.examine(sound=False).notes)


def test_disturbed_measurements_count_by_their_best_moments(monkeypatch: pytest.MonkeyPatch, machine_of: Speed) -> None:
    machine_of(1000)
    monkeypatch.setattr(_native, "bandwidth", lambda *_, **__: _native.Bandwidth(900e9, 100e9, 2e-6, 1, 9))
    report = doctor.examine(sound=False)
    assert report.measured.speed.bandwidth["q4_k"] == 900e9
    assert any("factor of 9.0" in note for note in report.notes)
    assert typical([1.0, 1.1, 1.2]) == 1.1
    assert typical([1.0, 5.0, 9.0]) == 1.0


def test_json_holds_everything(machine_of: Speed) -> None:
    machine_of(1000)
    found = json.loads(run("--json").stdout)
    assert found["can_converse"] is True
    assert found["choice"] == "personaplex:q8_0"
    plex = next(entry for entry in found["predictions"] if entry["model"] == "personaplex")
    assert plex["verdict"] == "real time"
    assert plex["real_time_seconds"] is None  # without end
    assert plex["frames_per_second"] > 12.5
    assert {"build", "devices", "measured", "sound", "folders", "network", "problems", "notes"} <= found.keys()


def test_every_step_is_announced(machine_of: Speed) -> None:
    machine_of(1000)
    steps: list[str] = []
    doctor.examine(step=steps.append)
    assert steps[0] == "this installation"
    assert "sound" in steps
    assert len(steps) == len(set(steps))


def test_unknown_device_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(DeviceError, match=r"abacus.*found: cpu"):
        doctor.examine("abacus", sound=False)


def test_auto_takes_the_gpu_with_the_most_free_memory() -> None:
    cpu = Device("cpu", "", False, 100, 100)
    small, large = Device("cuda", "", True, 100, 50), Device("cuda:1", "", True, 100, 80)
    assert doctor.choose_device([cpu, small, large], "auto")[0] is large
    assert doctor.choose_device([cpu], "auto") == (cpu, "no GPU that this build can use")
    assert doctor.choose_device([cpu, small, large], "CUDA:0") == (small, "")


def test_ctrl_c_ends_it_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr("pymoshi.cli.doctor_report.examine", interrupted)
    found = run()
    assert found.exit_code == 130
    assert found.stdout == ""


# ---- network and disk ----


def test_nothing_is_asked_of_the_network_unless_told_to(machine_of: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(1000)
    monkeypatch.setattr("pymoshi.hub.download.get_hf_file_metadata", lambda *_, **__: pytest.fail("the hub was asked"))
    report = doctor.examine(sound=False)
    assert report.network.reachable is None


def test_hub_that_must_not_be_used_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = machine.examine_network(ask=True)
    assert found.offline
    assert found.reachable is False
    assert "HF_HUB_OFFLINE" in found.detail


def test_token_is_reported_and_never_shown(machine_of: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(1000)
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_token")
    found = run("--json")
    assert json.loads(found.stdout)["network"]["token"] is True
    assert "hf_not" not in found.stdout


def test_disk_without_room_for_the_download_is_noted(machine_of: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_of(1000)
    full = machine.Folder("models and voices", "/somewhere", 10**9, writable=True)
    monkeypatch.setattr(doctor, "examine_folders", lambda: [full])
    assert any("/somewhere has 1.0 GB free" in note for note in doctor.examine(sound=False).notes)


def test_folders_that_are_not_there_yet_count_as_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMOSHI_HOME", str(tmp_path / "not" / "yet"))
    found = machine.examine_folders()
    assert found[0].writable
    assert found[0].free > 0
    assert not (tmp_path / "not").exists()


# ---- sound ----


def test_missing_portaudio_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> list[object]:
        raise AudioDeviceError("Sound devices need the library PortAudio")

    monkeypatch.setattr("pymoshi.audio.devices.list_devices", missing)
    found = examine_sound(play=True)
    assert "PortAudio" in found.problem
    assert found.devices == []


def test_no_device_is_a_finding_that_gives_its_advice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymoshi.audio.devices.list_devices", list)
    found = examine_sound(play=True)
    assert found.problem.count("Connect one") == 1
    assert "No microphone was found" in found.problem
    assert "No speaker was found" in found.problem


def recording(after: float, gain: float = 0.3) -> NDArray[np.float32]:
    """A second of a room's noise, with the sweep in it after so many seconds."""
    noise = np.random.default_rng(0).normal(0, 0.003, 24000).astype(np.float32)
    start = round(after * 24000)
    noise[start : start + sweep().size] += gain * sweep()
    return noise


def test_sweep_is_found_where_it_is() -> None:
    words, round_trip, level = judge(recording(0.25), 0.03)
    assert round_trip == pytest.approx(250, abs=1)
    assert "250 ms" in words
    assert level is not None
    assert -50 < level < -30


def test_room_without_the_sweep_is_no_fault() -> None:
    words, round_trip, _ = judge(recording(0.25, gain=0.0), 0.03)
    assert round_trip is None
    assert "headphones" in words


def test_digital_silence_is_told_from_a_quiet_room() -> None:
    assert "muted" in judge(np.zeros(24000, np.float32), 0.03)[0]
    assert judge(np.zeros(0, np.float32), 0.03) == ("nothing was recorded", None, None)


# ---- the real thing ----


def test_demo_codec_stands_in_where_there_is_no_room_for_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> Path:
        raise DiskSpaceError("full")

    monkeypatch.setattr(codec, "synthesize", no_room)
    found = codec.measure_codec("cpu", 1, quick=False, seconds=0.05)
    assert found.encode_ms > 0
    assert found.decode_ms > 0
    assert "demo" in found.how


def test_this_machine_is_examined_from_the_command_line(run_pymoshi: Callable[..., Any]) -> None:
    found = run_pymoshi("doctor", "--quick", "--no-sound", "--threads", "1", "--device", "cpu", "--json")
    assert found.returncode in (0, 1), found.stderr
    report = json.loads(found.stdout)
    assert report["measured"]["device"] == "cpu"
    assert report["can_converse"] is (found.returncode == 0)
    assert all(entry["median"] > 0 for entry in report["measured"]["bandwidth"].values())


def test_unknown_device_ends_with_two(run_pymoshi: Callable[..., Any]) -> None:
    found = run_pymoshi("doctor", "--device", "abacus")
    assert found.returncode == 2
    assert "abacus" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_code_chosen_for_the_processor_is_told_apart_from_what_it_can_do() -> None:
    build = machine.Build("", "", "", "", "", {"cpu": {"variant": "haswell", "AVX2": "1", "FMA": "1", "SSE3": "1"}})
    assert build.cpu_variant == "haswell"
    assert build.cpu_features == ["AVX2", "FMA"]
    assert machine.Build("", "", "", "", "", {"cpu": {"AVX2": "1"}}).cpu_variant == ""
