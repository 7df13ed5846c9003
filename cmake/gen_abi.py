"""Writes pymoshi/_native/_abi.py: the declarations of moshi.h for cffi's ABI mode.

Run at build time by CMake: gen_abi.py moshi.h _abi.py
"""

import sys
from pathlib import Path

from cffi import FFI


def cut_declarations(header: str) -> str:
    """The part of moshi.h between the line with "[cdef]" and the line with "[end]"."""
    lines = header.splitlines()
    begin = next((i for i, line in enumerate(lines) if "[cdef]" in line), None)
    end = next((i for i, line in enumerate(lines) if "[end]" in line and i > (begin or 0)), None)
    if begin is None or end is None:
        raise SystemExit('moshi.h: the lines with "[cdef]" and "[end]" that enclose its declarations are missing')
    return "\n".join(lines[begin + 1 : end])


def main() -> None:
    header, output = map(Path, sys.argv[1:])
    ffi = FFI()
    ffi.cdef(cut_declarations(header.read_text(encoding="utf-8")))
    ffi.set_source("pymoshi._native._abi", None)  # None: no C compiler, the library is opened with dlopen
    ffi.emit_python_code(str(output))


if __name__ == "__main__":
    main()
