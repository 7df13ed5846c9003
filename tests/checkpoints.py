"""Small safetensors files for tests, written byte by byte so that they can also be wrong."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"

Tensors = dict[str, tuple[str, list[int], bytes]]  # name: dtype, shape, data


def read_tensors(path: Path) -> Tensors:
    """All tensors of a good file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length :]
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}


def write_tensors(path: Path, tensors: Tensors) -> Path:
    """A good file of these tensors."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    return write_raw(path, header, b"".join(data for _, _, data in tensors.values()))


def write_raw(path: Path, header: Mapping[str, Any], data: bytes) -> Path:
    """A file with whatever header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
