"""What `pymoshi bench` measured, on the terminal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pymoshi import bench
from pymoshi.bench import Result
from pymoshi.bench.measure import Step
from pymoshi.cli.console import offer, stderr
from pymoshi.cli.output import check_outputs, write_json
from pymoshi.cli.stopper import Stopper
from pymoshi.cli.table import WIDE, print_table
from pymoshi.errors import Cancelled, InputError

_LABEL = 9  # columns
_STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure, and where the result goes."""

    model: str | None
    synthetic: str | None
    quantize: str
    mimi_type: str
    json: str | None
    compare: Path | None

    def check(self) -> None:
        """Raises InputError."""
        if self.model is not None and self.synthetic is not None:
            raise InputError("--model and --synthetic: expected one of them, not both.")
        if self.json not in (None, _STDOUT):
            check_outputs([], [Path(self.json)])


def run(request: Request, **options: Any) -> None:
    """Measures and prints. A signal ends it within a second, and nothing is left behind."""
    request.check()
    wanted = bench.Options(**options)
    wanted.check()
    before = bench.read(request.compare) if request.compare else None  # before the work
    if request.synthetic is None:
        offer(request.model or "demo")
    with Stopper() as stopper:
        result = _measure(request, wanted, stopper)
    if request.json == _STDOUT:
        typer.echo(json.dumps(result.as_dict(), indent=1, ensure_ascii=False))
        return
    if request.json is not None:
        write_json(Path(request.json), result.as_dict())
    _print(result)
    if before is not None:
        _print_comparison(before, result)


def _measure(request: Request, options: bench.Options, stopper: Stopper) -> Result:
    with _progress() as show:

        def step(what: str, fraction: float | None) -> None:
            if stopper.requested:
                raise Cancelled("The measurement was stopped.")
            show(what, fraction)

        if request.synthetic is None:
            return bench.measure(request.model or "demo", options, step=step)
        making = f"making {request.synthetic}"
        with bench.synthetic_model(
            request.synthetic, quantize=request.quantize, mimi_type=request.mimi_type,
            progress=lambda fraction: step(making, fraction),
        ) as folder:  # fmt: skip
            return bench.measure(folder, options, step=step)


@contextmanager
def _progress() -> Iterator[Step]:
    """What is being done, with a bar where it is known how much of it is, if stderr is a terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task("", total=None)
        shown = ""

        def step(what: str, fraction: float | None) -> None:
            nonlocal shown
            if what != shown:
                shown = what
                progress.reset(task, description=what.capitalize())
            progress.update(task, completed=fraction or 0.0, total=None if fraction is None else 1.0)

        yield step


def _print(result: Result) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=WIDE, highlight=False)

    def line(label: str, text: str) -> None:
        console.print(Text(f"{label:<{_LABEL}}", style="bold"), Text(text), sep="")

    for label, text in _setting(result):
        line(label, text)
    console.print()
    print_table(
        ("stage", "p50 ms", "p95 ms", "max ms", "MB read", "of it KV", "bound ms", "of the bound"),
        [
            (
                name,
                *(f"{ms:.2f}" for ms in (stage.p50_ms, stage.p95_ms, stage.max_ms)),
                f"{stage.n_bytes / 1e6:.1f}",
                f"{stage.kv_bytes / 1e6:.1f}",
                f"{stage.bound_ms:.2f}",
                f"{100 * stage.of_bound:.0f} %",
            )
            for name, stage in result.stages.items()
        ],
        right=("p50 ms", "p95 ms", "max ms", "MB read", "of it KV", "bound ms", "of the bound"),
    )
    console.print()
    for label, text in _findings(result):
        line(label, text)


def _setting(result: Result) -> Iterator[tuple[str, str]]:
    """What was measured, where and how; labels and texts."""
    model, settings, machine, software = result.model, result.settings, result.machine, result.software
    yield "model", f"{model.name} ({model.model_type}, {model.weight_type}, {model.weight_bytes / 1e6:,.0f} MB)"
    threads = f", {settings.threads} {'thread' if settings.threads == 1 else 'threads'}"
    yield "device", f"{settings.device}{threads if settings.device == 'cpu' else f': {machine.device}'}"
    past = f" after {settings.fill}; {settings.kv_type} memory of {settings.context}" if settings.context else ""
    yield "frames", f"{settings.frames}{past}"
    yield "machine", f"{machine.processor}, {machine.memory_bytes / 1e9:.0f} GB, {machine.system}"
    features = " ".join(software.cpu_features) or "no extensions"
    backends = ", ".join(software.backends)
    yield "pymoshi", f"{software.pymoshi}, ggml {software.ggml} for {backends}; the CPU with {features}"


def _findings(result: Result) -> Iterator[tuple[str, str]]:
    """What there is besides the stages."""
    load, memory, reading = result.load, result.memory, result.reading
    yield "speed", f"{result.frames_per_second:.1f} frames a second: {result.real_time_factor:.2f} times real time"
    rate, operation = reading.bytes_per_second / 1e9, 1e6 * reading.op_seconds
    yield "bound", f"{rate:.1f} GB a second, measured with {reading.kind} weights; {operation:.1f} us an operation"
    disk = "" if load.from_disk_bytes is None else f" ({load.from_disk_bytes / 1e6:,.0f} MB of it from the disk)"
    yield "load", f"{load.first:.2f} s{disk}, warm {load.warm:.2f} s"
    sizes = (("resident", memory.resident), ("at the peak", memory.peak), ("of the GPU", memory.device))
    known = [f"{n_bytes / 1e6:,.0f} MB {what}" for what, n_bytes in sizes if n_bytes is not None]
    yield "memory", ", ".join(known) or "unknown on this system"
    for note in result.notes:
        yield "note", note


def _print_comparison(before: Result, now: Result) -> None:
    typer.echo("")
    print_table(
        ("", f"of {before.date[:10]}", "now", "", "now / then"),
        [
            (row.what, _number(row.before), _number(row.now), row.unit, _number(row.ratio))
            for row in bench.rows(before, now)
        ],
        right=(f"of {before.date[:10]}", "now", "now / then"),
    )
    typer.echo("")
    found = bench.differences(before, now)
    typer.echo("\n".join(["Not the same:", *(f"  {text}" for text in found)] if found else ["All else is the same."]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
