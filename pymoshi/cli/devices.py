"""`pymoshi devices`: what there is to compute on, and what there is to speak and listen with."""

import dataclasses
import json
from typing import Annotated

import typer

from pymoshi import _native
from pymoshi.audio.devices import AudioDevice, Direction, choose, list_devices, remember, remembered
from pymoshi.cli.console import say
from pymoshi.cli.table import print_table
from pymoshi.errors import AudioDeviceError, InputError
from pymoshi.model import devices


def devices_command(
    audio: Annotated[bool, typer.Option("--audio", help="Show microphones and speakers instead.")] = False,
    input_device: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="DEVICE", help='With --audio: the microphone to use from now on, or "default".'
        ),
    ] = None,
    output_device: Annotated[
        str | None,
        typer.Option("--output", metavar="DEVICE", help='With --audio: speaker to use from now on, or "default".'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the devices that models can run on (their names are what --device takes), or those for sound."""
    wanted = {Direction.INPUT: input_device, Direction.OUTPUT: output_device}
    if audio:
        _show_audio(wanted, as_json)
    elif any(wanted.values()):
        raise InputError(
            "--input and --output choose sound devices: pymoshi devices --audio --input NAME --output NAME"
        )
    else:
        _show_compute(as_json)


def _show_compute(as_json: bool) -> None:
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


def _show_audio(wanted: dict[Direction, str | None], as_json: bool) -> None:
    found = list_devices()
    # Both are looked up before either is kept: a slip in one must not change the other.
    chosen = {
        direction.value: None if name.strip().lower() == "default" else choose(found, direction, name)
        for direction, name in wanted.items()
        if name is not None
    }
    if chosen:
        say(f"Kept in {remember(**chosen)}")
    used = {direction: _used(found, direction) for direction in Direction}
    if as_json:
        entries = [
            dataclasses.asdict(device) | {f"used_for_{d.value}": used[d] == device for d in Direction}
            for device in found
        ]
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    if not found:
        say(
            "No sound device was found. In a container or over ssh the machine's sound server must be reachable; "
            "pymoshi talk --input FILE --output FILE needs none."
        )
        return
    rows = [
        (
            str(device.index),
            device.name,
            device.host,
            _channels(device, Direction.INPUT, used),
            _channels(device, Direction.OUTPUT, used),
            str(device.sample_rate),
        )
        for device in found
    ]
    print_table(("#", "Name", "Through", "In", "Out", "Hz"), rows, right=("#", "In", "Out", "Hz"))
    say("* what a conversation uses. Others, from now on: pymoshi devices --audio --input NAME --output NAME")


def _used(found: list[AudioDevice], direction: Direction) -> AudioDevice | None:
    """What a conversation would take now, if that is clear."""
    for name in (remembered().get(direction), None):
        try:
            return choose(found, direction, name)
        except AudioDeviceError:
            continue
    return None


def _channels(device: AudioDevice, direction: Direction, used: dict[Direction, AudioDevice | None]) -> str:
    number = device.channels(direction)
    return f"{number}{' *' if used[direction] == device else '  '}" if number else ""
