"""`pymoshi talk`: a conversation between files."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn

import pymoshi
from pymoshi.audio import files
from pymoshi.cli.console import bar, load_model, say, stderr
from pymoshi.cli.output import check_outputs, write_json
from pymoshi.cli.role import PersonaOption, PromptFileOption, PromptOption, Role, RoleOptions, VoiceOption
from pymoshi.session import Frame, KvType, Session
from pymoshi.transcript import Lines, Transcript, clock


def talk_command(
    source: Annotated[Path, typer.Option("--input", "-i", help="What the model hears: WAV, FLAC, OGG, MP3, any rate.")],
    target: Annotated[Path, typer.Option("--output", "-o", help="What it says, as long as the input: .wav or .flac.")],
    transcript: Annotated[Path | None, typer.Option(help="Write words, times and statistics as JSON.")] = None,
    output_text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a JSON list with one piece of text a frame, as NVIDIA's script does."),
    ] = None,
    model: Annotated[str, typer.Option(help="Model: a name, a folder or a .gguf file.")] = "demo",
    voice: VoiceOption = None,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
    persona: PersonaOption = None,
    mimi: Annotated[Path | None, typer.Option(help="Codec to use instead of the one beside the model.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Tokenizer to use instead of the one beside the model.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a conversation. (default: drawn, and reported)")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the voice; 0 is greedy. (default: the model's)")] = None,
    text_temperature: Annotated[float | None, typer.Option(help="Of the text. (default: the model's)")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of the voice; 0 is all. (default: the model's)")] = None,
    text_top_k: Annotated[int | None, typer.Option(help="Of the text. (default: the model's)")] = None,
    context: Annotated[int | None, typer.Option(help="Memory, in frames of 80 ms. (default: the model's)")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. (default: physical cores)")] = None,
    device: Annotated[str, typer.Option(help='Device to compute on, see "pymoshi devices".')] = "auto",
    kv_type: Annotated[str, typer.Option(help="How the memory is stored: f16, f32, bf16 or q8_0.")] = "f16",
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Keep voice and prompt ready for the next time; see pymoshi cache."),
    ] = True,
) -> None:
    """Let the model listen to a recording and record what it says.

    The text appears on stdout as it is said, with its time. Ctrl-C completes the files with what there is.
    """
    asked = RoleOptions(voice, prompt, prompt_file, persona)
    asked.check()
    check_outputs([source], [path for path in (target, transcript, output_text) if path is not None])
    files.check_writable(target)
    heard = files.read(source)
    options: dict[str, Any] = {
        "seed": seed,
        "temperature": temperature,
        "text_temperature": text_temperature,
        "top_k": top_k,
        "text_top_k": text_top_k,
        "context": context,
        "kv_type": _kv_type(kv_type),
        "cache": cache,
    }
    started = time.perf_counter()
    with load_model(model, device=device, threads=threads, mimi=mimi, tokenizer=tokenizer) as loaded:
        stats = Stats(load_seconds=time.perf_counter() - started)
        role = asked.choose(loaded)
        _tell_of_missing_text(loaded, output_text)
        with _start(loaded, role, options, stats) as session:
            said = Transcript(loaded.tokenizer)
            try:
                _converse(session, heard, target, said, stats)
            finally:  # also on Ctrl-C: what was said so far is worth keeping
                if transcript is not None:
                    write_json(transcript, _report(session, role, source, target, said, stats))
                if output_text is not None:
                    write_json(output_text, said.frame_pieces)
            say(f"{target}: {clock(heard.size / files.SAMPLE_RATE)} of reply, seed {session.seed}, {stats.speed}")


def _tell_of_missing_text(model: pymoshi.Model, output_text: Path | None) -> None:
    if model.tokenizer is not None:
        return
    reason = model.files.missing.get("tokenizer", "no tokenizer")
    if output_text is not None:
        raise pymoshi.InputError(f"--output-text needs the model's tokenizer: {reason}.")
    say(f"It will speak, but its text is not shown: {reason}.")


def _start(model: pymoshi.Model, role: Role, options: dict[str, Any], stats: "Stats") -> Session:
    """A session, told its voice and its prompt behind a progress bar."""
    started = time.perf_counter()
    with bar("Preparing voice and prompt") as show:
        session = model.session(voice=role.voice, prompt=role.prompt, progress=show, **options)
    stats.start_seconds = time.perf_counter() - started
    return session


def _kv_type(name: str) -> KvType:
    match name:
        case "f16" | "f32" | "bf16" | "q8_0":
            return name
    raise pymoshi.InputError(f"--kv-type must be f16, f32, bf16 or q8_0, not {name!r}.")


@dataclass
class Stats:
    """How fast it went."""

    load_seconds: float
    start_seconds: float = 0.0
    """Of voice and prompt, mostly."""
    wall_seconds: float = 0.0
    complete: bool = False
    encode_ms: list[float] = field(default_factory=list)
    lm_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        self.encode_ms.append(frame.encode_ms)
        self.lm_ms.append(frame.lm_ms)
        self.decode_ms.append(frame.decode_ms)

    @property
    def audio_seconds(self) -> float:
        return len(self.lm_ms) * 0.08

    @property
    def speed(self) -> str:
        """Seconds of conversation per second."""
        return f"{self.audio_seconds / max(self.wall_seconds, 1e-9):.2f}x real time"

    def as_json(self) -> dict[str, Any]:
        spans = {"encode_ms": self.encode_ms, "lm_ms": self.lm_ms, "decode_ms": self.decode_ms}
        return {
            "frames": len(self.lm_ms),
            "audio_seconds": round(self.audio_seconds, 2),
            "wall_seconds": round(self.wall_seconds, 3),
            "load_seconds": round(self.load_seconds, 3),
            "start_seconds": round(self.start_seconds, 3),
            "realtime_factor": round(self.audio_seconds / max(self.wall_seconds, 1e-9), 3),
            **{
                name: {"mean": round(fmean(span), 3), "max": round(max(span), 3)}
                for name, span in spans.items()
                if span
            },
        }


def _converse(session: Session, heard: NDArray[np.float32], target: Path, transcript: Transcript, stats: Stats) -> None:
    """Frame by frame: the reply goes to the file, its text to stdout and the transcript."""
    lines = Lines()
    started = time.perf_counter()
    with files.AudioWriter(target) as writer, _progress(heard.size) as show:
        try:
            for frame in session.run(_frames(heard, session.model.frame_size)):
                writer.write(frame.audio[: heard.size - writer.samples_written])
                transcript.add(frame)
                stats.add(frame)
                stats.wall_seconds = time.perf_counter() - started
                _print(lines.add(frame.index * 0.08, frame.text))
                show(writer.samples_written, stats.speed, lines.current)
            stats.complete = True
        finally:
            _print(lines.flush())


def _frames(pcm: NDArray[np.float32], frame_size: int) -> Iterator[NDArray[np.float32]]:
    """Whole frames, the last one filled up with silence."""
    for start in range(0, pcm.size, frame_size):
        frame = pcm[start : start + frame_size]
        yield frame if frame.size == frame_size else np.pad(frame, (0, frame_size - frame.size))


def _print(line: str | None) -> None:
    if line is not None:
        print(line, flush=True)


@contextmanager
def _progress(n_samples: int) -> Iterator[Any]:
    """A bar with the time, the speed and the line that is being said, if stderr is a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[line]}", markup=False),
    )
    with Progress(
        *columns,
        console=stderr,
        transient=True,
        disable=not stderr.is_terminal,
        redirect_stderr=False,
        # Lines of text scroll above the bar where both are on one screen; elsewhere stdout must stay stdout.
        redirect_stdout=_shares_the_screen(),
    ) as progress:
        task = progress.add_task("", total=n_samples, line="")

        def show(done: int, speed: str, line: str) -> None:
            progress.update(task, completed=done, description=f"{clock(done / files.SAMPLE_RATE)} {speed}", line=line)

        yield show


def _shares_the_screen() -> bool:
    return sys.stdout.isatty() and stderr.is_terminal


def _report(
    session: Session, role: Role, source: Path, target: Path, transcript: Transcript, stats: Stats
) -> dict[str, Any]:
    info = session.model.info
    return {
        "format": "pymoshi-transcript-1",
        "pymoshi": pymoshi.__version__,
        "model": {
            "name": session.model.name,
            "type": info.model_type,
            "weights": info.weight_type,
            "fingerprint": f"{info.fingerprint:016x}",
        },
        "input": str(source),
        "output": str(target),
        "seed": session.seed,
        "settings": {
            "voice": role.voice_name,
            "prompt": role.prompt or "",
            **session.sampling,
            "context": session.context,
            "device": info.device,
            "threads": info.n_threads,
        },
        "complete": stats.complete,
        **transcript.as_json(),
        "stats": stats.as_json(),
    }
