"""A microphone and a speaker of your own: here, standard input and output.

    arecord -q -t raw -f S16_LE -r 24000 -c 1 | python own_microphone.py | aplay -q -t raw -f S16_LE -r 24000 -c 1

Whatever has these methods can be a source or a sink: a phone line, a robot, a game. Nothing needs to be derived from.
"""

import os
import stat
import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

import pymoshi
from pymoshi.audio.ports import EndOfAudio
from pymoshi.conversation import TextPiece

Samples = NDArray[np.float32]  # 24 kHz mono in [-1, 1]


class PipeSource:
    """Raw 16-bit samples from standard input. A thread fetches them, so that `read` keeps to its time."""

    def __init__(self) -> None:
        # What comes through a pipe is recorded now, and out of date if it is not fetched in time. A file can wait.
        self.paced = stat.S_ISFIFO(os.fstat(0).st_mode)
        self._samples = np.zeros(0, np.float32)
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._fetch, daemon=True).start()

    def _fetch(self) -> None:
        while data := sys.stdin.buffer.read(2 * 480):  # 20 ms
            with self._changed:
                block = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
                self._samples = np.concatenate([self._samples, block])
                self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()

    def read(self, n: int, timeout: float) -> Samples | None:
        """Exactly n samples, or None if they have not come by then."""
        until = time.monotonic() + timeout
        with self._changed:
            while self._samples.size < n and not self._ended:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    return None
            if self._samples.size == 0:
                raise EndOfAudio
            block, self._samples = self._samples[:n], self._samples[n:]
            return np.pad(block, (0, n - block.size))

    def pending(self) -> int:
        """Samples that wait and grow old; those of a file do not."""
        return self._samples.size if self.paced else 0

    def skip(self, n: int) -> int:
        """The conversation fell behind: the oldest are forgotten."""
        with self._changed:
            skipped = min(n, self._samples.size)
            self._samples = self._samples[skipped:]
            return skipped

    def close(self) -> None:
        """The thread ends with the input."""


class PipeSink:
    """Raw 16-bit samples to standard output. A real one would not block in `write`, but queue; pipes have room."""

    def write(self, pcm: Samples) -> None:
        sys.stdout.buffer.write((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())
        sys.stdout.buffer.flush()

    def queued(self) -> int:
        """Unknown: the pipe does not tell."""
        return 0

    def clear(self) -> None:
        """Nothing can be taken back out of a pipe."""

    def close(self) -> None:
        """Standard output stays open."""


with pymoshi.Conversation("demo", source=PipeSource(), sink=PipeSink(), seed=7) as conversation:
    for event in conversation:
        if isinstance(event, TextPiece):
            print(event.text, end="", flush=True, file=sys.stderr)
