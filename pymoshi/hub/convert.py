"""Published checkpoints (safetensors) into GGUF files that say what they are.

The input streams through a small buffer: memory holds one tensor of the output and a few blocks of the input,
whatever the checkpoint's size.
"""

import json
import logging
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import Cancelled, ModelFormatError, UnsupportedModelError
from pymoshi.hub import floats
from pymoshi.hub.checkpoint import (
    FLOAT_TYPES,
    Codebook,
    Rows,
    Source,
    codebooks_predicted,
    lm_sources,
    mimi_sources,
)
from pymoshi.hub.config import (
    MIMI_24KHZ,
    Metadata,
    described,
    is_personaplex,
    lm_config,
    lm_metadata,
    mimi_config,
    read_json,
)
from pymoshi.hub.gguf_output import GgufOutput, OutputFolder, Stored, blocks
from pymoshi.hub.names import LM_PREFIX, MIMI_PREFIX
from pymoshi.hub.safetensors_file import Entry, SafetensorsFile
from pymoshi.hub.source import ConvertSource, find_source
from pymoshi.hub.storage import FLOATS, LM_TYPES, MIMI_TYPES, check_type, lm_type, mimi_type, row_bytes
from pymoshi.hub.tensors import Role, Tensor, depformer_hidden_of, depformer_sets, hidden_of, lm_tensors, mimi_tensors

log = logging.getLogger("pymoshi")

#: Called with (bytes written, bytes in all, file name); returning False stops the conversion.
Progress = Callable[[int, int, str], bool | None]

BLOCK_BYTES = 16 << 20  # of input, read at once; a few are in memory
_READ_AHEAD = 2
_LEAST_USAGE = np.float32(1e-5)  # Kyutai's clamp for codebook entries that were never used


@dataclass(frozen=True)
class _Part:
    """One GGUF file to be made of one checkpoint file."""

    source: Path
    file_name: str
    metadata: Metadata
    tensors: list[Stored]
    sources: Mapping[str, Source]  # by full name

    @property
    def n_bytes(self) -> int:
        return sum(stored.n_bytes for stored in self.tensors)


