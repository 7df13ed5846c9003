"""Random numbers in the form of stored weights, without ever being anything else.

A 7B model in q4_K is made at the speed of the disk: its 4-bit values are random bytes, its scales the same everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from pymoshi.hub.storage import row_bytes

_SPREAD_4_BIT = float(np.sqrt((16**2 - 1) / 12))  # standard deviation of 0 ... 15
_SPREAD_4_BIT_EVEN = float(np.sqrt(2 * sum(n * n for n in range(1, 8)) / 16))  # of -7 ... 7, zero twice as likely
_SPREAD_8_BIT = float(np.sqrt((256**2 - 1) / 12))
_K_SCALE = 8  # of 63: the 6-bit scales and minima of q4_K, all alike
# Eight scales and eight minima of 6 bits, in ggml's packing: the low 6 bits of the first four of each, then the low
# 4 bits of the others; their upper 2 bits, in the top of the first eight bytes, are zero for the value 8.
_K_SCALES = bytes([_K_SCALE] * 8 + [_K_SCALE | _K_SCALE << 4] * 4)


def random_rows(rng: np.random.Generator, kind: str, rows: int, length: int, std: float) -> NDArray[np.uint8]:
    """[rows, row_bytes(kind, length)]: values of zero mean and the given standard deviation, evenly distributed."""
    if kind in ("f32", "f16", "bf16"):
        return _random_floats(rng, kind, rows, length, std)
    shape = rows, row_bytes(kind, length)
    match kind:
        case "q4_k":
            step = std / (_SPREAD_4_BIT * _K_SCALE)
            head = np.array([step, 7.5 * step], dtype=np.float16).tobytes() + _K_SCALES
            blocks = _blocks(rng, shape, head, 144)
        case "q4_0":
            blocks = _blocks(rng, shape, np.float16(std / _SPREAD_4_BIT_EVEN).tobytes(), 18)
            values = blocks[:, 2:]  # 0 ... 15 stand for -8 ... 7: without -8 their mean is zero
            values |= ((values & 0x0F) == 0).astype(np.uint8) << 3 | ((values & 0xF0) == 0).astype(np.uint8) << 7
        case "q8_0":
            blocks = _blocks(rng, shape, np.float16(std / _SPREAD_8_BIT).tobytes(), 34)
            values = blocks[:, 2:]
            values[values == 0x80] = 0  # -128, which has no positive counterpart
        case _:
            raise ValueError(f"{kind} is not a type that weights are stored in")
    return blocks.reshape(shape)


def _blocks(rng: np.random.Generator, shape: tuple[int, int], head: bytes, size: int) -> NDArray[np.uint8]:
    """[blocks, size]: each of them the same head, then random bytes."""
    count = shape[0] * shape[1] // size
    blocks = np.empty((count, size), dtype=np.uint8)
    blocks[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
    body = size - len(head)
    blocks[:, len(head) :] = np.frombuffer(rng.bytes(count * body), dtype=np.uint8).reshape(count, body)
    return blocks


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
