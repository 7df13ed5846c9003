"""`pymoshi doctor`: what this machine can do, before anything is downloaded."""

from typing import Annotated

import typer


def doctor_command(
    device: Annotated[str, typer.Option(metavar="NAME", help="What to measure; see `pymoshi devices`.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU; the physical cores by default.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter measurements, and no sound is played.")] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Also ask the model hub whether it can be reached.")
    ] = False,
    sound: Annotated[bool, typer.Option(help="Look at microphone and speaker, and play a short test sound.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Examine this machine and installation, measure their speed, and predict how each model would run.

    Ends with 0 if a live conversation with a full-size model is possible here, with 1 if not.
    """
    from pymoshi.cli.doctor_report import run  # here: the hub's client takes a while to import

    raise typer.Exit(run(device, threads, quick, network, sound, as_json))
