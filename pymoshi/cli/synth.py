"""`pymoshi synth`: models of random weights, for measuring a machine before downloading anything."""

from pathlib import Path
from typing import Annotated

import typer

from pymoshi.cli.console import bar
from pymoshi.cli.convert import say_result
from pymoshi.hub.storage import LM_TYPES, MIMI_TYPES
from pymoshi.hub.synth import SYNTHETIC, synthesize


def synth_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"What to make: {', '.join(SYNTHETIC)}.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write the model to.")],
    quantize: Annotated[str, typer.Option(metavar="TYPE", help=f"{', '.join(LM_TYPES)}.")] = "q4_k",
    mimi: Annotated[str, typer.Option(metavar="TYPE", help=f"Type of the codec: {', '.join(MIMI_TYPES)}.")] = "f16",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal files.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist already.")] = False,
) -> None:
    """Make a model of the published sizes with random weights: it says nothing sensible, as fast as the real one."""
    with bar(f"Making {name}") as show:
        folder = synthesize(
            name,
            out,
            quantize=quantize,
            mimi_type=mimi,
            seed=seed,
            overwrite=force,
            progress=lambda done, total, _: show(done / total),
        )
    say_result(folder)
