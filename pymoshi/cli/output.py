"""Files that commands write: checked before the work, whole or absent after it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pymoshi.errors import InputError


def check_outputs(inputs: list[Path], outputs: list[Path]) -> None:
    """Raises InputError for an output that would replace an input or another output, or that has no folder.

    Other existing files are replaced without asking, as the person named them.
    """
    taken = [path.resolve() for path in inputs]
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path} is named twice; writing it would destroy the other one.")
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected the name of a file to write.")
        if not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
        taken.append(path.resolve())


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete, and not at all if the work fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Readable, in UTF-8."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
