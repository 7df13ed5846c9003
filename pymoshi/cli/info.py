"""`pymoshi info FILE`: what a model file holds."""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Annotated

import typer

from pymoshi import _native
from pymoshi.errors import ModelFormatError, ModelNotFoundError
from pymoshi.hub.safetensors_file import SafetensorsFile

_LONGEST_VALUE = 100  # characters of a metadata value that the table shows


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class _Content:
    format: str
    metadata: dict[str, str]
    tensors: list[_Tensor]


def info_command(
    file: Annotated[Path, typer.Argument(help="A .gguf or .safetensors file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what a model file holds: metadata, tensors with shapes, types and sizes, and totals by type."""
    content = _read(file)
    totals = _totals(content.tensors)
    if as_json:
        tensors = [asdict(tensor) for tensor in content.tensors]
        fields = {"file": str(file), "format": content.format, "size": file.stat().st_size}
        typer.echo(json.dumps(fields | {"metadata": content.metadata, "tensors": tensors, "totals": totals}, indent=1))
        return
    typer.echo(f"{file}: {content.format}, {_size(file.stat().st_size)}")
    if content.metadata:
        typer.echo("\nmetadata")
    for key, value in content.metadata.items():
        shown = value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + " ..."
        typer.echo(f"  {key} = {shown}")
    typer.echo("\ntensors")
    width = max((len(tensor.name) for tensor in content.tensors), default=0)
    for tensor in content.tensors:
        shape = "x".join(map(str, tensor.shape)) or "scalar"
        typer.echo(f"  {tensor.name:<{width}}  {tensor.type:<6} {shape:<16} {_size(tensor.bytes):>10}")
    typer.echo("\ntotals")
    for kind, total in totals.items():
        typer.echo(
            f"  {kind:<6} {total['tensors']:>6} tensors {total['parameters']:>14,} values {_size(total['bytes']):>10}"
        )


def _read(path: Path) -> _Content:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except IsADirectoryError:
        raise ModelNotFoundError(f"{path} is a folder; expected one of the files in it.") from None
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if magic == b"GGUF":
        return _read_gguf(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    raise ModelFormatError(f"{path} is neither a GGUF file (it does not begin with GGUF) nor named .safetensors.")


def _read_gguf(path: Path) -> _Content:
    with _native.GgufFile(path) as file:
        metadata = {key: entry.value for key, entry in file.keys.items()}
        tensors = [_Tensor(t.name, t.type, t.shape, t.n_bytes) for t in file.tensors.values()]
    return _Content("GGUF", metadata, tensors)


def _read_safetensors(path: Path) -> _Content:
    with SafetensorsFile(path) as file:
        tensors = [_Tensor(e.name, e.dtype.lower(), e.shape, e.end - e.start) for e in file.entries.values()]
    return _Content("safetensors", {}, tensors)


def _totals(tensors: list[_Tensor]) -> dict[str, dict[str, int]]:
    totals: dict[str, dict[str, int]] = defaultdict(lambda: {"tensors": 0, "parameters": 0, "bytes": 0})
    for tensor in tensors:
        for kind in (tensor.type, "all"):
            totals[kind]["tensors"] += 1
            totals[kind]["parameters"] += prod(tensor.shape)
            totals[kind]["bytes"] += tensor.bytes
    return dict(sorted(totals.items(), key=lambda item: item[1]["bytes"]))


def _size(n_bytes: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.2f} {name}"
    return f"{n_bytes} B"
