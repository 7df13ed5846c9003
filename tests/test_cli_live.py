"""`pymoshi talk` live, as people run it; files and made-up devices stand in for microphone and speaker."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

Run = Callable[..., subprocess.CompletedProcess[str]]

KEPT = ("--record", "r.wav", "--transcript", "t.json", "--replay", "t.replay")


@pytest.fixture
def question(speech: NDArray[np.float32], tmp_path: Path) -> Path:
    """2 s."""
    path = tmp_path / "question.wav"
    soundfile.write(path, speech[: 25 * 1920], 24000)
    return path


@pytest.fixture
def tiny(moshi_folder: Path) -> list[str]:
    """The tiny model, in options."""
    return ["--model", str(moshi_folder), "--device", "cpu", "--threads", "1", "--text-temperature", "2"]


def test_conversation_ends_with_its_input_and_everything_is_kept(
    run_pymoshi: Run, tiny: list[str], question: Path, tmp_path: Path, moshi_folder: Path
) -> None:
    done = run_pymoshi(
        "talk", *tiny, "--seed", "5", "--input-device", f"file:{question}", "--output-device", "file:reply.wav", *KEPT,
        "--output-text", "text.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    frames = report["stats"]["frames"]
    # A machine that is busy elsewhere leaves some input out, by the stated policy.
    assert 0 < frames <= 25
    assert (report["complete"], report["seed"], report["input"]) == (True, 5, f"file:{question}")
    assert soundfile.info(tmp_path / "r.wav").frames == soundfile.info(tmp_path / "reply.wav").frames == frames * 1920
    both = soundfile.read(tmp_path / "r.wav")[0]
    assert np.array_equal(both[:, 1], soundfile.read(tmp_path / "reply.wav")[0])
    assert len(json.loads((tmp_path / "text.json").read_text(encoding="utf-8"))) <= frames
    assert "Recording: r.wav" in done.stderr
    again = run_pymoshi("replay", "t.replay", "--model", moshi_folder, "--json", "--record", "again.wav")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert (result["equal"], result["frames"], result["text"].strip()) == (True, frames, report["text"])
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "r.wav").read_bytes()


def test_json_tells_of_everything_in_lines(run_pymoshi: Run, tiny: list[str], question: Path) -> None:
    done = run_pymoshi("talk", *tiny, "--input-device", f"file:{question}", "--output-device", "null", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "state_changed"
    assert kinds.index("conversation") < kinds.index("frame_done")
    assert kinds[-1] == "ended"
    told = next(event for event in events if event["type"] == "conversation")
    assert told["model"]["name"] == "tiny-moshi"
    assert isinstance(told["seed"], int)


def test_reader_that_goes_away_ends_the_conversation(tiny: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pymoshi", "talk", *tiny, "--input-device", "null", "--output-device", "null"]
    with subprocess.Popen(
        [*command, "--json", *KEPT], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as talk:
        assert talk.stdout is not None
        assert talk.stderr is not None
        while "frame_done" not in talk.stdout.readline():
            pass
        talk.stdout.close()
        errors = talk.stderr.read()
        talk.wait(60)
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["stats"]["frames"] > 0


# ---- Ctrl-C ------------------------------------------------------------------------------------------------------

SCENE = """
import sys
from pymoshi.cli import app
from pymoshi.cli import talk_live, talk_options
from pymoshi.audio.ports import PortStats
from pymoshi.cli.talk_ports import Ports, Silence
from pymoshi.audio.signals import NullSink
from pymoshi.errors import Cancelled

{setup}

app.main()
"""

SLOW_LOADING = """
import threading
def load(self, progress):
    never = threading.Event()
    fraction = 0.0
    while progress(fraction):
        fraction = min(1.0, fraction + 0.001)
        never.wait(0.02)
    raise Cancelled("loading was stopped")
talk_options.ModelOptions.load = load
"""

SLOW_PRIMING = """
import threading
from pymoshi.model import Model
def session(self, *, progress, **options):
    never = threading.Event()
    fraction = 0.0
    while progress(fraction):
        fraction = min(1.0, fraction + 0.001)
        never.wait(0.02)
    raise Cancelled("priming was stopped")
