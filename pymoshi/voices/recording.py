"""Makes a voice from a recording: level, whole frames, codec codes."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pymoshi.audio import files as audio_files
from pymoshi.errors import VoiceError
from pymoshi.voices.loudness import normalise
from pymoshi.voices.voice import Voice

__all__ = ["Encoder", "prepare_recording", "voice_from_recording"]

log = logging.getLogger("pymoshi")

SAMPLE_RATE = 24000
FRAME_SIZE = 1920  # 80 ms
LOUDNESS = -24.0  # LUFS, as the voice prompts of PersonaPlex's training
CODEBOOKS = 8
MIN_SECONDS = 0.5  # BS.1770 needs 0.4 s; less holds no voice anyway
LONG_SECONDS = 30.0  # PersonaPlex's own prompts have about 4 s; every second takes 12.5 frames of the context
MAX_SECONDS = 60.0
SILENCE = 1e-4  # peak; a recording below -80 dBFS holds no voice

Encoder = Callable[[NDArray[np.float32]], NDArray[np.int32]]
"""float32 [T], T a multiple of 1920, 24 kHz mono -> int32 [8, T / 1920], from a fresh codec stream."""


def prepare_recording(pcm: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """Brings a recording to -24 LUFS and fills it with zeros to whole frames.

    Args:
        pcm: float32 [T], 24 kHz mono.
        source: what to call it in messages.

    Returns:
        float32 [T'], T' a multiple of 1920. Not clipped: peaks may pass 1.

    Raises:
        VoiceError: too short, too long, silent, or not finite.
    """
    seconds = pcm.size / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise VoiceError(
            f"{source} lasts {seconds:.2f} s; a voice needs at least {MIN_SECONDS} s, best 4 to 10 of speech"
        )
    if seconds > MAX_SECONDS:
        raise VoiceError(
            f"{source} lasts {seconds:.0f} s; a voice takes at most {MAX_SECONDS:.0f}. Cut out 4 to 10 s of speech"
        )
    if seconds > LONG_SECONDS:
        log.warning("%s lasts %.0f s: 4 to 10 s sound as good and leave more of the context", source, seconds)
    if not np.isfinite(pcm).all():
        raise VoiceError(f"{source} holds samples that are not finite numbers; the file is damaged")
    if np.abs(pcm).max() < SILENCE:
        raise VoiceError(f"{source} is silent: no sample is louder than -80 dB. Check the microphone and record again")
    level = normalise(pcm, SAMPLE_RATE, LOUDNESS)
    if level is pcm:
        raise VoiceError(
            f"{source} is too quiet to hear a voice in it (below -70 LUFS). Record again, louder or nearer"
        )
    return np.pad(level, (0, -level.size % FRAME_SIZE))


def voice_from_recording(path: Path, encode: Encoder, *, name: str | None = None, codec: str | None = None) -> Voice:
    """Reads any sound file and encodes it as a voice.

    Raises:
        AudioFileError: the file cannot be read as sound.
        VoiceError: its content cannot be a voice, or the codec does not fit.
    """
    pcm = prepare_recording(audio_files.read(path), str(path))
    codes = np.ascontiguousarray(encode(pcm), dtype=np.int32)
    expected = (CODEBOOKS, pcm.size // FRAME_SIZE)
    if codes.shape != expected:
        raise VoiceError(f"The codec made codes of shape {list(codes.shape)} of {path}; expected {list(expected)}")
    return Voice(name=name or path.stem, source=str(path), codes=codes, codec=codec)
