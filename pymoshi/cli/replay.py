"""`pymoshi replay`: a conversation runs again, and it is said whether it came out the same."""

import dataclasses
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pymoshi.cli.console import bar, load_model
from pymoshi.cli.output import check_outputs
from pymoshi.dialogue import printable
from pymoshi.errors import ModelNotFoundError, ReplayError
from pymoshi.model import Model
from pymoshi.recording import Recording
from pymoshi.replay import ReplayResult, model_of, read_head, replay
from pymoshi.session import Frame
from pymoshi.transcript import FRAME_SECONDS, clock


def replay_command(
    bundle: Annotated[Path, typer.Argument(help="What `pymoshi talk --replay FILE` wrote.")],
    model: Annotated[
        str | None, typer.Option(help="The model that spoke. (default: the one that the bundle names)")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device to compute on. (default: the bundle's)")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. (default: the bundle's)")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record both sides as they are this time; .wav or .flac.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Also run a bundle that was cut short.")] = False,
    head: Annotated[bool, typer.Option("--head", help="Only show what the bundle says of itself, as JSON.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
) -> None:
    """Run a conversation again, and compare codes, text and sound bit by bit.

    Ends with 0 if all is equal, with 1 if it is not. The same weights on the same kind of device are needed.
    """
    if head:
        typer.echo(json.dumps(read_head(bundle), indent=1))
        return
    check_outputs([bundle], [] if record is None else [record])
    name, its_device, its_threads = model_of(bundle)
    options = {"device": device or its_device, "threads": threads or its_threads}
    with ExitStack() as stack:
        loaded = stack.enter_context(_load(model, name, options))
        recording = None if record is None else stack.enter_context(Recording(record))

        def keep(heard: NDArray[np.float32], frame: Frame) -> None:
            if recording is not None:
                recording.write(heard, frame.audio)

        with bar("Preparing voice and prompt") as show:
            result = replay(bundle, loaded, partial=partial, on_frame=keep, progress=show)
    typer.echo(json.dumps(_as_json(result), indent=1) if as_json else _as_text(result))
    if not result.equal:
        raise typer.Exit(1)


def _load(asked: str | None, name: str, options: dict[str, Any]) -> Model:
    try:
        return load_model(asked or name, **options)
    except ModelNotFoundError as error:
        if asked is not None:
            raise
        raise ReplayError(f"The model that spoke was called {name!r}. Say where it is with --model. {error}") from error


def _as_json(result: ReplayResult) -> dict[str, Any]:
    return {"equal": result.equal, **dataclasses.asdict(result)}


def _as_text(result: ReplayResult) -> str:
    lines = [
        f"{clock(result.frames * FRAME_SECONDS)} of conversation, {result.frames} frames; it ended: {result.reason}"
    ]
    lines += [f"Not the same as then: {note}" for note in result.notes]
    if result.text.strip():
        lines.append(f"It said: {printable(result.text).strip()}")
    if result.equal:
        lines.append("Equal bit by bit: what was heard as codes, text, codes, sound.")
    else:
        kinds = ", ".join(f"{kind.replace('_', ' ')} in {n}" for kind, n in result.differing.items() if n)
        lines.append(f"NOT equal, from frame {result.first_difference} on; frames that differ: {kinds}.")
    return _printable(lines)


def _printable(lines: list[str]) -> str:
    """A bundle may say anything; a terminal must not obey it."""
    return "\n".join(printable(line) for line in lines)
