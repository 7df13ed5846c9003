"""Frames of a model and how long each of their stages takes: of a conversation, of tokens alone, of a codec alone."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pymoshi.bench.traffic import codebooks_of
from pymoshi.mimi import MimiStream
from pymoshi.model import Model
from pymoshi.session import KvType, Session

#: Milliseconds of each measured frame by stage: "encode", "lm", "decode" as far as there are, and "frame", all of it.
Times = dict[str, list[float]]

WARM_UP: Final = 8
"""Frames that do not count: graphs are built, delays fill, threads and clocks wake up."""

_NOISE: Final = 0.1  # of full scale


class Run(ABC):
    """Something that computes frames."""

    context: int = 0
    """Frames that it remembers; 0 if none."""

    @abstractmethod
    def frame(self) -> dict[str, float]:
        """Computes one, and tells the milliseconds of its stages."""

    @abstractmethod
    def fill(self, frames: int, progress: Callable[[float], None]) -> None:
        """Lets it remember so many frames, where it remembers any."""

    def remembered(self, fill: int, frames: int) -> float:
        """Frames in its memory, on the average of the measured ones."""
        first = fill + WARM_UP + 1
        return float(np.minimum(np.arange(first, first + frames), self.context).mean())

    def measure(self, frames: int, progress: Callable[[float], None]) -> Times:
        """Runs as many frames, after some that do not count."""
        times: Times = {}
        for index in range(-WARM_UP, frames):
            start = time.perf_counter()
            stages = self.frame()
            stages["frame"] = 1000 * (time.perf_counter() - start)
            if index >= 0:
                for stage, ms in stages.items():
                    times.setdefault(stage, []).append(ms)
            progress((index + WARM_UP + 1) / (frames + WARM_UP))
        return times


class _Conversation(Run):
    """Noise in, sound out."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.context = session.context
        self._draw = np.random.default_rng(0)
        self._answers = session.model.info.n_agent > 0

    def fill(self, frames: int, progress: Callable[[float], None]) -> None:
        """Computes a prompt of nothing in particular."""
        if frames:
            tokens = random_tokens(self._session.model, frames)
            self._session._native.prefill(tokens, None, progress)

    def frame(self) -> dict[str, float]:
        size = self._session.model.frame_size
        found = self._session.step(self._draw.uniform(-_NOISE, _NOISE, size).astype(np.float32))
        times = {"encode": found.encode_ms, "lm": found.lm_ms}
        return times | ({"decode": found.decode_ms} if self._answers else {})


class _Tokens(_Conversation):
    """Tokens in, tokens out: a language model without a codec."""

    def frame(self) -> dict[str, float]:
        info = self._session.model.info
        heard = self._draw.integers(0, info.card, info.n_user).astype(np.int32)
        start = time.perf_counter()
        self._session.step_codes(heard)
        return {"lm": 1000 * (time.perf_counter() - start)}


class _Codec(Run):
    """Noise in, codes, noise out."""

    def __init__(self, model: Model, stream: MimiStream) -> None:
        self._size = model.frame_size
        self._stream = stream
        self._draw = np.random.default_rng(0)

    def fill(self, frames: int, progress: Callable[[float], None]) -> None:
        """Nothing: what a codec remembers is full within the frames that warm it up, or nearly so."""

    def frame(self) -> dict[str, float]:
        noise = self._draw.uniform(-_NOISE, _NOISE, self._size).astype(np.float32)
        start = time.perf_counter()
        codes = self._stream.encode(noise)
        encoded = time.perf_counter()
        self._stream.decode(codes)
        return {"encode": 1000 * (encoded - start), "decode": 1000 * (time.perf_counter() - encoded)}


@contextmanager
def runner_for(
    model: Model, context: int | None, kv_type: KvType, progress: Callable[[float], None] | None = None
) -> Iterator[Run]:
    """What runs this model's frames, for the duration of a `with`. Raises InputError, OutOfMemoryError."""
    if not model.info.has_lm:
        with model.mimi.stream(codebooks_of(model)) as stream:
            yield _Codec(model, stream)
        return
    with model.session(seed=0, context=context, kv_type=kv_type, cache=False, progress=progress) as session:
        session._native.reset(0)  # without voice and prompt, that the memory holds just what is asked for
        yield _Conversation(session) if model.info.has_mimi else _Tokens(session)


def random_tokens(model: Model, frames: int) -> NDArray[np.int32]:
    """[frames, 1 + n_q]: a prompt of nothing in particular."""
    draw, info = np.random.default_rng(1), model.info
    text: NDArray[Any] = draw.integers(0, info.text_card, (frames, 1))
    return np.hstack([text, draw.integers(0, info.card, (frames, info.n_q))]).astype(np.int32)
