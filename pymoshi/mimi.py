"""Mimi, the codec: 24 kHz audio to 12.5 columns of codes a second, and back."""

from typing import Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymoshi import _native, arrays
from pymoshi.errors import InputError
from pymoshi.options import one_of, whole

Window = Literal["modern", "legacy", "full"]
WINDOWS: Final[dict[str, int]] = {"modern": 0, "legacy": 1, "full": 2}  # moshi_window

_FRAMES_PER_CALL = 25  # of whole signals: two seconds of audio, so that Ctrl-C is answered soon


class Mimi:
    """The codec of a model. Made by `Model.mimi`; each call and each stream has a state of its own."""

    def __init__(self, native: _native.NativeModel, n_codebooks: int, card: int, frame_size: int) -> None:
        self._native = native
        self.n_codebooks = n_codebooks
        """Codebooks that the codec has; fewer may be used."""
        self.card = card
        """Codes are 0 <= code < card."""
        self.frame_size = frame_size
        """Samples per column of codes."""

    def encode(self, pcm: ArrayLike, n_codebooks: int | None = None, *, window: Window = "modern") -> NDArray[np.int32]:
        """A whole signal as codes.

        pcm: float [n], mono, 24 kHz, in [-1, 1]; filled up with silence to whole frames.
        n_codebooks: None for all that the codec has.
        window: "modern" gives what a stream gives, frame by frame; "full" what offline encoding gives. They differ
            slightly after the codec's first 10 s (see `Model.session`).

        Returns int32 [n_codebooks, ceil(n / frame_size)]. Raises InputError, StateError (model closed).
        """
        signal = arrays.samples(pcm)
        if signal.size == 0:
            raise InputError("There is no audio to encode: the signal is empty.")
        missing = -signal.size % self.frame_size
        if missing:
            signal = np.concatenate([signal, np.zeros(missing, np.float32)])
        step = _FRAMES_PER_CALL * self.frame_size
        with self.stream(n_codebooks, window=window) as stream:
            parts = [stream.encode(signal[start : start + step]) for start in range(0, signal.size, step)]
        return np.concatenate(parts, axis=1)

    def decode(self, codes: ArrayLike, *, window: Window = "modern") -> NDArray[np.float32]:
        """Codes as a whole signal.

        codes: integers [n_q, T], 1 <= n_q <= n_codebooks.
        window: as in `encode`.

        Returns float32 [T * frame_size]. Raises InputError, StateError (model closed).
        """
        columns = self._columns(codes)
        if columns.shape[1] == 0:
            raise InputError("There are no codes to decode: the array has no columns.")
        with self.stream(columns.shape[0], window=window) as stream:
            starts = range(0, columns.shape[1], _FRAMES_PER_CALL)
            return np.concatenate([stream.decode(columns[:, start : start + _FRAMES_PER_CALL]) for start in starts])

    def stream(
        self,
        n_codebooks: int | None = None,
        *,
        window: Window = "modern",
        frames_per_call: int = 1,
        taps: bool = False,
    ) -> "MimiStream":
        """A codec that keeps its state from call to call: an encoder and a decoder, frame by frame.

        n_codebooks: None for all.
        frames_per_call: frames that enter the codec's attention together; each call takes a multiple of them.
        taps: keep intermediate results for `MimiStream.tap`.

        Raises InputError, OutOfMemoryError, StateError (model closed).
        """
        used = self.n_codebooks if n_codebooks is None else whole("n_codebooks", n_codebooks, 1, self.n_codebooks)
        native = _native.NativeMimi(
            self._native,
            n_codebooks=used,
            window=WINDOWS[one_of("window", window, WINDOWS)],
            frames_per_call=whole("frames_per_call", frames_per_call, 1, 1000),
            taps=bool(taps),
        )
        return MimiStream(native, self, used, frames_per_call)

    def _columns(self, codes: ArrayLike) -> NDArray[np.int32]:
        columns = arrays.codes(codes, self.card)
        if columns.ndim != 2 or not 1 <= columns.shape[0] <= self.n_codebooks:
            raise InputError(
                f"Codes must have the shape [n_q, T] with n_q from 1 to {self.n_codebooks}; found {columns.shape}."
            )
        return columns


class MimiStream:
    """A codec with memory, for one direction pair. A context manager; one call at a time."""

    def __init__(self, native: _native.NativeMimi, mimi: Mimi, n_codebooks: int, frames_per_call: int) -> None:
        self._native = native
        self._mimi = mimi
        self.n_codebooks = n_codebooks
        self.frames_per_call = frames_per_call

    def encode(self, pcm: ArrayLike) -> NDArray[np.int32]:
        """float [T * frame_size] in, int32 [n_codebooks, T] out; T is a multiple of `frames_per_call`.

        Raises InputError, StateError (closed, or in use by another thread).
        """
        signal, frame_size = arrays.samples(pcm), self._mimi.frame_size
        unit = frame_size * self.frames_per_call
        if signal.size == 0 or signal.size % unit:
            raise InputError(f"A stream takes whole frames, a multiple of {unit} samples; found {signal.size}.")
        codes = np.empty((self.n_codebooks, signal.size // frame_size), np.int32)
        self._native.encode(signal, codes)
        return codes

    def decode(self, codes: ArrayLike) -> NDArray[np.float32]:
        """Integers [n_q, T] in, float32 [T * frame_size] out; T is a multiple of `frames_per_call`.

        Raises InputError, StateError (closed, or in use by another thread).
        """
        columns = self._mimi._columns(codes)
        if columns.shape[1] == 0 or columns.shape[1] % self.frames_per_call:
            raise InputError(
                f"This stream takes a multiple of {self.frames_per_call} columns; found {columns.shape[1]}."
            )
        pcm = np.empty(columns.shape[1] * self._mimi.frame_size, np.float32)
        self._native.decode(columns, pcm)
        return pcm

    def reset(self) -> None:
        """Forgets everything: exactly as new."""
        self._native.reset()

    def tap(self, name: str) -> NDArray[np.float32]:
        """An intermediate result of the last call, flat, channel-fastest; see moshi_mimi_tap in moshi.h for names.

        Raises InputError for an unknown name, or if the stream was made without taps.
        """
        return self._native.tap(name)

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Frees the stream's memory; closing twice is allowed."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
