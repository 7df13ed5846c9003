"""The engine, libmoshi, bound with cffi. The only package that knows C; nothing here is part of the public API."""

from pymoshi._native.engine import NativeMimi, NativeModel, NativeSession, devices, plain, versions
from pymoshi._native.gguf import GgufFile, GgufKey, GgufTensor, quantize, row_size
from pymoshi._native.library import ffi, lib, library_path

__all__ = [
    "GgufFile",
    "GgufKey",
    "GgufTensor",
    "NativeMimi",
    "NativeModel",
    "NativeSession",
    "devices",
    "ffi",
    "lib",
    "library_path",
    "plain",
    "quantize",
    "row_size",
    "versions",
]
