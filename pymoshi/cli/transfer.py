"""A progress bar for long work that counts bytes: downloads, conversions, checksums."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pymoshi.cli.console import stderr


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """For the duration of a `with`; what it yields takes (bytes done, bytes in all, what is being done)."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        shown = title

        def show(done: int, total: int, what: str) -> None:
            nonlocal shown
            step = what.split(" ", 1)[0]
            if step != shown.split(" ", 1)[0]:  # another kind of work has another speed
                progress.reset(task, start=True)
            shown = what
            progress.update(task, completed=done, total=total, description=what)

        yield show
