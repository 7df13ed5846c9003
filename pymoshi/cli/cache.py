"""`pymoshi cache`: the personas that are kept ready to start."""

import json
from typing import Annotated

import typer

from pymoshi.cli.console import say
from pymoshi.cli.table import print_table
from pymoshi.persona_cache import DEFAULT_MB, LIMIT_VARIABLE, Entry, PersonaCache

LONGEST = 60  # characters of a text that a table shows

cache_app = typer.Typer(
    help="Personas that are kept ready, so that a conversation with the same voice and prompt starts at once. "
    f"Together they take at most {LIMIT_VARIABLE} megabytes ({DEFAULT_MB} by default, 0 for none); the ones not used "
    "for longest go first.",
    no_args_is_help=True,
)


@cache_app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the personas that are kept ready, the last used first."""
    entries = PersonaCache().entries()
    if as_json:
        typer.echo(json.dumps([_as_json(entry) for entry in entries], indent=1, ensure_ascii=False))
        return
    if not entries:
        say("No persona is kept ready yet; the first conversation with a PersonaPlex model keeps its own.")
        return
    print_table(
        ("Model", "Voice", "Prompt", "Frames", "MB", "Last used"),
        [
            (
                _short(entry.model),
                _short(entry.voice) or "-",
                _short(entry.prompt) or "-",
                str(entry.frames),
                f"{entry.n_bytes / 1e6:.1f}",
                f"{entry.used.astimezone():%Y-%m-%d %H:%M}",
            )
            for entry in entries
        ],
        right=("Frames", "MB"),
    )
    say(f"{sum(entry.n_bytes for entry in entries) / 1e6:.1f} MB in all")


@cache_app.command("clear")
def clear_command() -> None:
    """Remove them all; they are made again when they are needed."""
    count, n_bytes = PersonaCache().clear()
    say(f"{count} persona{'' if count == 1 else 's'} removed, {n_bytes / 1e6:.1f} MB")


@cache_app.command("path")
def path_command() -> None:
    """Print the folder that they are in."""
    typer.echo(PersonaCache().folder)


def _as_json(entry: Entry) -> dict[str, str | int]:
    return {
        "model": entry.model,
        "voice": entry.voice,
        "prompt": entry.prompt,
        "frames": entry.frames,
        "bytes": entry.n_bytes,
        "used": entry.used.isoformat(timespec="seconds"),
        "file": str(entry.path),
    }


def _short(text: str) -> str:
    """One line of it, without what a terminal might obey."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
