"""Random numbers in the form of stored weights, without ever being anything else.

A 7B model in q4_K is made at the speed of the disk: its 4-bit values are random bytes, its scales the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from pymoshi.hub.gguf_output import blocks
from pymoshi.hub.storage import block_length, row_bytes

_SPREAD_4_BIT = float(np.sqrt((16**2 - 1) / 12))  # standard deviation of 0 ... 15
_SPREAD_4_BIT_EVEN = float(np.sqrt(2 * sum(n * n for n in range(1, 8)) / 16))  # of -7 ... 7, zero twice as likely
_SPREAD_8_BIT = float(np.sqrt((256**2 - 1) / 12))
_K_SCALE = 8  # of 63: the 6-bit scales and minima of q4_K, all alike
# Eight scales and eight minima of 6 bits, in ggml's packing: the low 6 bits of the first four of each, then the low
# 4 bits of the others; their upper 2 bits, in the top of the first eight bytes, are zero for the value 8.
_K_SCALES = bytes([_K_SCALE] * 8 + [_K_SCALE | _K_SCALE << 4] * 4)

_SHARING = 1 << 20  # bytes of a tensor that need not be made of numbers of its own
_PLACES = 4096  # where such a tensor may begin in what it is cut out of
_BLOCK_BYTES = 16 << 20


class RandomTensors:
    """Tensors of random weights, one after the other.

    Large ones are cut out of one of their kind and spread, at places of their own: a 7B model consists of a hundred
    megabytes then, and is made as fast as it is written. Within a tensor nothing repeats.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pools: dict[tuple[str, float], NDArray[np.uint8]] = {}

    def take(self, kind: str, rows: int, length: int, std: float) -> NDArray[np.uint8]:
        """[rows * row_bytes(kind, length)], as `random_rows`; not to be written to."""
        n_bytes = rows * row_bytes(kind, length)
        if n_bytes < _SHARING:
            return self._made(kind, rows, length, std)
        unit = row_bytes(kind, block_length(kind))
        pool = self._pools.get((kind, std))
        if pool is None or pool.size < n_bytes + _PLACES * unit:
            more = -(-_PLACES * unit // row_bytes(kind, length))
            pool = self._pools[kind, std] = self._made(kind, rows + more, length, std)
        start = unit * int(self._rng.integers(_PLACES))
        return pool[start : start + n_bytes]

    def _made(self, kind: str, rows: int, length: int, std: float) -> NDArray[np.uint8]:
        """Numbers of its own, made a part at a time: floats take several times their room meanwhile."""
        out = np.empty((rows, row_bytes(kind, length)), dtype=np.uint8)
        for first, count in blocks(rows, 4 * length, _BLOCK_BYTES):
            out[first : first + count] = random_rows(self._rng, kind, count, length, std)
        return out.reshape(-1)


def random_rows(rng: np.random.Generator, kind: str, rows: int, length: int, std: float) -> NDArray[np.uint8]:
    """[rows, row_bytes(kind, length)]: values of zero mean and the given standard deviation, evenly distributed."""
    if kind in ("f32", "f16", "bf16"):
        return _random_floats(rng, kind, rows, length, std)
    shape = rows, row_bytes(kind, length)
    match kind:
        case "q4_k":
            step = std / (_SPREAD_4_BIT * _K_SCALE)
            head = np.array([step, 7.5 * step], dtype=np.float16).tobytes() + _K_SCALES
            made = _blocks(rng, shape, head, 144)
        case "q4_0":
            made = _blocks(rng, shape, np.float16(std / _SPREAD_4_BIT_EVEN).tobytes(), 18)
            values = made[:, 2:]  # 0 ... 15 stand for -8 ... 7: without -8 their mean is zero
            values |= ((values & 0x0F) == 0).astype(np.uint8) << 3 | ((values & 0xF0) == 0).astype(np.uint8) << 7
        case "q8_0":
            made = _blocks(rng, shape, np.float16(std / _SPREAD_8_BIT).tobytes(), 34)
            values = made[:, 2:]
            values[values == 0x80] = 0  # -128, which has no positive counterpart
        case _:
            raise ValueError(f"{kind} is not a type that weights are stored in")
    return made.reshape(shape)


def _blocks(rng: np.random.Generator, shape: tuple[int, int], head: bytes, size: int) -> NDArray[np.uint8]:
    """[blocks, size]: each of them the same head, then random bytes."""
    count = shape[0] * shape[1] // size
    made = np.empty((count, size), dtype=np.uint8)
    made[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
    body = size - len(head)
    made[:, len(head) :] = _random_bytes(rng, count * body).reshape(count, body)
    return made


def _random_bytes(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """As `rng.bytes`, which is twenty times as slow."""
    words = rng.integers(0, 2**64, -(-count // 8), dtype=np.uint64)
    return words.view(np.uint8)[:count]


def _random_floats(rng: np.random.Generator, kind: str, rows: int, length: int, std: float) -> NDArray[np.uint8]:
    values = rng.random((rows, length), dtype=np.float32)
    values -= 0.5
    values *= np.float32(std * np.sqrt(12))
    match kind:
        case "f16":
            return values.astype(np.float16).view(np.uint8)
        case "bf16":  # truncated, which random numbers do not mind
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        case _:
            return values.view(np.uint8)
