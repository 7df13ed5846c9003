"""`pymoshi pull`: get a model by its name."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pymoshi.cli.console import say, stderr
from pymoshi.cli.transfer import byte_bar
from pymoshi.errors import ModelNotFoundError
from pymoshi.hub.catalog import load_catalog


def pull_command(
    name: Annotated[str, typer.Argument(metavar="MODEL[:VARIANT]", help='E.g. "personaplex" or "moshika:q8_0".')],
) -> None:
    """Download a model, check it, and install it under its name. Interrupted downloads go on where they stopped.

    "pymoshi models" lists what there is. HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured.
    """
    from pymoshi.hub.download import human_size  # here: the hub's client takes a while to import
    from pymoshi.hub.pull import make_plan, pull
    from pymoshi.hub.store import Store

    store = Store()
    with stderr.status("Asking the hub"):
        plan = make_plan(store, name)
    model, variant = plan.model, plan.variant
    say(f"{model.title} ({variant.name}), {model.authors}: {model.summary}")
    say(f"Licence: {model.licence.name}, {model.licence.url}")
    if plan.download_bytes:
        say(f"{human_size(plan.download_bytes)} to download to {store.hub.cache}")
    if variant.quantize:
        say(f"Nobody publishes {variant.name}: it is made here from the original weights, about "
            f"{human_size(plan.made_bytes)} in {store.folder}")  # fmt: skip
    with byte_bar("Fetching") as show:
        installed = pull(store, plan, show)
    say(f"Installed in {installed.folder}. Use it with: --model {model.alias}:{variant.name}")


def offer_to_pull(name: str) -> None:
    """Asks a person at a terminal whether to get a known model that is not here. Does nothing in any other case."""
    if not is_answerable() or Path(name).exists():
        return
    try:
        known = load_catalog().get(name)
    except ModelNotFoundError:  # loading it will say so
        return
    if known is None:
        return
    from pymoshi.hub.store import Store

    store = Store()
    if store.find(name) is not None:
        return
    say(str(store.how_to_get(name)).partition("\n")[0])
    if typer.confirm("Get it now?", default=False, err=True):
        pull_command(name)


def is_answerable() -> bool:
    """Whether somebody sits at a terminal who sees a question and can answer it."""
    return sys.stdin.isatty() and stderr.is_terminal
