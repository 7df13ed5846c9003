"""Models, sessions and codec streams of libmoshi as Python objects with numpy arrays.

These classes own the C handles and make their use safe: a closed handle is an error rather than a crash, and `close`
waits for the call that another thread is in. What values an argument may have is checked by the public classes above.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pymoshi._native.library import CData, Progress, c_string, check, ffi, lib, text
from pymoshi.errors import InputError, ModelFormatError, SnapshotError, StateError

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]


def _in(array: NDArray[Any], kind: str) -> CData:
    return ffi().from_buffer(kind, array)


def _out(array: NDArray[Any], kind: str) -> CData:
    return ffi().from_buffer(kind, array, require_writable=True)


def plain(struct: CData) -> dict[str, Any]:
    """A C struct as a dict of Python values: char arrays as str, other arrays as tuples, 0.6f as 0.6."""

    def value(name: str, kind: Any) -> Any:
        field = getattr(struct, name)
        if kind.kind == "array":
            return text(field) if kind.item.cname == "char" else tuple(field)
        return float(f"{field:.7g}") if kind.cname == "float" else field

    return {name: value(name, field.type) for name, field in ffi().typeof(struct).fields}


class Handle:
    """A C object that is freed once, and never while it is in use."""

    def __init__(self, pointer: CData, free: Callable[[CData], None], noun: str) -> None:
        self._pointer: CData | None = ffi().gc(pointer, free)
        self._noun = noun
        self._busy = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[CData]:
        """The pointer, for one call. Raises StateError if the object is closed, or in use by another thread."""
        if not self._busy.acquire(blocking=False):
            raise StateError(f"This {self._noun} is in use by another thread; give each thread its own.")
        try:
            if self._pointer is None:
                raise StateError(f"This {self._noun} is closed.")
            yield self._pointer
        finally:
            self._busy.release()

    @property
    def closed(self) -> bool:
        return self._pointer is None

    def close(self) -> None:
        """Frees the object, after the call that may be running; closing twice is allowed."""
        with self._busy:
            if self._pointer is not None:
                ffi().release(self._pointer)
                self._pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def devices() -> list[dict[str, Any]]:
    """The fields of moshi_device_info, of each device.

    Raises DeviceError if there is none, not even this machine's processor.
    """
    found = []
    for index in range(max(1, lib().moshi_device_count())):  # of none, the first one's error says why
        info = ffi().new("moshi_device_info *")
        check(lib().moshi_device_get(index, info))
        found.append(plain(info[0]))
    return found


def versions() -> tuple[str, str]:
    """Of libmoshi, and of the ggml in it."""
    return text(lib().moshi_version()), text(lib().moshi_ggml_version())


class NativeModel(Handle):
    """Weights on a device. Loading can be interrupted with Ctrl-C."""

    def __init__(
        self,
        lm: Path | None,
        mimi: Path | None,
        *,
        lm_metadata: str | None,
        mimi_metadata: str | None,
        device: str,
        threads: int,
        repack: bool,
        all_depformer_steps: bool = False,
        progress: Callable[[float], bool | None] | None,
    ) -> None:
        # Named, so that they live until the load is over: a C struct does not keep what it points to alive.
        strings = [c_string(value) for value in (lm, mimi, lm_metadata, mimi_metadata, device)]
        reporter = Progress(progress)
        params = ffi().new("moshi_model_params *", lib().moshi_model_default_params())
        params.lm_path, params.mimi_path, params.lm_metadata, params.mimi_metadata, params.device = strings
        params.n_threads, params.repack, params.progress = threads, repack, reporter.pointer
        params.all_depformer_steps = all_depformer_steps
        out = ffi().new("moshi_model **")
        status = lib().moshi_model_load(params, out)
        if status == 0:
            super().__init__(out[0], lib().moshi_model_free, "model")
        try:
            reporter.raise_pending()
        except BaseException:
            if status == 0:
                self.close()
            raise
        check(status)

    def info(self) -> dict[str, Any]:
        """The fields of moshi_model_info."""
        info = ffi().new("moshi_model_info *")
        with self.shared() as model:
            check(lib().moshi_model_get_info(model, info))
        return plain(info[0])

    @contextmanager
    def shared(self) -> Iterator[CData]:
        """The pointer. Unlike sessions, a model may be used by many threads: they wait for each other here, briefly."""
        with self._busy:
            if self._pointer is None:
                raise StateError("This model is closed; load it again.")
            yield self._pointer


class NativeMimi(Handle):
    """One codec stream: the state of one encoder and one decoder."""

    def __init__(self, model: NativeModel, *, n_codebooks: int, window: int, frames_per_call: int, taps: bool) -> None:
        out = ffi().new("moshi_mimi **")
        with model.shared() as pointer:
            params = ffi().new("moshi_mimi_params *", lib().moshi_mimi_default_params(pointer))
            params.n_codebooks, params.window = n_codebooks, window
            params.frames_per_call, params.taps = frames_per_call, taps
            check(lib().moshi_mimi_new(pointer, params, out))
        super().__init__(out[0], lib().moshi_mimi_free, "codec stream")

    def encode(self, pcm: Floats, codes: Codes) -> None:
        """pcm: [n_frames * frame_size] in. codes: [n_codebooks, n_frames] out."""
        with self.use() as mimi:
            check(lib().moshi_mimi_encode(mimi, _in(pcm, "float[]"), codes.shape[1], _out(codes, "int32_t[]")))

    def decode(self, codes: Codes, pcm: Floats) -> None:
        """codes: [n_codebooks, n_frames] in. pcm: [n_frames * frame_size] out."""
        with self.use() as mimi:
            check(lib().moshi_mimi_decode(mimi, _in(codes, "int32_t[]"), *codes.shape, _out(pcm, "float[]")))

    def reset(self) -> None:
        with self.use() as mimi:
            check(lib().moshi_mimi_reset(mimi))

    def tap(self, name: str) -> Floats:
        with self.use() as mimi:
            return _tap(lib().moshi_mimi_tap, mimi, name)


class NativeSession(Handle):
    """One conversation. `params` are fields of moshi_session_params; those left out keep the model's defaults."""

    def __init__(self, model: NativeModel, **params: Any) -> None:
        self._model = model
        out = ffi().new("moshi_session **")
        with model.shared() as pointer:
            filled = ffi().new("moshi_session_params *", lib().moshi_session_default_params(pointer))
            for name, value in params.items():
                setattr(filled, name, value)
            check(lib().moshi_session_new(pointer, filled, out))
        self.params = plain(filled[0])
        self._frame = ffi().new("moshi_frame *")
        super().__init__(out[0], lib().moshi_session_free, "session")

    def twin(self) -> "NativeSession":
        """A new session with the same parameters."""
        return NativeSession(self._model, **self.params)

    def step(self, pcm: Floats, audio: Floats) -> dict[str, Any]:
        """pcm: [frame_size] in. audio: [frame_size] out. Returns the fields of Frame that C fills."""
        frame = self._frame
        with self.use() as session:
            check(lib().moshi_session_step(session, _in(pcm, "float[]"), _out(audio, "float[]"), frame))
            return {
                "text_token": int(frame.text_token),
                "codes": _row(frame.codes, frame.n_codes),
                "user_codes": _row(frame.user_codes, frame.n_user_codes),
                "encode_ms": float(frame.encode_ms),
                "lm_ms": float(frame.lm_ms),
                "decode_ms": float(frame.decode_ms),
            }

    def step_codes(self, user_codes: Codes, capacity: int) -> Codes:
        """user_codes: [n_user] in. Returns at most `capacity` tokens, text first."""
        tokens, n = np.empty(capacity, np.int32), ffi().new("int32_t *", capacity)
        with self.use() as session:
            codes = _in(user_codes, "int32_t[]")
            check(lib().moshi_session_step_codes(session, codes, user_codes.size, _out(tokens, "int32_t[]"), n))
        return tokens[: n[0]]

    def prefill(
        self, tokens: Codes, embeddings: Floats | None, progress: Callable[[float], bool | None] | None
    ) -> None:
        """tokens: [n, 1 + n_q]. embeddings: None or [n, dim]."""
        reporter = Progress(progress)
        vectors = ffi().NULL if embeddings is None else _in(embeddings, "float[]")
        with self.use() as session:
            n = tokens.shape[0]
            rows = _in(tokens, "int32_t[]")
            status = lib().moshi_session_prefill(session, rows, vectors, n, reporter.pointer, ffi().NULL)
        reporter.raise_pending()
        check(status)

    def reset(self, seed: int) -> None:
        with self.use() as session:
            check(lib().moshi_session_reset(session, seed))

    def reset_codec(self) -> None:
        with self.use() as session:
            check(lib().moshi_session_reset_codec(session))

    def set_sampling(self, temperature: float, top_k: int, text_temperature: float, text_top_k: int) -> None:
        with self.use() as session:
            check(lib().moshi_session_set_sampling(session, temperature, top_k, text_temperature, text_top_k))

    def set_seed(self, seed: int) -> None:
        with self.use() as session:
            check(lib().moshi_session_set_seed(session, seed))

    def force_text(self, token: int) -> None:
        with self.use() as session:
            check(lib().moshi_session_force_text(session, token))

    def offset(self) -> int:
        with self.use() as session:
            return int(lib().moshi_session_offset(session))

    def tap(self, name: str) -> Floats:
        with self.use() as session:
            return _tap(lib().moshi_session_tap, session, name)

    def ring(self) -> Codes:
        """The token ring, [1 + n_q, length]."""
        n_streams, length = ffi().new("int32_t *"), ffi().new("int32_t *")
        with self.use() as session:
            check(lib().moshi_session_get_ring(session, ffi().NULL, n_streams, length))
            tokens = np.empty((n_streams[0], length[0]), np.int32)
            check(lib().moshi_session_get_ring(session, _out(tokens, "int32_t[]"), n_streams, length))
        return tokens

    def set_ring(self, tokens: Codes) -> None:
        with self.use() as session:
            check(lib().moshi_session_set_ring(session, _in(tokens, "int32_t[]"), *tokens.shape))

    def save(self) -> NDArray[np.uint8]:
        """A snapshot: everything that decides how the conversation goes on."""
        with self.use() as session:
            data = np.empty(lib().moshi_session_snapshot_size(session), np.uint8)
            written = ffi().new("size_t *")
            check(lib().moshi_session_save(session, _out(data, "char[]"), data.nbytes, written))
        return data[: written[0]]

    def restore(self, data: NDArray[np.uint8]) -> None:
        """Goes on from a snapshot. Raises SnapshotError if it is not one of this model and these parameters."""
        with self.use() as session:
            try:
                check(lib().moshi_session_restore(session, _in(data, "char[]"), data.nbytes))
            except (InputError, ModelFormatError, StateError) as error:
                raise SnapshotError(str(error)) from error


def _row(tokens: CData, n: int) -> Codes:
    """A copy: the struct behind it is filled anew by the next frame."""
    return np.frombuffer(ffi().buffer(tokens, n * 4), np.int32).copy()


def _tap(read: Callable[..., int], handle: CData, name: str) -> Floats:
    n, wanted = ffi().new("size_t *"), c_string(name)
    check(read(handle, wanted, ffi().NULL, n))
    values = np.empty(n[0], np.float32)
    check(read(handle, wanted, _out(values, "float[]"), n))
    return values
