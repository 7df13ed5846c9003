"""`pymoshi bench`: how fast a model runs here, against what the machine's memory allows."""

from pathlib import Path
from typing import Annotated

import typer


def bench_command(
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help="As for `pymoshi talk`; the demo by default.")
    ] = None,
    synthetic: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure a model of the published sizes with random weights: personaplex-7b, moshika-7b, mimi, tiny.",
        ),
    ] = None,
    quantize: Annotated[
        str, typer.Option(metavar="TYPE", help="Of a synthetic model: q4_k, q8_0, q4_0, f16, bf16 or f32.")
    ] = "q4_k",
    mimi: Annotated[str, typer.Option(metavar="TYPE", help="Of its codec: f16, f32 or f16-all.")] = "f16",
    device: Annotated[str, typer.Option(metavar="NAME", help="Where to compute; see `pymoshi devices`.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the CPU; without it, those that `pymoshi talk` would use.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="To measure, 80 ms of sound each.")] = 100,
    fill: Annotated[
        int, typer.Option(min=0, help="Frames that the model remembers beforehand; they are computed first.")
    ] = 0,
    context: Annotated[
        int | None, typer.Option(metavar="FRAMES", help="Frames that it can remember; the model's own by default.")
    ] = None,
    kv_type: Annotated[
        str, typer.Option(metavar="TYPE", help="How it remembers them: f16, q8_0, bf16 or f32.")
    ] = "f16",
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write everything to a file as JSON, - for stdout instead.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show the figures beside those of a file that --json wrote.")
    ] = None,
) -> None:
    """Measure how fast a model runs on this machine, stage by stage, and what the memory would allow.

    A frame is 80 ms of sound, and must be computed in less. What it takes at least is the time in which the memory
    brings the weights and the keys and values of the past: the bound.
    """
    from pymoshi.cli.bench_report import Request, run  # here: the store takes a while to import

    run(
        Request(model, synthetic, quantize, mimi, json, compare),
        device=device, threads=threads, frames=frames, fill=fill, context=context, kv_type=kv_type,
    )  # fmt: skip
