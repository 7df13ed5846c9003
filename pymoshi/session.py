"""A session: one conversation, frame by frame."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymoshi import _native, arrays
from pymoshi.errors import InputError, UnsupportedModelError
from pymoshi.mimi import WINDOWS
from pymoshi.options import HOTTEST, LARGEST_TOP_K, real, whole
from pymoshi.snapshot import Snapshot

if TYPE_CHECKING:
    from pymoshi.model import Model

KvType = Literal["f16", "f32", "q8_0", "bf16"]
KV_TYPES: Final[dict[str, int]] = {"f16": 0, "f32": 1, "q8_0": 2, "bf16": 3}  # moshi_kv_type

TOKEN_NONE: Final = -2  # MOSHI_TOKEN_NONE: nothing here yet


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What one step of 80 ms brought."""

    audio: NDArray[np.float32]
    """The model's voice, [frame_size]; zeros while the delays fill."""
    text: str
    """What this frame adds to the text; a piece of a word with its leading space, mostly ""."""
    text_token: int | None
    """None while the delays fill."""
    codes: NDArray[np.int32] | None
    """The model's audio codes, [n_agent]; None while the delays fill."""
    user_codes: NDArray[np.int32]
    """What the codec heard, [n_user]."""
    index: int
    """Frames since the start or the last reset; the first is 0. Times 80 ms it is this frame's place in the audio."""
    encode_ms: float
    """Wall time of the codec's encoder, and of the language model and the codec's decoder below."""
    lm_ms: float
    decode_ms: float


