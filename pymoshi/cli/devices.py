"""`pymoshi devices`: what there is to compute on."""

import dataclasses
import json
from typing import Annotated

import typer

from pymoshi import _native
from pymoshi.model import devices


def devices_command(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the devices that models can run on; their names are what --device takes."""
    found = devices()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(device) for device in found], indent=1))
        return
    for device in found:
        memory = ""
        if device.memory_total:
            memory = f"{device.memory_free / 1e9:6.1f} of {device.memory_total / 1e9:.1f} GB free"
        typer.echo(f"{device.name:<12}{memory:<26}  {device.description}".rstrip())
    engine, ggml = _native.versions()
    typer.echo(f"(engine {engine}, ggml {ggml})", err=True)
