"""A conversation as a stereo sound file: the user on the left, the model on the right, frame beside frame.

What stands side by side is what one step heard and said; who listened at the speaker heard the right channel later, by
the delay of the sound devices.

The file is whole at all times. Its header states a length, and libsndfile writes that at the end only; so it is brought
up to date here after every second: a process that is killed leaves a file of which at most the last second is missing,
WAV and FLAC alike (a FLAC's checksum of the whole is then absent, which its format allows). Against a power cut nothing
is done: the system may keep written data in memory for half a minute.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from pymoshi.audio.files import SAMPLE_RATE, WRITABLE, check_writable
from pymoshi.errors import AudioFileError, InputError

if TYPE_CHECKING:
    from pymoshi.conversation.events import FrameRecord

LONGEST_SECONDS: Final = 12 * 3600
"""A WAV file cannot hold 13 hours, and `pymoshi.audio.files` reads 12."""

_FLAC_BLOCK: Final = 4096  # samples that libFLAC encodes at once; the last one is not in the file yet
_WAV_HEADER: Final = 44
_BYTES_PER_SAMPLE: Final = 4  # of both channels


class Recording:
    """A stereo file that grows with a conversation. A context manager; to be used by one thread at a time.

    path: .wav or .flac, 16 bits, 24 kHz; an existing file is replaced.
    Raises InputError for another extension, AudioFileError if the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_writable(self.path)
        self._kind = WRITABLE[self.path.suffix.lower()]
        self._samples = 0
        self._stated = 0
        try:
            self._file = soundfile.SoundFile(self.path, "w", SAMPLE_RATE, 2, "PCM_16", format=self._kind)
            self._header = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be written: {_reason(error)}") from error
        self._closed = False

    @property
    def seconds(self) -> float:
        """How much is recorded."""
        return self._samples / SAMPLE_RATE

    @property
    def full(self) -> bool:
        """Whether it has reached `LONGEST_SECONDS`; what is written after that is left out."""
        return self.seconds >= LONGEST_SECONDS

    def write(self, heard: NDArray[np.float32], said: NDArray[np.float32]) -> None:
        """Appends what the user and the model said at the same time, float32 [n] each; beyond [-1, 1] it is clipped.

        Raises InputError if their lengths differ, AudioFileError if the file cannot be written, e.g. on a full disk.
        """
        if heard.shape != said.shape or heard.ndim != 1:
            raise InputError(f"Both sides must have the same length; found {heard.shape} and {said.shape}.")
        if self.full:
            return
        try:
            self._file.write(np.stack([heard, said], axis=1))
            self._samples += heard.size
            if self._samples - self._stated >= SAMPLE_RATE:
                self._file.flush()
                self._state_length()
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be written: {_reason(error)}") from error

    def add(self, record: "FrameRecord") -> None:
        """The next frame of a conversation: what the model heard, and what was played. Raises AudioFileError."""
        self.write(record.heard, record.played)

    def _state_length(self) -> None:
        """Writes the length so far into the header, where libsndfile has left room for it."""
        if self._kind == "WAV":
            size = self._samples * _BYTES_PER_SAMPLE
            self._put(4, (_WAV_HEADER - 8 + size).to_bytes(4, "little"))
            self._put(_WAV_HEADER - 4, size.to_bytes(4, "little"))
        else:  # the last 36 bits of these 8 bytes; before them rate, channels and bits per sample
            whole = max(0, (self._samples - 1) // _FLAC_BLOCK) * _FLAC_BLOCK
            os.lseek(self._header, 18, os.SEEK_SET)
            stated = int.from_bytes(os.read(self._header, 8), "big")
            self._put(18, (stated >> 36 << 36 | whole).to_bytes(8, "big"))
        self._stated = self._samples

    def _put(self, position: int, content: bytes) -> None:
        os.lseek(self._header, position, os.SEEK_SET)
        os.write(self._header, content)

    def close(self) -> None:
        """Completes the file; closing twice is allowed. Raises AudioFileError."""
        if self._closed:
            return
        self._closed = True
        os.close(self._header)
        try:
            self._file.close()
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be completed: {_reason(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", None) or getattr(error, "strerror", None) or error)
