"""Reads NVIDIA's `.pt` voice files without PyTorch and without running what is pickled in them.

A `.pt` file is a zip archive: `<name>/data.pkl` describes tensors, `<name>/data/<key>` holds their bytes. The pickle is
a program for a small stack machine that may call any Python function it names, so it runs here in a cage: only the
instructions that `torch.save` emits for tensors in a dict, only two callables, both ours, and every number that it
gives is checked against the archive before memory is taken.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import VoiceError

__all__ = ["read_pt"]

MAX_ARCHIVE = 64 << 20  # bytes, packed and unpacked; published voices have about 0.4 MB
MAX_MEMBERS = 64
MAX_PICKLE = 64 << 10
MAX_OPCODES = 4000
MAX_MEMO = 4000  # the C unpickler allocates its memo up to the largest index at once
MAX_ELEMENTS = MAX_ARCHIVE // 4
MAX_RANK = 8

# What torch.save (pickle protocol 2) emits for a dict of tensors. No BUILD, INST, OBJ, NEWOBJ, EXT*, STACK_GLOBAL:
# nothing that makes objects other than through REDUCE of a callable that find_class let through.
_TORCH_OPCODES = """
    PROTO STOP MARK GLOBAL REDUCE BINPERSID EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM
    SETITEMS APPEND APPENDS BINPUT LONG_BINPUT BINGET LONG_BINGET BINUNICODE SHORT_BINSTRING BINSTRING BININT BININT1
    BININT2 LONG1 NEWTRUE NEWFALSE NONE
"""
ALLOWED_OPCODES = frozenset(_TORCH_OPCODES.split())

# torch storage class -> numpy type of its bytes; bfloat16 is widened after reading
STORAGE_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
}


@dataclass(frozen=True, slots=True)
class _StorageType:
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    type: str
    key: str
    numel: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_pt(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the tensors of a `.pt` file that holds one dict of tensors.

    Returns:
        name -> array, with the shapes of the file; floating types as float32, integers as they are.

    Raises:
        VoiceError: the file cannot be read, is not such a file, or holds anything else than tensors.
    """
    try:
        if path.stat().st_size > MAX_ARCHIVE:
            raise VoiceError(f"{path} has {path.stat().st_size >> 20} MB; no voice file is that large")
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except zipfile.BadZipFile as error:
        raise VoiceError(
            f"{path} is not a voice file: a .pt file is a zip archive, and this one cannot be read as one ({error}). "
            "It may be damaged, or the rest of its download is missing."
        ) from error
    except OSError as error:
        raise VoiceError(f"Cannot read the voice file {path}: {error.strerror or error}") from error
    except (RuntimeError, NotImplementedError, ValueError, EOFError) as error:  # what zipfile raises on odd members
        raise VoiceError(f"{path}: damaged archive ({error})") from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    members = _checked_members(path, archive)
    pickles = [name for name in members if PurePosixPath(name).name == "data.pkl"]
    if len(pickles) != 1:
        raise VoiceError(f"{path} is not a voice file: {len(pickles)} members named data.pkl, expected one")
    prefix = pickles[0].removesuffix("data.pkl")
    if members[pickles[0]].file_size > MAX_PICKLE:
        raise VoiceError(f"{path}: data.pkl is larger than {MAX_PICKLE >> 10} kB; a voice needs less than one")
    order = _byte_order(path, archive, members.get(prefix + "byteorder"))
    tensors = _unpickle(path, archive.read(members[pickles[0]]))
    arrays = {}
    for name, tensor in tensors.items():
        member = members.get(f"{prefix}data/{tensor.storage.key}")
        if member is None:
            raise VoiceError(f"{path}: the bytes of `{name}` ({prefix}data/{tensor.storage.key}) are missing")
        arrays[name] = _materialise(path, name, tensor, archive, member, order)
    return arrays


def _checked_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name, once their number, names and sizes are known to be harmless."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise VoiceError(f"{path}: {len(infos)} members; a voice file has about eight")
    if sum(info.file_size for info in infos) > MAX_ARCHIVE:
        raise VoiceError(f"{path} would unpack to more than {MAX_ARCHIVE >> 20} MB; refused")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        parts = info.filename.split("/")
        if "\\" in info.filename or info.filename.startswith("/") or ".." in parts or info.filename in members:
            raise VoiceError(f"{path}: unexpected member name {info.filename!r}; refused")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise VoiceError(f"{path}: member {info.filename!r} is encrypted or packed in an unknown way; refused")
        members[info.filename] = info
    return members


