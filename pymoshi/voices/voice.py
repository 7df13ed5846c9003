"""`Voice`: what a conversation needs to start in somebody's voice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import VoiceError

__all__ = ["MAX_FRAMES", "Voice", "voice_from_arrays"]

MAX_FRAMES = 1500  # 2 minutes of 80 ms frames; published voices have about 50
MAX_DIM = 65536  # far above any model of the family (4096)
MAX_STREAMS = 65  # text + moshi.h's MOSHI_MAX_CODEBOOKS
MAX_RING = 256  # steps; PersonaPlex has 4


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A voice in one of the two forms that PersonaPlex takes: model embeddings with a token ring, or codec codes.

    Attributes:
        name: what the user called it.
        source: where it came from, for people ("voices/NATF2.gguf").
        embeddings: float32 [N, dim], one summed input embedding per 80 ms frame, or None.
        cache: int32 [streams, steps], the token ring to put back after the embeddings (PersonaPlex: [17, 4]), or None.
        codes: int32 [8, F], Mimi codes of a recording, or None.
        codec: fingerprint of the codec that made `codes`; None if unknown.
    """

    name: str
    source: str
    embeddings: NDArray[np.float32] | None = None
    cache: NDArray[np.int32] | None = None
    codes: NDArray[np.int32] | None = None
    codec: str | None = None

    @property
    def n_frames(self) -> int:
        """Length in frames of 80 ms."""
        if self.embeddings is not None:
            return int(self.embeddings.shape[0])
        return int(self.codes.shape[1]) if self.codes is not None else 0


def voice_from_arrays(name: str, source: str, embeddings: NDArray[np.float32], cache: NDArray[np.integer]) -> Voice:
    """Builds a voice from the two tensors of a voice file, after checking them.

    Args:
        embeddings: [N, dim] or [N, 1, 1, dim], finite.
        cache: [streams, steps] or [1, streams, steps], integers.

    Raises:
        VoiceError: a shape, a size or a value is not that of a voice.
    """
    shape = embeddings.shape
    if not (len(shape) == 2 or (len(shape) == 4 and shape[1:3] == (1, 1))):
        raise VoiceError(f"{source}: `embeddings` has shape {list(shape)}; a voice has [frames, 1, 1, dim]")
    frames, dim = shape[0], shape[-1]
    if not (1 <= frames <= MAX_FRAMES and 1 <= dim <= MAX_DIM):
        raise VoiceError(
            f"{source}: `embeddings` holds {frames} frames of {dim} values; expected 1..{MAX_FRAMES} of 1..{MAX_DIM}"
        )
    if not np.isfinite(embeddings).all():
        raise VoiceError(f"{source}: `embeddings` holds values that are not finite; the file is damaged")
    ring = cache.shape[1:] if cache.ndim == 3 and cache.shape[0] == 1 else cache.shape
    if len(ring) != 2 or not (2 <= ring[0] <= MAX_STREAMS and 2 <= ring[1] <= MAX_RING):
        raise VoiceError(f"{source}: `cache` has shape {list(cache.shape)}; a voice has [1, streams, steps]")
    if cache.min() < -2 or cache.max() >= 2**20:
        raise VoiceError(f"{source}: `cache` holds numbers that are no tokens ({cache.min()}..{cache.max()})")
    return Voice(
        name=name,
        source=source,
        embeddings=np.ascontiguousarray(embeddings.reshape(frames, dim), dtype=np.float32),
        cache=np.ascontiguousarray(cache.reshape(ring), dtype=np.int32),
    )
