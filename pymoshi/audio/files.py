"""Sound files: any of them in, WAV and FLAC out.

Everything inside pymoshi is mono float32 in [-1, 1] at 24 kHz; this module is where other formats end. Channels are
averaged, as listeners expect of a recording where one speaker is on the left (NVIDIA's script takes the first alone).
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from pymoshi.errors import AudioFileError, InputError

SAMPLE_RATE: Final = 24_000
WRITABLE: Final = {".wav": "WAV", ".flac": "FLAC"}

_BLOCK: Final = 1 << 16  # samples per channel read at a time: bounded memory, and Ctrl-C is answered at once
_LOUDEST: Final = 100.0  # a float file beyond this holds integers, or garbage
_LONGEST_SECONDS: Final = 12 * 3600


def read(path: str | Path, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """A whole file as mono samples.

    path: WAV, FLAC, OGG, MP3 or whatever else libsndfile reads, of any sample rate and number of channels.

    Returns float32 [round(n * sample_rate / the file's rate)], in [-1, 1] but for what a float file exceeds it.
    Raises AudioFileError if the file is missing, a folder, not audio, damaged, empty or longer than 12 hours.
    """
    path = Path(path)
    with _open(path) as file:
        source_rate = int(file.samplerate)
        resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
        parts: list[NDArray[np.float32]] = []
        n_read = 0
        for block in _mono_blocks(file, path):
            n_read += block.size
            if n_read > _LONGEST_SECONDS * source_rate:
                raise AudioFileError(f"{path} is longer than {_LONGEST_SECONDS // 3600} hours; cut it into parts.")
            parts.append(block if source_rate == sample_rate else resampler.resample_chunk(block))
    if n_read == 0:
        raise AudioFileError(f"{path} holds no samples.")
    if source_rate != sample_rate:
        parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    return _exactly(np.concatenate(parts), round(n_read * sample_rate / source_rate))


def _open(path: Path) -> soundfile.SoundFile:
    if not path.exists():
        raise AudioFileError(f"There is no file {path}.")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder; expected a sound file.")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise AudioFileError(f"{path} cannot be read as a sound file: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """libsndfile's own words, without the Python object that soundfile names."""
    return str(getattr(error, "error_string", error))


def _mono_blocks(file: soundfile.SoundFile, path: Path) -> Iterator[NDArray[np.float32]]:
    while True:
        try:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{path} is damaged: {_reason(error)}") from error
        if block.shape[0] == 0:
            return
        mono = block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]
        if not np.abs(mono).max() <= _LOUDEST:  # true for NaN, too
            raise AudioFileError(f"{path} holds NaN, infinity or samples far outside of [-1, 1].")
        yield mono


def _exactly(signal: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """The resampler may end a sample early or late; callers rely on the length."""
    n = max(n, 1)
    return signal[:n] if signal.size >= n else np.concatenate([signal, np.zeros(n - signal.size, np.float32)])


class AudioWriter:
    """A sound file that grows as it is written, and is whole whenever it is closed. A context manager.

    path: .wav or .flac, 16 bits, mono; an existing file is replaced.
    Raises InputError for another extension, AudioFileError if the file cannot be written.
    """

    def __init__(self, path: str | Path, sample_rate: int = SAMPLE_RATE) -> None:
        self.path = Path(path)
        check_writable(self.path)
        self.samples_written = 0
        kind = WRITABLE[self.path.suffix.lower()]
        try:
            self._file = soundfile.SoundFile(self.path, "w", sample_rate, 1, "PCM_16", format=kind)
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be written: {_reason(error)}") from error

    def write(self, pcm: NDArray[np.float32]) -> None:
        """Appends float32 [n]; what exceeds [-1, 1] is clipped. Raises AudioFileError, e.g. on a full disk."""
        try:
            self._file.write(pcm)
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be written: {_reason(error)}") from error
        self.samples_written += pcm.size

    def close(self) -> None:
        """Completes the file's header; closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_writable(path: str | Path) -> None:
    """Raises what `AudioWriter` would, without touching the file: to be asked before a long computation."""
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise InputError(f"{path} must end in {' or '.join(WRITABLE)}: that decides the format.")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder; expected the name of a file to write.")
    if not path.parent.is_dir():
        raise AudioFileError(f"{path} cannot be written: there is no folder {path.parent}.")
