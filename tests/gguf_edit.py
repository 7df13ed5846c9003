"""GGUF files taken apart and put together again for tests, wrongly if a test wants it so."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
TYPE_F32, TYPE_I32 = 0, 26


def string(text: str | bytes) -> bytes:
    """As GGUF stores it."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(found: Any) -> tuple[int, bytes]:
    """A metadata value: its type and its bytes."""
    match found:
        case bool():
            return BOOL, struct.pack("<B", found)
        case int():
            return I32, struct.pack("<i", found)
        case float():
            return F32, struct.pack("<f", found)
        case str():
            return STRING, string(found)
        case list():
            return ARRAY, struct.pack("<IQ", I32, len(found)) + struct.pack(f"<{len(found)}i", *found)
        case _:
            raise TypeError(type(found))


@dataclass
class Tensor:
    name: str | bytes
    extents: list[int]  # fastest first
    kind: int
    data: bytes
    offset: int | None = None  # in the data section; None: where the data lies


@dataclass
class Gguf:
    """Everything in a file. Numbers that are None are written as they should be."""

    keys: list[tuple[str, int, bytes]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    version: bytes = struct.pack("<I", 3)
    n_keys: int | None = None
    n_tensors: int | None = None
    alignment: int = 32

    def key(self, name: str, new: Any) -> None:
        """Sets a key to a value, or to a (type, bytes) pair."""
        kind, data = new if isinstance(new, tuple) else value(new)
        names = [key for key, _, _ in self.keys]
        entry = (name, kind, data)
        if name in names:
            self.keys[names.index(name)] = entry
        else:
            self.keys.append(entry)

    def remove_key(self, name: str) -> None:
        self.keys = [key for key in self.keys if key[0] != name]

    def tensor(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def remove_tensor(self, name: str) -> None:
        self.tensors.remove(self.tensor(name))

    def sections(self) -> dict[str, bytes]:
        """The file, in order, cut where one of its parts ends and the next begins."""
        counts = (
            len(self.tensors) if self.n_tensors is None else self.n_tensors,
            len(self.keys) if self.n_keys is None else self.n_keys,
        )
        keys = [string(name) + struct.pack("<I", kind) + data for name, kind, data in self.keys]
        infos, offset = [], 0
        for tensor in self.tensors:
            start = offset if tensor.offset is None else tensor.offset
            shape = struct.pack(f"<{len(tensor.extents)}Q", *tensor.extents)
            infos.append(
                string(tensor.name) + struct.pack("<I", len(tensor.extents)) + shape
                + struct.pack("<IQ", tensor.kind, start)
            )  # fmt: skip
            offset += len(tensor.data) + -len(tensor.data) % self.alignment
        header = {
            "magic": b"GGUF",
            "version": self.version,
            "counts": struct.pack("<QQ", *counts),
            "keys": b"".join(keys),
            "tensors": b"".join(infos),
        }
        before = sum(map(len, header.values()))
        data = b"".join(tensor.data + bytes(-len(tensor.data) % self.alignment) for tensor in self.tensors)
        return header | {"padding": bytes(-before % self.alignment), "data": data}

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join(self.sections().values()))
        return path


def read(path: Path) -> Gguf:
    """A good file, with an alignment of 32."""
    content = path.read_bytes()
    at = 24
    n_tensors, n_keys = struct.unpack_from("<QQ", content, 8)

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return content[at - size : at]

    def take_string() -> bytes:
        return take(struct.unpack("<Q", take(8))[0])

    def take_value(kind: int) -> bytes:
        start = at
        if kind == STRING:
            take_string()
        elif kind == ARRAY:
            element, count = struct.unpack("<IQ", take(12))
            for _ in range(count):
                take_value(element)
        else:
            take(struct.calcsize("<" + _SCALARS[kind]))
        return content[start:at]

    def take_infos() -> Iterator[tuple[str, list[int], int, int]]:
        for _ in range(n_tensors):
            name = take_string().decode()
            (rank,) = struct.unpack("<I", take(4))
            extents = list(struct.unpack(f"<{rank}Q", take(8 * rank)))
            yield name, extents, *struct.unpack("<IQ", take(12))

    file = Gguf()
    for _ in range(n_keys):
        name = take_string().decode()
        (kind,) = struct.unpack("<I", take(4))
        file.keys.append((name, kind, take_value(kind)))
    infos = list(take_infos())
    data = content[at + -at % 32 :]
    ends = sorted([start for _, _, _, start in infos] + [len(data)])
    for name, extents, kind, start in infos:
        end = ends[ends.index(start) + 1]
        file.tensors.append(Tensor(name, extents, kind, data[start:end]))
    return file
