"""What `pymoshi doctor` found, on the terminal."""

import json
from typing import Protocol

import typer
from rich.console import Console
from rich.text import Text

from pymoshi.cli.console import stderr
from pymoshi.cli.table import WIDE, print_table
from pymoshi.doctor import Prediction, Report, Verdict, examine
from pymoshi.doctor.prediction import KV
from pymoshi.hub.download import human_size

_LABEL = 12  # columns


class Line(Protocol):
    """Prints a label and what belongs to it."""

    def __call__(self, label: str, text: str, style: str = "") -> None: ...


def run(device: str, threads: int | None, quick: bool, network: bool, sound: bool, as_json: bool) -> int:
    """Examines, prints, and returns the exit status."""
    try:
        report = _examine(device, threads, quick, network, sound)
    except KeyboardInterrupt:
        return 130
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        _print(report)
    return 0 if report.can_converse else 1


def _examine(device: str, threads: int | None, quick: bool, network: bool, sound: bool) -> Report:
    if not stderr.is_terminal:
        return examine(device, threads=threads, quick=quick, network=network, sound=sound)
    with stderr.status("Looking around") as status:
        return examine(
            device, threads=threads, quick=quick, network=network, sound=sound,
            step=lambda what: status.update(f"Looking at {what}"),
        )  # fmt: skip


def _print(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=WIDE, highlight=False)

    def line(label: str, text: str, style: str = "") -> None:
        console.print(Text(f"{label:<{_LABEL}}", style="bold"), Text(text, style=style), sep="")

    build = report.build
    line("pymoshi", f"{build.version}, engine {build.engine}, ggml {build.ggml}, Python {build.python}, {build.system}")
    variant = f" as {build.cpu_variant}, the best fit of those installed," if build.cpu_variant else ""
    features = " ".join(build.cpu_features) or "no extensions"
    line("built for", f"{', '.join(build.backends)}; the CPU{variant} with {features}")
    for index, found in enumerate(report.devices):
        memory = (
            f", {human_size(found.memory_free)} of {human_size(found.memory_total)} free" if found.memory_total else ""
        )
        line("devices" if index == 0 else "", f"{found.name}: {found.description}{memory}")
    _print_speed(report, line)
    _print_surroundings(report, line)
    console.print()
    print_table(
        ("model", "memory", "download", "ms a frame", "when full", "frames a second", "here"),
        [_row(found) for found in report.predictions if found.verdict is not Verdict.UNSUPPORTED],
        right=("memory", "download", "ms a frame", "when full", "frames a second"),
    )
    console.print(
        Text("A frame is 80 ms; 12.5 frames a second are real time. When full: the conversation's memory is.", "dim")
    )
    if others := dict.fromkeys(found.model for found in report.predictions if found.verdict is Verdict.UNSUPPORTED):
        console.print(Text(f"This version does not compute {', '.join(others)}.", "dim"))
    console.print()
    for note in report.notes:
        line("note", note)
    for problem in report.problems:
        line("problem", problem, "red")
    line("take", advice(report), "green" if report.can_converse else "")


def _print_speed(report: Report, line: Line) -> None:
    measured = report.measured
    rates = ", ".join(f"{kind} {found.median / 1e9:.1f}" for kind, found in measured.bandwidth.items() if kind != KV)
    why = f" ({measured.reason})" if measured.reason else ""
    threads = f" on {measured.threads} threads" if measured.device == "cpu" and measured.threads > 1 else ""
    line("measured", f"{measured.device}{why}{threads}: {rates} GB of weights a second")
    if KV in measured.bandwidth:
        line("", f"attention: {measured.bandwidth[KV].median / 1e9:.1f} GB of keys and values a second")
    codec = measured.codec
    line("codec", f"{codec.encode_ms:.1f} + {codec.decode_ms:.1f} ms a frame, {codec.how}")


def _print_surroundings(report: Report, line: Line) -> None:
    sound = report.sound
    line("microphone", sound.microphone or "none")
    line("speaker", sound.speaker or "none")
    if sound.loop:
        level = f"; recorded at {sound.microphone_db:.0f} dB" if sound.microphone_db is not None else ""
        line("sound", sound.loop + level)
    for index, folder in enumerate(report.folders):
        line("disk" if index == 0 else "", f"{human_size(folder.free)} free for {folder.what}: {folder.path}")
    net = report.network
    state = "offline (HF_HUB_OFFLINE)" if net.offline else net.endpoint
    tried = {None: "not asked (--network does)", True: "reachable", False: "not reachable"}[net.reachable]
    line("hub", f"{state}, {tried}; {'a token' if net.token else 'no token'} for gated models")


def _row(found: Prediction) -> tuple[str, ...]:
    here = str(found.verdict)
    if found.verdict is Verdict.AT_FIRST:
        here = f"real time for {found.real_time_seconds:.0f} s, or with --context {found.context}"
    if not found.converses:
        here += " (listens only)"
    return (
        found.spec,
        human_size(found.memory),
        human_size(found.download),
        f"{found.first_ms:.1f}",
        f"{found.full_ms:.1f}",
        f"{found.frames_per_second:.1f}",
        here,
    )


def advice(report: Report) -> str:
    """What to do next."""
    choice = report.choice
    if choice is None or choice.verdict not in (Verdict.REAL_TIME, Verdict.AT_FIRST):
        slow = ""
        if choice is not None:
            slow = (
                f" {choice.spec} works on recordings, at {choice.frames_per_second / 12.5:.2f} times real time: "
                f"pymoshi talk --model {choice.model} --input FILE --output FILE"
            )
        return f"pymoshi demo, which runs anywhere.{slow}"
    context = f" --context {choice.context}" if choice.verdict is Verdict.AT_FIRST else ""
    return f"pymoshi pull {choice.spec} && pymoshi talk --model {choice.spec}{context}"
