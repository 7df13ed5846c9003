"""libmoshi as Python sees it: opened on first use, its failures turned into exceptions, its log into `logging`.

`pymoshi` must import where the library is absent or broken (documentation, a driver that is being installed), so
nothing here happens before the first call.
"""

import atexit
import functools
import importlib
import logging
import sys
import threading
from pathlib import Path
from typing import Any, TypeAlias

from pymoshi import errors

log = logging.getLogger("pymoshi")

_LIBRARY_NAME = {"win32": "moshi.dll", "darwin": "libmoshi.dylib"}.get(sys.platform, "libmoshi.so")
_REPAIR = "Install pymoshi again (pip install --force-reinstall pymoshi)."

# What cffi hands out has no types of its own; the classes in this package give it theirs.
CData: TypeAlias = Any

_opening = threading.Lock()


@functools.cache
def ffi() -> Any:
    """The cffi interface that the build cut out of moshi.h."""
    return _abi().ffi


@functools.cache
def _abi() -> Any:
    try:
        return importlib.import_module("pymoshi._native._abi")
    except ImportError as error:
        message = f"pymoshi is not completely installed: its interface to the engine is missing. {_REPAIR}"
        raise errors.InternalError(message) from error


def library_path() -> Path:
    """Where libmoshi lies: beside the generated interface, which an editable install keeps apart from the sources."""
    folders = [Path(_abi().__file__).parent / "lib", Path(__file__).parent / "lib"]
    for folder in folders:
        if (folder / _LIBRARY_NAME).is_file():
            return folder / _LIBRARY_NAME
    raise errors.InternalError(
        f"pymoshi is not completely installed: {_LIBRARY_NAME} is not in {folders[0]}. {_REPAIR}"
    )


def lib() -> Any:
    """The opened library; its attributes are the functions of moshi.h.

    Raises InternalError if the library is missing or cannot be loaded.
    """
    with _opening:  # functools.cache alone would let two threads install two log callbacks
        return _open()


@functools.cache
def _open() -> Any:
    path = library_path()
    try:
        opened = ffi().dlopen(str(path))
    except OSError as error:
        raise errors.InternalError(f"The engine {path} cannot be loaded: {error}. {_REPAIR}") from error
    opened.moshi_set_log(_log_callback(), ffi().NULL)
    # A message that arrives while the interpreter is being torn down would have nobody to take it.
    atexit.register(opened.moshi_set_log, ffi().NULL, ffi().NULL)
    return opened


@functools.cache
def _log_callback() -> CData:
    levels = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}

    def on_message(level: int, message: CData, _user: CData) -> None:
        log.log(levels.get(int(level), logging.INFO), "%s", text(message).rstrip("\n"))

    return ffi().callback("moshi_log_callback", on_message)


def text(pointer: CData) -> str:
    """A C string or a char array as str; "" for NULL. Bytes that are not UTF-8 are shown, not refused."""
    return "" if pointer == ffi().NULL else bytes(ffi().string(pointer)).decode("utf-8", "backslashreplace")


def c_string(value: str | Path | None) -> CData:
    """`value` as a NUL-terminated UTF-8 string that lives as long as the returned object; NULL for None."""
    if value is None:
        return ffi().NULL
    encoded = str(value).encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise errors.InputError(f"{str(value)!r} contains a NUL character.")
    return ffi().new("char[]", encoded)


_EXCEPTIONS: dict[str, type[errors.PymoshiError]] = {
    "MOSHI_ERROR_ARGUMENT": errors.InputError,
    "MOSHI_ERROR_FILE": errors.ModelNotFoundError,
    "MOSHI_ERROR_FORMAT": errors.ModelFormatError,
    "MOSHI_ERROR_DEVICE": errors.DeviceError,
    "MOSHI_ERROR_MEMORY": errors.OutOfMemoryError,
    "MOSHI_ERROR_UNSUPPORTED": errors.UnsupportedModelError,
    "MOSHI_ERROR_STATE": errors.StateError,
    "MOSHI_ERROR_CANCELLED": errors.Cancelled,
    "MOSHI_ERROR_INTERNAL": errors.InternalError,
}


def check(status: int) -> None:
    """Raises the exception that belongs to `status`, with the engine's own words; returns if it is MOSHI_OK."""
    if status == 0:
        return
    name = ffi().typeof("moshi_status").elements.get(status, f"status {status}")
    message = text(lib().moshi_last_error()) or f"The engine failed without a message ({name})."
    raise _EXCEPTIONS.get(name, errors.InternalError)(message)


class Progress:
    """A progress callback as C wants it, that also lets Ctrl-C and the callback's own exceptions through.

    `report` takes the fraction done, 0 to 1, and may return False to cancel. Pass `pointer` to C, keep the object
    alive during the call, and call `raise_pending()` after it.
    """

    def __init__(self, report: Any | None) -> None:
        self._report = report
        self._pending: BaseException | None = None
        # onerror and no try: Python runs its signal handlers as soon as the callback begins, before any line of it.
        self.pointer = ffi().callback("moshi_progress_callback", self._on_progress, error=False, onerror=self._on_error)

    def _on_progress(self, fraction: float, _user: CData) -> bool:
        return self._report is None or self._report(float(fraction)) is not False

    def _on_error(self, _kind: object, error: BaseException, _traceback: object) -> None:
        self._pending = self._pending or error

    def raise_pending(self) -> None:
        """Raises what the callback raised, if it did."""
        if self._pending is not None:
            raise self._pending
