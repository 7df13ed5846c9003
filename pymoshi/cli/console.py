"""The terminal: progress and messages on stderr, so that stdout holds results alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from pymoshi.model import Model, load

stderr = Console(stderr=True)


def say(message: str) -> None:
    """One line to the person at the terminal."""
    stderr.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(text: str) -> Iterator[Callable[[float], None]]:
    """A progress bar for the duration of a `with`, if stderr is a terminal; what it yields takes the fraction done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(text, total=1.0)
        yield lambda fraction: progress.update(task, completed=fraction)


def load_model(name: str, **options: Any) -> Model:
    """`pymoshi.load` with a progress bar. A known model that is not here is offered to whoever can answer."""
    offer(name)
    with bar(f"Loading {name}") as show:
        return load(name, progress=show, **options)


def offer(name: str) -> None:
    """Offers to pull a known model that is not here; to be asked while Ctrl-C still ends everything at once."""
    from pymoshi.cli.pull import offer_to_pull

    offer_to_pull(name)