Model.session = session
"""

LOST_DEVICE = """
class Lost(Silence):
    def read(self, n, timeout):
        self._clock.sleep(timeout)
        return None
    def stats(self):
        return PortStats(lost=True, detail="the microphone was unplugged")
talk_live.open_ports = lambda *names, echo_cancel: Ports(Lost(), NullSink(), "a microphone", "a speaker")
"""

Interrupted = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def interrupt(tiny: list[str], tmp_path: Path) -> Interrupted:
    """Runs `pymoshi talk`, waits for an event that has `until`, sends the signal. Returns code, events, stderr."""

    def run(setup: str, until: str, number: signal.Signals) -> tuple[int, list[dict[str, Any]], str]:
        command = [sys.executable, "-c", SCENE.format(setup=setup), "talk", *tiny, "--json", *KEPT]
        with subprocess.Popen(
            [*command, "--input-device", "null", "--output-device", "null"],
            cwd=tmp_path, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as talk:  # fmt: skip
            assert talk.stdout is not None
            lines: list[str] = []
            while not lines or until not in lines[-1]:
                lines.append(talk.stdout.readline())
                assert lines[-1], talk.communicate(timeout=60)[1]
            talk.send_signal(number)
            rest, errors = talk.communicate(timeout=60)
        return talk.returncode, [json.loads(line) for line in [*lines, *rest.splitlines()]], errors

    return run


@pytest.mark.parametrize(
    ("setup", "until", "number", "code"),
    [
        ("", '"index": 9,', signal.SIGINT, 130),
        ("", '"index": 9,', signal.SIGTERM, 143),
        ("", '"index": 9,', signal.SIGHUP, 129),
        (LOST_DEVICE, '"index": 9,', signal.SIGINT, 130),
    ],
    ids=["Ctrl-C", "terminate", "terminal closed", "Ctrl-C while the device is lost"],
)
def test_signal_ends_the_conversation_with_all_files_complete(
    setup: str, until: str, number: signal.Signals, code: int, interrupt: Interrupted, run_pymoshi: Run,
    moshi_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    returned, events, errors = interrupt(setup, until, number)
    assert returned == code
    assert "Traceback" not in errors
    assert events[-1]["type"] == "ended"
    report = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    frames = report["stats"]["frames"]
    assert frames >= 10
    assert soundfile.info(tmp_path / "r.wav").frames == frames * 1920
    again = run_pymoshi("replay", "t.replay", "--model", moshi_folder, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["frames"] == frames
    assert not list(tmp_path.glob("*.partial"))


def test_lost_device_is_a_state_of_its_own(interrupt: Interrupted) -> None:
    _, events, _ = interrupt(LOST_DEVICE, '"device_lost"', signal.SIGINT)
    assert any(event.get("detail") == "the microphone was unplugged" for event in events)


@pytest.mark.parametrize(
    ("setup", "until"), [(SLOW_LOADING, '"loading", "fraction": 0.0'), (SLOW_PRIMING, '"priming", "fraction": 0.0')]
)
def test_ctrl_c_before_the_conversation_leaves_no_files(
    setup: str, until: str, interrupt: Interrupted, tmp_path: Path
) -> None:
    returned, _, errors = interrupt(setup, until, signal.SIGINT)
    assert returned == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_killed_conversation_leaves_all_but_the_last_second(
    tiny: list[str], run_pymoshi: Run, moshi_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pymoshi", "talk", *tiny, "--json", *KEPT]
    with subprocess.Popen(
        [*command, "--input-device", "null", "--output-device", "null"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as talk:
        assert talk.stdout is not None
        while '"index": 40,' not in talk.stdout.readline():
            pass
        talk.kill()
        talk.stdout.read()
    assert soundfile.read(tmp_path / "r.wav")[0].shape[0] >= 25 * 1920
    again = run_pymoshi("replay", "t.replay", "--model", moshi_folder, "--partial", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["frames"] >= 25


# ---- what cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input-device", "file:nowhere.wav", "--output-device", "null"], "no file nowhere.wav"),
        (["--input-device", "null", "--output-device", "file:a.mp3"], ".wav or .flac"),
        (["--input-device", "file:question.wav", "--output-device", "file:question.wav"], "named twice"),
        (["--input-device", "null", "--output-device", "file:a.wav", "--record", "a.wav"], "named twice"),
        (["--record", "a.mp3"], ".wav or .flac"),
        (["--record", "nowhere/a.wav"], "no folder nowhere"),
        (["--transcript", "a.doc"], ".vtt: that decides"),
        (["--replay", "."], "is a folder"),
        (["--volume", "9"], "volume must be"),
        (["--seed", "-1"], "seed must be"),
        (["--voice", "NATF2"], "leave out --voice"),
        (["--model", "nowhere"], "nowhere"),
        (["--kv-type", "f8"], "f8"),
        (["--push-to-talk"], "needs a terminal"),
        (["-i", "question.wav"], "--output"),
        (["-o", "a.wav"], "--input"),
        (["-i", "question.wav", "-o", "a.wav", "--push-to-talk"], "no --push-to-talk"),
        (["-i", "question.wav", "-o", "a.wav", "--headphones", "--volume", "2"], "no --headphones and no --volume"),
        (["-i", "question.wav", "-o", "a.wav", "--input-device", "3"], "no --input-device"),
    ],
)
def test_live_talk_that_cannot_be_ends_with_2_and_a_reason(
    arguments: list[str], words: str, run_pymoshi: Run, tiny: list[str], question: Path, tmp_path: Path
) -> None:
    model = [] if "--model" in arguments else tiny
    silence = [] if "-i" in arguments or "-o" in arguments or "--input-device" in arguments else [
        "--input-device", "null", "--output-device", "null",
    ]  # fmt: skip
    done = run_pymoshi("talk", *arguments, *model, *silence)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["question.wav"]


def test_machine_without_sound_says_what_to_do(run_pymoshi: Run, tiny: list[str]) -> None:
    done = run_pymoshi("talk", *tiny, "--input-device", "no such device", "--output-device", "null")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "PortAudio" in done.stderr or "microphone" in done.stderr


# ---- between files -----------------------------------------------------------------------------------------------


def test_files_can_be_recorded_and_replayed_too(
    run_pymoshi: Run, tiny: list[str], question: Path, tmp_path: Path, moshi_folder: Path
) -> None:
    done = run_pymoshi(
        "talk", *tiny, "-i", question, "-o", "a.wav", "--record", "r.flac", "--transcript", "t.srt", "--replay", "b"
    )
    assert done.returncode == 0, done.stderr
    heard = soundfile.read(question, dtype="float32")[0]
    assert np.array_equal(soundfile.read(tmp_path / "r.flac", dtype="float32")[0][:, 0], heard)
    assert "-->" in (tmp_path / "t.srt").read_text(encoding="utf-8")
    again = run_pymoshi("replay", "b", "--model", moshi_folder)
    assert again.returncode == 0, again.stderr
    assert "Equal bit by bit" in again.stdout


def test_events_between_files_are_complete(run_pymoshi: Run, tiny: list[str], question: Path) -> None:
    done = run_pymoshi("talk", *tiny, "-i", question, "-o", "a.wav", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["index"] for event in events if event["type"] == "frame_done"] == list(range(25))


def test_replay_of_another_model_or_a_damaged_bundle_ends_with_2(
    run_pymoshi: Run, tiny: list[str], question: Path, tmp_path: Path
) -> None:
    assert run_pymoshi("talk", *tiny, "-i", question, "-o", "a.wav", "--replay", "b").returncode == 0
    other = run_pymoshi("replay", "b", "--model", "demo")
    assert (other.returncode, other.stdout) == (2, "")
    assert "fingerprint" in other.stderr
    unnamed = run_pymoshi("replay", "b")
    assert unnamed.returncode == 2
    assert "--model" in unnamed.stderr
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-40])
    for arguments in (["replay", "b", "--model", tiny[1]], ["replay", "question.wav"], ["replay", "nowhere"]):
        done = run_pymoshi(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr
    assert run_pymoshi("replay", "b", "--model", tiny[1], "--partial").returncode == 0
    assert json.loads(run_pymoshi("replay", "b", "--head").stdout)["model"]["name"] == "tiny-moshi"
