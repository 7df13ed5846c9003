"""What a tensor is called inside a GGUF file."""

import zlib

LM_PREFIX = "lm."
MIMI_PREFIX = "mimi."
VOICE_PREFIX = "voice."
MAX_NAME = 63  # ggml's limit, without the terminating zero


def stored_name(name: str) -> str:
    """The name as written in the file: itself, or eight hexadecimal digits if it is too long for ggml.

    The digits are those of the files that people already have: of each byte of the CRC-32, least significant
    first, only the low nibble survives, followed by a zero for each of the four nibbles that were lost.
    """
    if len(name.encode()) <= MAX_NAME:
        return name
    crc = zlib.crc32(name.encode())
    digits = ""
    for _ in range(4):
        digits += "0123456789abcdef"[crc & 0xF]
        crc >>= 8
    return digits + "0000"