def _byte_order(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> str:
    if member is None:
        return "<"  # files older than the marker were little-endian
    match archive.read(member) if member.file_size < 16 else b"":
        case b"little":
            return "<"
        case b"big":
            return ">"
        case other:
            raise VoiceError(f"{path}: unknown byte order {other!r}")


def _unpickle(path: Path, data: bytes) -> dict[str, _Tensor]:
    _check_opcodes(path, data)
    try:
        result = _CagedUnpickler(io.BytesIO(data)).load()
    except VoiceError as error:
        raise VoiceError(f"{path}: {error}") from None
    except Exception as error:
        # A broken pickle can make the unpickler raise nearly anything; nothing of it has had an effect.
        raise VoiceError(f"{path}: data.pkl is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(result, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in result.items()
    ):
        raise VoiceError(f"{path} is not a voice file: it holds something else than a dict of tensors")
    return result


def _check_opcodes(path: Path, data: bytes) -> None:
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name not in ALLOWED_OPCODES:
                raise VoiceError(f"{path}: the pickle uses {opcode.name}, which no voice file needs; refused")
            if opcode.name == "PROTO" and argument != 2:
                raise VoiceError(f"{path}: pickle protocol {argument}; torch.save writes 2")
            if opcode.name in ("LONG_BINPUT", "LONG_BINGET") and int(argument or 0) > MAX_MEMO:
                raise VoiceError(f"{path}: the pickle asks for a memo of {argument} entries; refused")
            if count > MAX_OPCODES:
                raise VoiceError(f"{path}: the pickle has more than {MAX_OPCODES} instructions; refused")
    except (ValueError, UnicodeDecodeError, OverflowError) as error:  # pickletools on broken input
        raise VoiceError(f"{path}: data.pkl is damaged ({error})") from error


class _CagedUnpickler(pickle.Unpickler):
    """Resolves the names that `torch.save` writes to inert stand-ins, and no other."""

    def find_class(self, module: str, name: str) -> Callable[..., Any] | _StorageType:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild_tensor
            case "collections", "OrderedDict":
                return _no_hooks
            case "torch", _ if name in STORAGE_TYPES:
                return _StorageType(STORAGE_TYPES[name])  # not callable, on purpose
        raise VoiceError(f"the file wants to run `{module}.{name}`; a voice file has no reason to. Refused")

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", _StorageType(name=kind), str(key), str(), int(numel)) if _is_size(numel):
                if not (key.isascii() and key.isalnum() and len(key) <= 16):
                    raise VoiceError(f"unexpected storage name {key!r}; refused")
                return _Storage(kind, key, numel)
        raise VoiceError("a tensor's storage is not described as torch.save does it; refused")


def _no_hooks() -> None:
    """Stands in for the empty OrderedDict of backward hooks that follows every tensor."""


def _rebuild_tensor(
    storage: object, offset: object, size: object, stride: object, requires_grad: object, hooks: None, *extra: object
) -> _Tensor:
    """Checks a tensor's description against its storage's; reads nothing yet."""
    if not isinstance(storage, _Storage) or not _is_size(offset) or not _is_sizes(size) or not _is_sizes(stride):
        raise VoiceError("a tensor is not described as torch.save does it; refused")
    tensor = _Tensor(storage, offset, size, stride)  # type: ignore[arg-type]  # _is_size and _is_sizes checked them
    if len(tensor.size) != len(tensor.stride) or prod(tensor.size) > MAX_ELEMENTS:
        raise VoiceError(f"a tensor of shape {list(tensor.size)} and strides {list(tensor.stride)} is refused")
    if prod(tensor.size) > 0:
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
        if last >= storage.numel:
            raise VoiceError(f"a tensor reaches to element {last} of a storage of {storage.numel}; refused")
    return tensor


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ELEMENTS


def _is_sizes(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_RANK and all(_is_size(item) for item in value)


def _materialise(
    path: Path, name: str, tensor: _Tensor, archive: zipfile.ZipFile, member: zipfile.ZipInfo, order: str
) -> NDArray[Any]:
    storage = tensor.storage
    is_bfloat = storage.type == "bf16"
    dtype = np.dtype(order + ("u2" if is_bfloat else storage.type))
    if member.file_size != storage.numel * dtype.itemsize:
        raise VoiceError(
            f"{path}: `{name}` has {member.file_size} bytes; {storage.numel} values of {dtype.itemsize} bytes expected"
        )
    flat = np.frombuffer(archive.read(member), dtype=dtype)
    if prod(tensor.size) == 0:
        values = np.empty(tensor.size, dtype=dtype)
    else:
        strides = tuple(step * dtype.itemsize for step in tensor.stride)
        values = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.size, strides, writeable=False)
    if is_bfloat:  # bfloat16 is the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if dtype.kind == "f" else values.astype(dtype.newbyteorder("="))
