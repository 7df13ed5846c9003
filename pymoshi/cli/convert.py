"""`pymoshi convert`: published checkpoints into GGUF files."""

from pathlib import Path
from typing import Annotated

import typer

from pymoshi.cli.console import bar, say
from pymoshi.hub.convert import convert
from pymoshi.hub.storage import LM_TYPES, MIMI_TYPES


def convert_command(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with safetensors files, or one of them.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write the model to.")],
    quantize: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help=f"{', '.join(LM_TYPES)}; without it, as in the checkpoint."),
    ] = None,
    mimi: Annotated[str, typer.Option(metavar="TYPE", help=f"Type of the codec: {', '.join(MIMI_TYPES)}.")] = "f16",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; without it, one for each physical core.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist already.")] = False,
) -> None:
    """Convert a checkpoint of Moshi, PersonaPlex or Mimi (safetensors) to GGUF, quantised if asked.

    PersonaPlex 7B takes 17 GB as published, 9 GB in eight bits (q8_0) and 5 GB in four (q4_k).
    """
    with bar(f"Converting {src.name or src}") as show:
        folder = convert(
            src,
            out,
            quantize=quantize,
            mimi_type=mimi,
            threads=threads,
            overwrite=force,
            progress=lambda done, total, _: show(done / total),
        )
    say_result(folder)


def say_result(folder: Path) -> None:
    """What is in a folder now, and how to use it."""
    for path in sorted(folder.glob("*.gguf")):
        say(f"{path}: {path.stat().st_size / 1e6:,.0f} MB")