def convert(
    src: str | Path,
    out_dir: str | Path,
    *,
    quantize: str | None = None,
    mimi_type: str = "f16",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Converts a folder with a published checkpoint, or one .safetensors file of it; returns the output folder.

    quantize: "q8_0", "q4_k", "q4_0", "f16", "bf16" or "f32" for the language model's matrices; None keeps the
    checkpoint's type. mimi_type: "f16" stores the codec's convolutions and its decoder in half precision, "f16-all" the
    encoder's transformer too, "f32" everything as it is. On a CPU the decoder is a fifth faster in f16.
    threads: 0 or None for one a physical core.

    The folder then holds `model-<type>.gguf`, `mimi-<type>.gguf`, the tokenizer and a config.json that names them.
    They appear when all of them are complete; an interrupted run leaves nothing behind.

    Raises ModelNotFoundError, ModelFormatError, UnsupportedModelError, InputError, DiskSpaceError, Cancelled.
    """
    if quantize is not None:
        quantize = check_type(quantize, LM_TYPES, "quantize")
    mimi_type = check_type(mimi_type, MIMI_TYPES, "mimi_type")
    found = find_source(Path(src))
    parts, config = [], None
    if found.lm is not None:
        config = _complete_config(found)
        parts.append(_lm_part(found.lm, config, quantize))
    if found.mimi is not None:
        parts.append(_mimi_part(found.mimi, found.mimi_config, mimi_type))
    with OutputFolder(Path(out_dir), overwrite=overwrite) as output:
        new_config = _output_config(output.folder, config, parts, found)
        names = [part.file_name for part in parts]
        names += [found.tokenizer.name] if found.tokenizer else []
        names += ["config.json"] if config is not None else []
        total = sum(part.n_bytes for part in parts)
        output.reserve(names, total)
        done = 0
        for part in parts:
            done = _write(part, output.path(part.file_name), found.name, threads or 0, (done, total), progress)
        if found.tokenizer:
            shutil.copyfile(found.tokenizer, output.path(found.tokenizer.name))
        if new_config:
            output.path("config.json").write_text(json.dumps(new_config, indent=2) + "\n", encoding="utf-8")
        output.commit()
    return Path(out_dir)


def _complete_config(found: ConvertSource) -> dict[str, Any]:
    """The config with what the checkpoint itself shows filled in: PersonaPlex comes without hyper-parameters."""
    assert found.lm is not None
    config = lm_config(found.config, found.folder / "config.json")
    with SafetensorsFile(found.lm) as file:
        names = file.entries.keys()
        if found.config.get("dep_q") is None:
            config["dep_q"] = codebooks_predicted(names)
        heads = sum(name.startswith("extra_heads.") for name in names)
        if heads and config.get("extra_heads_num_heads") is None:
            config["extra_heads_num_heads"] = heads
    config.setdefault("model_type", "personaplex" if is_personaplex(config) else "moshi")
    return config


def _lm_part(path: Path, config: Mapping[str, Any], quantize: str | None) -> _Part:
    with SafetensorsFile(path) as file:
        entries = file.entries
    sources = lm_sources(entries, depformer_sets(config))
    wide, narrow = hidden_of(config), depformer_hidden_of(config) if config["dep_q"] else 0
    expected = list(
        lm_tensors(
            config,
            _columns(sources, "transformer.layers.0.gating.linear_out.weight", wide),
            _columns(sources, "depformer.layers.0.gating.0.linear_out.weight", narrow),
        )
    )
    listed = {tensor.name for tensor in expected}
    for name, source in sources.items():
        if name not in listed:
            expected += _unlisted(path, name, source)
    _check(path, expected, sources, "config.json")
    source_type = _most_common_type(path, expected, sources)
    tensors = [
        Stored(tensor, LM_PREFIX + tensor.name, lm_type(tensor, quantize, _float_type(path, sources[tensor.name])))
        for tensor in expected
    ]
    named = {LM_PREFIX + name: source for name, source in sources.items()}
    return _Part(path, f"model-{quantize or source_type}.gguf", lm_metadata(config), tensors, named)


def _unlisted(path: Path, name: str, source: Source) -> list[Tensor]:
    """Tensors that no hyper-parameter announces: conditioners are kept, others left out."""
    if name.startswith("condition_provider.conditioners."):
        return [Tensor(name, source.shape, Role.KEPT)]
    if name.startswith("depformer_norms."):
        return [Tensor(name, source.shape, Role.NORM)]
    log.warning("%s: tensor %s is not part of the model that its config describes; left out", path, name)
    return []


def _mimi_part(path: Path, config_path: Path | None, wanted: str) -> _Part:
    config = mimi_config(read_json(config_path), config_path) if config_path else MIMI_24KHZ
    with SafetensorsFile(path) as file:
        sources = mimi_sources(file.entries)
    expected = list(mimi_tensors(config))
    where = str(config_path) if config_path else "the published Mimi, there being no mimi_config.json beside it"
    _check(path, expected, sources, where)
    for name in sources.keys() - {tensor.name for tensor in expected}:
        log.warning("%s: tensor %s is not part of the codec that its config describes; left out", path, name)
    tensors = [Stored(tensor, MIMI_PREFIX + tensor.name, mimi_type(tensor, wanted)) for tensor in expected]
    named = {MIMI_PREFIX + name: source for name, source in sources.items()}
    return _Part(path, f"mimi-{wanted}.gguf", described(config, "mimi"), tensors, named)


def _check(path: Path, expected: Iterable[Tensor], sources: Mapping[str, Source], where: str) -> None:
    """Every tensor is there, in its shape."""
    for tensor in expected:
        source = sources.get(tensor.name)
        if source is None:
            found = f"is missing, expected with shape {list(tensor.shape)} after {where}"
            raise ModelFormatError(f"{path}: tensor {tensor.name} {found}")
        if _without_ones(source.shape) != _without_ones(tensor.shape):
            found = f"has shape {list(source.shape)}, expected {list(tensor.shape)} after {where}"
            raise ModelFormatError(f"{path}: tensor {tensor.name} {found}")
        _float_type(path, source)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _columns(sources: Mapping[str, Source], name: str, otherwise: int) -> int:
    source = sources.get(name)
    return source.shape[-1] if source is not None and source.shape else otherwise


def _entry(source: Source) -> Entry:
    return source.entry if isinstance(source, Rows) else source.total


def _float_type(path: Path, source: Source) -> str:
    """ "f32", "f16" or "bf16": the type that keeps a tensor's values."""
    entry = _entry(source)
    if entry.dtype not in FLOAT_TYPES:
        advice = "expected F32, F16 or BF16. Convert the original checkpoint instead of a quantised one"
        raise UnsupportedModelError(f"{path}: tensor {entry.name} has type {entry.dtype}; {advice}")
    kind = FLOAT_TYPES[entry.dtype]
    return "f32" if kind == "f64" else kind


def _most_common_type(path: Path, tensors: Iterable[Tensor], sources: Mapping[str, Source]) -> str:
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.role is Role.LINEAR:
            sizes[_float_type(path, sources[tensor.name])] += prod(tensor.shape)
    return sizes.most_common(1)[0][0]


def _output_config(
    folder: Path, config: dict[str, Any] | None, parts: list[_Part], found: ConvertSource
) -> dict[str, Any] | None:
    """config.json of the output. A codec converted alone is entered into the one that is there already."""
    if config is None:
        there = folder / "config.json"
        return {**read_json(there), "mimi_name": parts[0].file_name} if there.is_file() else None
    names = {"moshi_name": parts[0].file_name}
    if found.mimi is not None:
        names["mimi_name"] = parts[1].file_name
    if found.tokenizer is not None:
        names["tokenizer_name"] = found.tokenizer.name
    dropped = ("mimi_config_name", "lora_name")  # the codec's file describes itself
    return {key: value for key, value in config.items() if key not in dropped} | names


def _write(part: _Part, path: Path, name: str, threads: int, counts: tuple[int, int], progress: Progress | None) -> int:
    """Writes one file; returns the bytes written so far, of which there were `counts[0]` of `counts[1]`."""
    done, total = counts
    with SafetensorsFile(part.source) as file, GgufOutput(path, name, part.metadata, part.tensors) as out:
        reads = _read_ahead(file, _requests(part))
        for stored in part.tensors:
            if progress is not None and progress(done, total, part.file_name) is False:
                raise Cancelled("the conversion was stopped")
            source = part.sources[stored.name]
            if isinstance(source, Codebook):
                out.write(_codebook(source, next(reads), next(reads)))
            else:
                out.write(_converted(file.path, source, stored.kind, reads, threads))
            done += stored.n_bytes
    if progress is not None:
        progress(done, total, part.file_name)
    return done


def _requests(part: _Part) -> Iterator[tuple[Entry, int, int]]:
    """All reads (entry, first row, rows) in the order in which `_write` wants them."""
    for stored in part.tensors:
        match part.sources[stored.name]:
            case Codebook(total, usage):
                yield total, 0, total.rows
                yield usage, 0, 1
            case Rows() as source:
                for first, count in _blocks(source):
                    yield source.entry, source.first + first, count


def _blocks(source: Rows) -> Iterator[tuple[int, int]]:
    width = (source.entry.end - source.entry.start) // max(1, source.entry.rows)
    return blocks(prod(source.shape[:-1]), width, BLOCK_BYTES)


def _read_ahead(file: SafetensorsFile, requests: Iterable[tuple[Entry, int, int]]) -> Iterator[NDArray[Any]]:
    """The data of all requests, in order, read by another thread while this one computes."""
    with ThreadPoolExecutor(1, thread_name_prefix="pymoshi-convert") as reader:
        pending: deque[Future[NDArray[Any]]] = deque()
        for request in requests:
            pending.append(reader.submit(file.read_rows, *request))
            if len(pending) > _READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _codebook(source: Codebook, total: NDArray[Any], usage: NDArray[Any]) -> NDArray[np.float32]:
    """[entries, width]: the mean of the vectors assigned to each entry."""
    sums = floats.to_f32(total, FLOAT_TYPES[source.total.dtype])
    counts = floats.to_f32(usage, FLOAT_TYPES[source.usage.dtype]).reshape(-1, 1)
    return np.ascontiguousarray(sums / np.maximum(counts, _LEAST_USAGE))


def _converted(path: Path, source: Rows, kind: str, reads: Iterator[NDArray[Any]], threads: int) -> NDArray[np.uint8]:
    """[rows, bytes of a row]: a tensor in its stored type, block by block."""
    entry, rows = source.entry, prod(source.shape[:-1])
    out = np.empty((rows, row_bytes(kind, entry.row_length)), dtype=np.uint8)
    for first, count in _blocks(source):
        block = next(reads)
        if not floats.all_finite(block, FLOAT_TYPES[entry.dtype]):
            raise ModelFormatError(f"{path}: tensor {entry.name} contains NaN or infinity; the checkpoint is damaged")
        out[first : first + count] = _encode(block, FLOAT_TYPES[entry.dtype], kind, threads)
    return out


def _encode(block: NDArray[Any], source: str, kind: str, threads: int) -> NDArray[np.uint8]:
    if kind in FLOATS:
        return np.ascontiguousarray(floats.convert(block, source, kind)).view(np.uint8)
    from pymoshi import _native  # loads the engine, which float types do not need

    if source == "f64":
        block, source = floats.to_f32(block, source), "f32"
    return _native.quantize(block, source, "q4_K" if kind == "q4_k" else kind, threads)
