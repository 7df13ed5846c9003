"""`pymoshi bench` on the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pymoshi import Cancelled, _native, bench
from pymoshi.bench import synthetic
from pymoshi.bench.synthetic import _MEMORY_FOLDER
from pymoshi.cli.app import app
from pymoshi.cli.bench_report import Request, _measure
from pymoshi.cli.stopper import Stopper
from pymoshi.hub.synth import synthesize

Run = Callable[..., subprocess.CompletedProcess[str]]

QUICK = ("--device", "cpu", "--threads", "1", "--frames", "4")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic model, 4 MB."""
    return synthesize("tiny", tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs `pymoshi bench` in this process, where the memory's speed is measured with as little as can be."""
    real = _native.bandwidth

    def quick(device: str, kind: str, *, threads: int, n_bytes: int, seconds: float) -> _native.Bandwidth:
        return real(device, kind, threads=threads, n_bytes=min(n_bytes, 1), seconds=min(seconds, 0.01))

    monkeypatch.setattr(_native, "bandwidth", quick)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Result:
        done = CliRunner().invoke(app, ["bench", *QUICK, *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done

    return run


def test_bench_prints_each_stage_and_what_it_was_measured_with(run_pymoshi: Run) -> None:
    done = run_pymoshi("bench", *QUICK, "--fill", "20")
    assert done.returncode == 0, done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    for stage in ("encode", "lm", "decode", "frame"):
        p50, p95, most, read = map(float, table[stage][:4])
        assert 0 < p50 <= p95 <= most
        assert read > 0
    for label, words in {
        "model": "demo", "device": "cpu, 1 thread", "frames": "4 after 20", "machine": "GB", "pymoshi": "ggml",
        "speed": "times real time", "bound": "q8_0 weights", "load": "warm", "memory": "MB",
    }.items():  # fmt: skip
        assert words in " ".join(table[label])


def test_synthetic_models_are_measured_without_a_trace(run_here: Callable[..., Result], tmp_path: Path) -> None:
    done = run_here("--synthetic", "tiny", "--quantize", "q8_0", "--json", "-")
    found = json.loads(done.stdout)
    assert (found["model"]["name"], found["model"]["weight_type"]) == ("synthetic tiny", "q8_0")
    assert found["settings"]["frames"] == 4
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_compared_with_an_earlier_one(run_here: Callable[..., Result], tiny: Path, tmp_path: Path) -> None:
    first = run_here("--model", tiny, "--json", "first.json")
    assert "Not the same" not in first.stdout
    assert json.loads((tmp_path / "first.json").read_text(encoding="utf-8"))["stages"]["lm"]["p50_ms"] > 0
    same = run_here("--model", tiny, "--compare", "first.json", "--json", "first.json")
    assert "All else is the same." in same.stdout
    other = run_here("--fill", "3", "--compare", "first.json")
    assert "model: name was synthetic tiny, is demo" in other.stdout
    assert "setting: fill was 0, is 3" in other.stdout
    rows = {line.split("  ")[0]: line.split() for line in other.stdout.splitlines()}
    assert float(rows["frame p50"][-1]) > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "demo", "--synthetic", "tiny"], "not both"),
        (["--synthetic", "gpt"], "personaplex-7b"),
        (["--synthetic", "tiny", "--quantize", "q2"], "q4_k"),
        (["--synthetic", "tiny", "--mimi", "q8_0"], "mimi_type"),
        (["--model", "nowhere"], "nowhere"),
        (["--device", "abacus"], "abacus"),
        (["--kv-type", "f8"], "kv_type must be"),
        (["--context", "0"], "context must be"),
        (["--frames", "0"], "--frames"),
        (["--fill", "-1"], "--fill"),
        (["--json", "nowhere/a.json"], "no folder nowhere"),
        (["--json", "."], "folder"),
        (["--compare", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--compare", "foreign.json"], "foreign.json: is no result"),
    ],
)
def test_bench_that_cannot_be_ends_with_2_and_a_reason(
    arguments: list[str], words: str, run_pymoshi: Run, tmp_path: Path
) -> None:
    (tmp_path / "foreign.json").write_text('{"version": 1}', encoding="utf-8")
    done = run_pymoshi("bench", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.json"]


def test_whoever_asks_to_stop_is_heard_by_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_MEMORY_FOLDER", tmp_path)
    stopper = Stopper()
    stopper.stop()
    with pytest.raises(Cancelled):
        _measure(Request(None, "tiny", "q4_k", "f16", None, None), bench.Options("cpu", 1), stopper)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_bench_leaves_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    def left() -> set[Path]:
        return {path for place in (tmp_path, _MEMORY_FOLDER) for path in place.glob("pymoshi-bench-*")}

    before = left()
    with subprocess.Popen(
        [
            sys.executable, "-m", "pymoshi", "-v", "bench", "--synthetic", "tiny", "--device", "cpu", "--threads", "1",
            "--frames", "1000000", "--json", "result.json",
        ],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        assert any("loaded" in line for line in running.stderr)  # the first of the two times
        assert any("loaded" in line for line in running.stderr)
        running.send_signal(number)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    assert stdout == ""
    assert "Traceback" not in stderr
    assert left() <= before
    assert not (tmp_path / "result.json").exists()
