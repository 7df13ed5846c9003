"""All commands, and how they end."""

import io
import logging
import signal
import sys
from typing import Annotated

import typer

import pymoshi
from pymoshi.cli.bench import bench_command
from pymoshi.cli.cache import cache_app
from pymoshi.cli.console import stderr
from pymoshi.cli.convert import convert_command
from pymoshi.cli.demo import demo_command
from pymoshi.cli.devices import devices_command
from pymoshi.cli.doctor import doctor_command
from pymoshi.cli.info import info_command
from pymoshi.cli.mimi import mimi_app
from pymoshi.cli.models import models_app
from pymoshi.cli.persona import persona_app
from pymoshi.cli.pull import pull_command
from pymoshi.cli.replay import replay_command
from pymoshi.cli.serve import serve_command
from pymoshi.cli.synth import synth_command
from pymoshi.cli.talk import talk_command
from pymoshi.cli.voice import voice_app
from pymoshi.errors import PymoshiError

app = typer.Typer(
    name="pymoshi",
    help="Spoken full-duplex conversations with Moshi and PersonaPlex, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo_command)
app.command("talk")(talk_command)
app.command("serve")(serve_command)
app.command("replay")(replay_command)
app.command("info")(info_command)
app.command("devices")(devices_command)
app.command("doctor")(doctor_command)
app.command("bench")(bench_command)
app.command("convert")(convert_command)
app.command("synth")(synth_command)
app.command("pull")(pull_command)
app.add_typer(models_app, name="models")
app.add_typer(voice_app, name="voice")
app.add_typer(persona_app, name="persona")
app.add_typer(cache_app, name="cache")
app.add_typer(mimi_app, name="mimi")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pymoshi {pymoshi.__version__}")
        raise typer.Exit


@app.callback()
def common_options(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv says everything.")] = 0,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What every command has."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("pymoshi")
    logger.handlers = [handler]
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])


def _end_as_asked(number: int, _frame: object) -> None:
    """SIGTERM unwinds the stack as Ctrl-C does, so that files which are being written are completed."""
    sys.exit(128 + number)


def main() -> None:
    """The entry point of `pymoshi` and `python -m pymoshi`."""
    signal.signal(signal.SIGTERM, _end_as_asked)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 must not end a conversation
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (PymoshiError, OSError) as error:
        stderr.print("error:", style="bold red", end=" ")
        stderr.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
