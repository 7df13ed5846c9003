"""`pymoshi voice`: the voices there are, and making your own."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pymoshi.cli.console import load_model, say
from pymoshi.cli.table import print_table
from pymoshi.errors import VoiceError
from pymoshi.voices import BUILTIN, VoiceLibrary, find_voice_file
from pymoshi.voices.names import check_new_name, describe
from pymoshi.voices.recording import CODEBOOKS, voice_from_recording

CONSENT = "Make a voice only of a person who has agreed to it: cloning somebody's voice needs the speaker's consent."

voice_app = typer.Typer(
    help=f"Voices for PersonaPlex: list them, make one from a recording, keep it. {CONSENT}", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@voice_app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the voices that come with PersonaPlex, and your own."""
    entries = _builtin_voices() + _own_voices()
    if as_json:
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    missing = "comes with: pymoshi pull personaplex"
    print_table(
        ("Voice", "What", "Where"), [(entry["name"], entry["what"], entry["file"] or missing) for entry in entries]
    )


def _builtin_voices() -> list[dict[str, Any]]:
    from pymoshi.hub.store import Store  # here: the hub's client takes a while to import

    folders = [model.folder for model in Store().installed()]
    files = {name: find_voice_file(name, folders) for name in BUILTIN}
    return [{"name": name, "what": describe(name), "file": str(file) if file else None} for name, file in files.items()]


def _own_voices() -> list[dict[str, Any]]:
    library = VoiceLibrary()
    entries: list[dict[str, Any]] = []
    for name in library.names():
        try:
            saved = library.show(name)
            what = f"yours, {saved.seconds:.1f} s of {saved.source}"
            entries.append({"name": name, "what": what, "file": str(saved.path)})
        except VoiceError as error:
            entries.append({"name": name, "what": f"damaged: {error}", "file": None})
    return entries


@voice_app.command("add", help=f"Make a voice of a recording and keep it under a name. {CONSENT}")
def add_command(
    name: NameArgument,
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="4 to 10 s of clean speech; any sound file.")],
    model: Annotated[str, typer.Option(help="Model whose codec to use: a name, a folder or a .gguf file.")] = (
        "personaplex"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="Replace a voice of that name.")] = False,
) -> None:
    """Make a voice of a recording and keep it under a name."""
    library = VoiceLibrary()
    check_new_name(name)
    if name in library and not replace:
        raise VoiceError(f"There is a voice {name!r} already; --replace puts the new one in its place.")
    with load_model(model, codec_only=True) as loaded:
        voice = voice_from_recording(
            recording,
            # As PersonaPlex's own script hears a voice prompt, whose codec's window is the legacy one.
            lambda pcm: loaded.mimi.encode(pcm, CODEBOOKS, window="legacy"),
            name=name,
            codec=f"{loaded.info.fingerprint:016x}",
        )
    saved = library.add(voice, replace=replace)
    say(f"{saved.name}: {saved.seconds:.1f} s of {saved.source}, kept in {saved.path}. Use it with: --voice {name}")


@voice_app.command("show")
def show_command(name: NameArgument) -> None:
    """Show what is known of a voice, as JSON."""
    entries = {entry["name"]: entry for entry in _builtin_voices()}
    if name.upper() in entries:
        typer.echo(json.dumps(entries[name.upper()], indent=1))
        return
    saved = VoiceLibrary().show(name)
    shown = {
        "name": saved.name,
        "source": saved.source,
        "created": saved.created,
        "seconds": saved.seconds,
        "codec": saved.codec,
        "file": str(saved.path),
    }
    typer.echo(json.dumps(shown, indent=1, ensure_ascii=False))


@voice_app.command("remove")
def remove_command(
    name: NameArgument, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
) -> None:
    """Remove a voice of your own."""
    library = VoiceLibrary()
    if name.upper() in BUILTIN:
        raise VoiceError(f"{name.upper()} comes with PersonaPlex; only voices of your own can be removed.")
    if name in library and not yes:
        typer.confirm(f"Remove the voice {name}?", abort=True, err=True)
    library.remove(name)
    say(f"The voice {name} is removed")
