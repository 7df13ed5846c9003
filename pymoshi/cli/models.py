"""`pymoshi models`: what can be had, what is here, and how to carry it elsewhere."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pymoshi.cli.console import say
from pymoshi.cli.table import print_table
from pymoshi.cli.transfer import byte_bar
from pymoshi.errors import ModelFormatError

if TYPE_CHECKING:
    from pymoshi.hub.store import Store

models_app = typer.Typer(
    help="List, check, remove and carry models; without a command, list them.", invoke_without_command=True
)

NameArgument = Annotated[str, typer.Argument(metavar="MODEL[:VARIANT]", help='E.g. "personaplex:q4_k".')]


def _store() -> "Store":
    from pymoshi.hub.store import Store  # here: the hub's client takes a while to import

    return Store()


@models_app.callback()
def default_command(context: typer.Context) -> None:
    """List, check, remove and carry models; without a command, list them."""
    if context.invoked_subcommand is None:
        list_command(as_json=False)


@models_app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that can be pulled, and those that are here with their sizes and folders."""
    from pymoshi.hub.download import human_size

    store = _store()
    entries = _entries(store)
    if as_json:
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    rows = []
    for entry in entries:
        size = ("" if entry["folder"] else "~") + human_size(entry["bytes"])
        here = "no longer whole: pull it again" if entry["missing"] else entry["folder"] or ""
        rows.append((entry["model"] + (" *" if entry["default"] else ""), size, entry["title"], entry["licence"], here))
    print_table(("Model", "Size", "What", "Licence", "Here"), rows, right=("Size",))
    say("* what the name alone means. Get one with: pymoshi pull MODEL")
    unfinished = sum(path.stat().st_size for path in store.hub.unfinished())
    if unfinished:
        say(
            f"{human_size(unfinished)} of unfinished downloads: pull them again to go on, "
            "or drop them with: pymoshi models clean"
        )


def _entries(store: "Store") -> list[dict[str, Any]]:
    installed = {model.manifest.name: model for model in store.installed()}
    entries = []
    for model in store.catalog.models.values():
        for variant in model.variants.values():
            name = f"{model.alias}:{variant.name}"
            here = installed.pop(name, None)
            entries.append(
                {
                    "model": name,
                    "default": variant.name == model.default,
                    "title": model.title,
                    "summary": model.summary,
                    "licence": model.licence.name,
                    "bytes": here.manifest.n_bytes if here else variant.n_bytes,
                    "folder": str(here.folder) if here else None,
                    "missing": here.missing if here else [],
                }
            )
    entries += [  # from bundles, or from another version's catalog
        {
            "model": name,
            "default": False,
            "title": here.manifest.title,
            "summary": "",
            "licence": here.manifest.licence,
            "bytes": here.manifest.n_bytes,
            "folder": str(here.folder),
            "missing": here.missing,
        }
        for name, here in installed.items()
    ]
    return entries


@models_app.command("remove")
def remove_command(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_downloads: Annotated[
        bool, typer.Option("--keep-downloads", help="Leave the downloaded files in the hub's cache.")
    ] = False,
) -> None:
    """Remove an installed model, and what pymoshi downloaded for it."""
    from pymoshi.hub.download import human_size

    store = _store()
    model = store.get(name)
    if not yes:
        typer.confirm(f"Remove {model.manifest.name} from {model.folder}?", abort=True, err=True)
    freed = store.remove(model.manifest.name, keep_downloads=keep_downloads)
    say(f"{model.manifest.name} is removed, {human_size(freed)} freed")


@models_app.command("clean")
def clean_command() -> None:
    """Drop what unfinished downloads have left behind."""
    from pymoshi.hub.download import human_size

    freed = 0
    for path in _store().hub.unfinished():
        freed += path.stat().st_size
        path.unlink()
    say(f"{human_size(freed)} freed")


@models_app.command("verify")
def verify_command(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL[:VARIANT]]", help="(default: all)")] = None,
) -> None:
    """Read every file of the installed models, or of one, and compare it with its checksum."""
    store = _store()
    models = [store.get(name)] if name else store.installed()
    if not models:
        say("No models are installed")
    damaged = []
    for model in models:
        with byte_bar(f"Checking {model.manifest.name}") as show:
            problems = store.verify(model.manifest.name, show)
        for problem in problems:
            typer.echo(f"{model.folder / problem.path}: {problem.what}")
        if problems:
            damaged.append(model.manifest.name)
        else:
            typer.echo(f"{model.manifest.name}: all {len(model.manifest.files)} files are as they were")
    if damaged:
        raise ModelFormatError(f"Damaged: {', '.join(damaged)}. `pymoshi pull` repairs them.")


@models_app.command("export")
def export_command(
    name: NameArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The bundle to write, e.g. x.tar.")],
) -> None:
    """Write an installed model to one file, with checksums and licence texts, for a machine without network."""
    from pymoshi.hub.bundle import export_bundle

    with byte_bar("Writing") as show:
        manifest = export_bundle(_store(), name, output, show)
    say(f"{output} holds {manifest.name}. On the other machine: pymoshi models import {output.name}")


@models_app.command("import")
def import_command(
    bundle: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle made by `pymoshi models export`.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the model if it is installed already.")] = False,
) -> None:
    """Check a bundle and install the model in it."""
    from pymoshi.hub.bundle import import_bundle

    with byte_bar("Reading") as show:
        model = import_bundle(_store(), bundle, force=force, progress=show)
    manifest = model.manifest
    say(f"{manifest.title} is installed in {model.folder}. Licence: {manifest.licence} {manifest.licence_url}")
    say(f"Use it with: --model {manifest.name}")
