"""The engine, libmoshi, bound with cffi. The only package that knows C; nothing here is part of the public API."""

from pymoshi._native.engine import NativeMimi, NativeModel, NativeSession, devices, plain, versions
from pymoshi._native.gguf import GgufFile, GgufKey, GgufTensor, quantize, row_size
from pymoshi._native.library import ffi, lib, library_path
from pymoshi._native.machine import Bandwidth, bandwidth, default_threads, features

__all__ = [
    "Bandwidth",
    "GgufFile",
    "GgufKey",
    "GgufTensor",
    "NativeMimi",
    "NativeModel",
    "NativeSession",
    "bandwidth",
    "default_threads",
    "devices",
    "features",
    "ffi",
    "lib",
    "library_path",
    "plain",
    "quantize",
    "row_size",
    "versions",
]