class Session:
    """One conversation. Made by `Model.session`. A context manager; one call at a time, from any thread."""

    def __init__(self, native: _native.NativeSession, model: "Model", start: NDArray[np.uint8] | None = None) -> None:
        self._native = native
        self.model = model
        self._start = start
        """The engine's state after voice and prompt, where `reset` goes back to; None if there are none."""
        self.seed = int(native.params["seed"])
        """Of the session's random numbers: the same seed and input give the same conversation on one type of device."""
        self._index = 0
        self._text = model.tokenizer.stream() if model.tokenizer else None

    @property
    def sampling(self) -> dict[str, float]:
        """temperature, top_k, text_temperature and text_top_k as they are now."""
        names = ("temperature", "top_k", "text_temperature", "text_top_k")
        return {name: self._native.params[name] for name in names}

    @property
    def context(self) -> int:
        """Frames of 80 ms that the model remembers."""
        return int(self._native.params["context"]) or self.model.info.context

    @property
    def settings(self) -> dict[str, Any]:
        """What `Model.session` was given besides voice, prompt and progress, as it is now: enough to begin alike."""
        params = self._native.params
        return {
            "seed": self.seed,
            **self.sampling,
            "context": self.context,
            "kv_type": _name_of(params["kv_type"], KV_TYPES),
            "flash": bool(params["flash"]),
            "window": _name_of(params["window"], WINDOWS),
            "depformer_steps": int(params["depformer_steps"]) or None,
        }

    @property
    def offset(self) -> int:
        """Frames since the start, those of voice and prompt included."""
        return self._native.offset()

    def step(self, pcm: ArrayLike) -> Frame:
        """Hears one frame and says one.

        pcm: float [frame_size], mono, 24 kHz, in [-1, 1]; float32 is passed on without a copy.

        Raises InputError for anything else, UnsupportedModelError if the model was loaded without a codec,
        StateError if the session is closed or in use by another thread.
        """
        info = self.model.info
        if not info.has_mimi:
            raise UnsupportedModelError(
                f"{self.model.name} was loaded without a Mimi codec: use step_codes, or load(mimi=...)."
            )
        heard = arrays.samples(pcm)
        if heard.size != info.frame_size:
            raise InputError(f"One frame is {info.frame_size} samples; found {heard.size}.")
        audio = np.empty(info.frame_size, np.float32)
        result = self._native.step(heard, audio)
        token, codes = result["text_token"], result["codes"]
        frame = Frame(
            audio=audio,
            text=self._piece(token),
            text_token=None if token == TOKEN_NONE else token,
            codes=codes if codes.size else None,
            user_codes=result["user_codes"],
            index=self._index,
            encode_ms=result["encode_ms"],
            lm_ms=result["lm_ms"],
            decode_ms=result["decode_ms"],
        )
        self._index += 1
        return frame

    def step_codes(self, user_codes: ArrayLike) -> tuple[int, NDArray[np.int32]] | None:
        """One frame of tokens, without the codec.

        user_codes: integers [n_user].

        Returns (text token, audio codes int32 [dep_q]) aligned with each other, or None while the delays fill.
        PersonaPlex predicts the user's streams, too: the first n_agent codes are the model's.
        Raises InputError, StateError (closed, or in use by another thread).
        """
        info = self.model.info
        heard = arrays.codes(user_codes, info.card, "user_codes")
        if heard.shape != (info.n_user,):
            raise InputError(f"user_codes must have the shape ({info.n_user},); found {heard.shape}.")
        tokens = self._native.step_codes(heard, 1 + info.n_q)
        self._index += 1
        if tokens.size == 0 or (tokens == TOKEN_NONE).all():
            return None
        return int(tokens[0]), tokens[1:]

    def force_text(self, token: int | None) -> None:
        """Experimental: the text token of the next frame is this one instead of a sample, and the voice follows it.

        token: 0 to text_card - 1; None takes back what was to be forced. One token a frame, so this is called before
        every step that shall be forced; `pymoshi.forced_text` lays out text as tokens. Nothing else changes: later
        frames draw the random numbers that they would have drawn. Snapshots and forks keep a token that waits.
        `Frame.text_token` shows it when its audio comes, after the delays: with Moshi's, one frame later.

        How well the model says what it is made to write is up to the model. Against its own mind it may mumble.

        Raises InputError, StateError (closed, or in use by another thread).
        """
        top = self.model.info.text_card - 1
        self._native.force_text(TOKEN_NONE if token is None else int(whole("token", token, 0, top)))

    def run(self, frames: Iterable[ArrayLike]) -> Iterator[Frame]:
        """`step` for each of `frames`, as they come."""
        for pcm in frames:
            yield self.step(pcm)

    def reset(self, seed: int | None = None) -> None:
        """Begins anew, exactly as a new session with this seed, the same voice and prompt; None keeps the seed.

        The sampling stays as it is. Raises InputError, StateError (closed, or in use by another thread).
        """
        fresh = self.seed if seed is None else whole("seed", seed, 0, 2**64 - 1)
        if self._start is None:
            self._native.reset(fresh)
        else:
            self._continue(self._start, fresh)
        self.seed = fresh
        self._index = 0
        self._text = self.model.tokenizer.stream() if self.model.tokenizer else None

    def set_sampling(
        self,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        text_temperature: float | None = None,
        text_top_k: int | None = None,
    ) -> None:
        """Changes how the next frames are drawn; None leaves a setting as it is. See `Model.session`.

        Raises InputError, StateError (closed, or in use by another thread).
        """
        asked = {
            "temperature": temperature,
            "top_k": top_k,
            "text_temperature": text_temperature,
            "text_top_k": text_top_k,
        }
        self._draw_by(self.sampling | _checked_sampling(asked))

    def _draw_by(self, sampling: dict[str, float]) -> None:
        self._native.set_sampling(
            sampling["temperature"], int(sampling["top_k"]), sampling["text_temperature"], int(sampling["text_top_k"])
        )
        self._native.params.update(sampling)

    def snapshot(self) -> Snapshot:
        """This moment of the conversation. Raises StateError (closed, or in use by another thread)."""
        pending = self._text.pending if self._text else b""
        return Snapshot(self._native.save(), self._index, self.seed, self.sampling, pending)

    def save(self, path: str | Path) -> None:
        """Keeps this moment of the conversation in a file. Raises SnapshotError, StateError."""
        self.snapshot().write(path)

    def restore(self, snapshot: str | Path | Snapshot) -> None:
        """Goes on from a moment that was saved, by this session or another one.

        Raises SnapshotError if the snapshot is damaged, or of another model, context, kv_type or window;
        InputError for sampling that cannot be; StateError (closed, or in use by another thread).
        """
        moment = snapshot if isinstance(snapshot, Snapshot) else Snapshot.read(snapshot)
        seed = whole("seed", moment.seed, 0, 2**64 - 1)
        sampling = self.sampling | _checked_sampling(moment.sampling)  # before anything changes
        self._native.restore(moment.data)
        self._draw_by(sampling)
        self.seed, self._index = seed, moment.index
        self._text = self.model.tokenizer.stream(moment.text) if self.model.tokenizer else None

    def _continue(self, state: NDArray[np.uint8], seed: int) -> None:
        """Goes on from a state of the engine with this session's sampling, whatever was in use when it was kept."""
        sampling = self.sampling
        self._native.restore(state)
        self._native.set_seed(seed)
        self._draw_by(sampling)

    def fork(self) -> "Session":
        """A second session that goes on from here, on its own. Raises OutOfMemoryError, StateError."""
        moment = self.snapshot()
        twin = Session(self._native.twin(), self.model, self._start)
        try:
            twin.restore(moment)
        except BaseException:
            twin.close()
            raise
        return twin

    def tap(self, name: str) -> NDArray[np.float32]:
        """An intermediate result of the last step, flat; see moshi_session_tap in moshi.h for the names.

        Raises InputError for an unknown name, or if the session was made without taps.
        """
        return self._native.tap(name)

    def _piece(self, token: int) -> str:
        return self._text.push(token) if self._text and token >= 0 else ""

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Frees the session's memory; closing twice is allowed."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _name_of(number: int, names: Mapping[str, int]) -> str:
    return next(name for name, value in names.items() if value == number)


def _checked_sampling(asked: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are asked for, in the types that C wants. Raises InputError that names the wrong one."""
    fits: list[tuple[str, Callable[..., float], float]] = [
        ("temperature", real, HOTTEST),
        ("top_k", whole, LARGEST_TOP_K),
        ("text_temperature", real, HOTTEST),
        ("text_top_k", whole, LARGEST_TOP_K),
    ]
    return {name: fit(name, asked[name], 0, high) for name, fit, high in fits if asked.get(name) is not None}
