"""Tables on stdout: fitted to a terminal, one line a row everywhere else."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

WIDE = 1000  # columns, where no terminal limits them; programs that read a table want whole lines


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Prints rows of text under headings; the columns named in `right` are aligned to the right."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table, markup=False, highlight=False)
