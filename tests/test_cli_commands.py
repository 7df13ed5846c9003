"""The command line, as people run it: results on stdout, code 2 and one clear line for what cannot be done."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def recording(speech: NDArray[np.float32], tmp_path: Path) -> Path:
    """2 s and a bit, stereo, 48 kHz."""
    path = tmp_path / "question.flac"
    soundfile.write(path, np.repeat(speech[:50000], 2)[:, None].repeat(2, axis=1), 48000)
    return path


def talk(run_pymoshi: Run, model: Path, *arguments: str | Path, device: str = "cpu") -> dict[str, object]:
    done = run_pymoshi(
        "talk", "--model", model, "--device", device, "--threads", "1", "--transcript", "out.json", *arguments
    )
    assert done.returncode == 0, done.stderr
    return {"stdout": done.stdout, "stderr": done.stderr}


def letters(text: str) -> str:
    """What is left where lines may break and control characters may be hidden."""
    return "".join(letter for letter in text if letter.isprintable() and not letter.isspace())


def test_version(run_pymoshi: Run) -> None:
    done = run_pymoshi("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("pymoshi 0.")


def test_help_names_the_commands(run_pymoshi: Run) -> None:
    done = run_pymoshi("--help")
    assert done.returncode == 0
    for command in ("talk", "mimi", "info", "devices"):
        assert command in done.stdout


def test_reply_has_exactly_the_inputs_length(
    run_pymoshi: Run, moshi_folder: Path, recording: Path, tmp_path: Path, device: str
) -> None:
    talk(run_pymoshi, moshi_folder, "--input", recording, "--output", "reply.wav", device=device)
    info = soundfile.info(tmp_path / "reply.wav")
    assert (info.samplerate, info.channels, info.frames) == (24000, 1, 50000)


def test_transcript_repeats_the_conversation(
    run_pymoshi: Run, moshi_folder: Path, recording: Path, tmp_path: Path, device: str
) -> None:
    talk(run_pymoshi, moshi_folder, "-i", recording, "-o", "one.wav", "--temperature", "0.9", device=device)
    first = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    talk(
        run_pymoshi, moshi_folder, "-i", recording, "-o", "two.wav",
        "--temperature", str(first["settings"]["temperature"]), "--seed", str(first["seed"]), device=device,
    )  # fmt: skip
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    second = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert first["tokens"] == second["tokens"]


def test_transcript_says_what_was_asked_and_what_was_said(
    run_pymoshi: Run, moshi_folder: Path, recording: Path, tmp_path: Path, device: str
) -> None:
    done = talk(
        run_pymoshi, moshi_folder, "-i", recording, "-o", "a.flac", "--seed", "11", "--temperature", "0.5",
        "--text-temperature", "0", "--top-k", "10", "--text-top-k", "5", "--context", "16",
        device=device,
    )  # fmt: skip
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert report["seed"] == 11
    settings = report["settings"]
    assert (settings["temperature"], settings["top_k"]) == (0.5, 10)
    assert (settings["text_temperature"], settings["text_top_k"], settings["context"]) == (0, 5, 16)
    assert settings["threads"] == 1
    assert report["complete"] is True
    assert len(report["tokens"]) == len(report["frames"]) == report["stats"]["frames"] == 27
    assert report["stats"]["realtime_factor"] > 0
    assert report["stats"]["lm_ms"]["max"] >= report["stats"]["lm_ms"]["mean"] > 0
    assert letters("".join(word["text"] for word in report["words"])) == letters(report["text"])
    spoken = "".join(line.split("] ", 1)[1] for line in str(done["stdout"]).splitlines())
    assert spoken.replace(" ", "") == "".join(
        letter for letter in report["text"] if letter.isprintable() and letter != " "
    )


def test_terminal_gets_text_on_stdout_and_the_rest_on_stderr(
    run_pymoshi: Run, moshi_folder: Path, recording: Path, device: str
) -> None:
    done = talk(run_pymoshi, moshi_folder, "-i", recording, "-o", "a.wav", device=device)
    assert all(line.startswith("[00:") for line in str(done["stdout"]).splitlines())
    assert "x real time" in str(done["stderr"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "nowhere.wav", "-o", "a.wav"], "no file nowhere.wav"),
        (["-i", ".", "-o", "a.wav"], "folder"),
        (["-i", "question.flac", "-o", "a.mp3"], ".wav or .flac"),
        (["-i", "question.flac", "-o", "question.flac"], "named twice"),
        (["-i", "question.flac", "-o", "./question.flac"], "named twice"),
        (["-i", "question.flac", "-o", "a.wav", "--transcript", "a.wav"], "named twice"),
        (["-i", "question.flac", "-o", "nowhere/a.wav"], "no folder nowhere"),
        (["-i", "question.flac", "-o", "a.wav", "--transcript", "nowhere/a.json"], "no folder nowhere"),
        (["-i", "question.flac", "-o", "a.wav", "--seed", "-1"], "seed must be"),
        (["-i", "question.flac", "-o", "a.wav", "--seed", "many"], "--seed"),
        (["-i", "question.flac", "-o", "a.wav", "--temperature", "nan"], "temperature must be"),
        (["-i", "question.flac", "-o", "a.wav", "--text-temperature", "-3"], "text_temperature must be"),
        (["-i", "question.flac", "-o", "a.wav", "--top-k", "-1"], "top_k must be"),
        (["-i", "question.flac", "-o", "a.wav", "--context", "0"], "context must be"),
        (["-i", "question.flac", "-o", "a.wav", "--threads", "0"], "threads must be"),
        (["-i", "question.flac", "-o", "a.wav", "--device", "abacus"], "abacus"),
        (["-i", "question.flac", "-o", "a.wav", "--kv-type", "f8"], "f8"),
        (["-i", "question.flac", "-o", "a.wav", "--model", "nowhere"], "nowhere"),
        (["-i", "question.flac"], "--output"),
        (["-o", "a.wav"], "--input"),
    ],
)
def test_talk_that_cannot_be_ends_with_2_and_a_reason(
    arguments: list[str], words: str, run_pymoshi: Run, moshi_folder: Path, recording: Path, tmp_path: Path
) -> None:
    assert recording.parent == tmp_path
    before = recording.read_bytes()
    model = [] if "--model" in arguments else ["--model", str(moshi_folder)]
    done = run_pymoshi("talk", *arguments, *model)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert recording.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["question.flac"]


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_codes_go_to_a_file_and_back(
    suffix: str, run_pymoshi: Run, moshi_folder: Path, recording: Path, tmp_path: Path, device: str
) -> None:
    target = f"codes{suffix}"
    options = ("--model", moshi_folder, "--device", device, "--threads", "1")
    assert run_pymoshi("mimi", "encode", recording, target, "--codebooks", "8", *options).returncode == 0
    stored = np.load(tmp_path / target)
    codes = stored["codes"] if suffix == ".npz" else stored
    assert codes.shape == (8, 27)
    assert run_pymoshi("mimi", "decode", target, "back.wav", *options).returncode == 0
    assert soundfile.info(tmp_path / "back.wav").frames == (50000 if suffix == ".npz" else 27 * 1920)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00{'descr': 'x'}", b"[1, 2, 3]"])
def test_file_that_holds_no_codes_is_refused(
    content: bytes, run_pymoshi: Run, moshi_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "codes.npz").write_bytes(content)
    done = run_pymoshi("mimi", "decode", "codes.npz", "a.wav", "--model", moshi_folder)
    assert done.returncode == 2
    assert "codes.npz" in done.stderr
    assert "Traceback" not in done.stderr


def test_pickled_codes_are_not_executed(run_pymoshi: Run, moshi_folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.array([{"not": "codes"}], dtype=object), allow_pickle=True)
    done = run_pymoshi("mimi", "decode", "codes.npy", "a.wav", "--model", moshi_folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_info_lists_what_a_gguf_file_holds(run_pymoshi: Run, moshi_folder: Path) -> None:
    done = run_pymoshi("info", moshi_folder / "model-f32.gguf")
    assert done.returncode == 0
    assert "moshi.dim = 64" in done.stdout
    assert "lm.transformer.layers.2.gating.linear_in.weight" in done.stdout
    assert "352x64" in done.stdout
    assert "f32" in done.stdout


def test_info_as_json_adds_up(run_pymoshi: Run, moshi_folder: Path, fixtures: Path) -> None:
    for path in (moshi_folder / "model-f32.gguf", fixtures / "mimi" / "mimi.safetensors"):
        report = json.loads(run_pymoshi("info", path, "--json").stdout)
        assert report["size"] == path.stat().st_size
        assert report["totals"]["all"]["tensors"] == len(report["tensors"])
        assert report["totals"]["all"]["bytes"] == sum(tensor["bytes"] for tensor in report["tensors"])


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"hello"])
def test_info_of_something_else_is_an_error(content: bytes, run_pymoshi: Run, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    done = run_pymoshi("info", "model.gguf")
    assert done.returncode == 2
    assert "model.gguf" in done.stderr
    assert "Traceback" not in done.stderr


def test_devices_as_json(run_pymoshi: Run) -> None:
    devices = json.loads(run_pymoshi("devices", "--json").stdout)
    assert "cpu" in [device["name"] for device in devices]
    assert run_pymoshi("devices").stdout.count("\n") == len(devices)
