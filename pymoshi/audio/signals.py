"""Sources and sinks without a sound card: arrays and files, as fast as they are asked or paced in real time."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from pymoshi import arrays
from pymoshi.audio import files
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.ports import EndOfAudio, Samples
from pymoshi.errors import StateError


class ArraySource:
    """A signal as a source.

    pcm: float [n], 24 kHz mono in [-1, 1].
    paced: whether it arrives in real time, from the first `read` on, as a microphone's would; else at once, when asked.
    tail: seconds of silence after it, for the answer.
    """

    def __init__(self, pcm: ArrayLike, *, paced: bool = False, tail: float = 0.0, clock: Clock | None = None) -> None:
        self._pcm = np.pad(arrays.samples(pcm), (0, round(tail * files.SAMPLE_RATE)))
        self._at = 0
        self._clock = clock or SystemClock()
        self.paced = paced
        self._started: float | None = None

    def _arrived(self) -> int:
        """Samples of the signal that have arrived by now; the silence that fills up the last frame counts, too."""
        if self._started is None:
            return 0
        return int((self._clock.now() - self._started) * files.SAMPLE_RATE)

    def read(self, n: int, timeout: float) -> Samples | None:
        if self._at >= self._pcm.size:
            raise EndOfAudio
        if self.paced:
            if self._started is None:
                self._started = self._clock.now()
            due = self._started + (self._at + n) / files.SAMPLE_RATE - self._clock.now()
            self._clock.sleep(min(due, timeout))
            if due > timeout:
                return None
        block = np.zeros(n, np.float32)
        rest = self._pcm[self._at : self._at + n]
        block[: rest.size] = rest
        self._at += n
        return block

    def pending(self) -> int:
        return max(0, self._arrived() - self._at) if self.paced and self._at < self._pcm.size else 0

    def skip(self, n: int) -> int:
        skipped = min(n, self.pending())
        self._at += skipped
        return skipped

    def close(self) -> None:
        self._at = self._pcm.size


class FileSource(ArraySource):
    """A sound file as a source. Raises AudioFileError as `files.read` does."""

    def __init__(self, path: str | Path, *, paced: bool = False, tail: float = 0.0, clock: Clock | None = None) -> None:
        super().__init__(files.read(path), paced=paced, tail=tail, clock=clock)


class NullSink:
    """A sink that plays nothing and keeps nothing. Base of those that do not play."""

    def write(self, pcm: Samples) -> None:
        del pcm

    def queued(self) -> int:
        return 0

    def clear(self) -> None:
        pass

    def close(self) -> None:
        pass


class ArraySink(NullSink):
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self._blocks: list[Samples] = []

    def write(self, pcm: Samples) -> None:
        self._blocks.append(np.array(pcm, np.float32))

    @property
    def pcm(self) -> Samples:
        """All that was written, float32 [n]."""
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)


class FileSink(NullSink):
    """A .wav or .flac file as a sink. Raises InputError, AudioFileError as `files.AudioWriter` does."""

    def __init__(self, path: str | Path) -> None:
        self._writer: files.AudioWriter | None = files.AudioWriter(path)

    def write(self, pcm: Samples) -> None:
        if self._writer is None:
            raise StateError("This file sink is closed.")
        self._writer.write(pcm)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
