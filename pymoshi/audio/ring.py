"""A ring buffer between two threads: one writes, one reads, neither ever waits for the other."""

import numpy as np

from pymoshi.audio.ports import Samples


class Ring:
    """Up to `capacity` float32 samples. `write` belongs to one thread, `read_into` and `skip` to another one.

    No lock is needed: each counter has one owner, and is moved only after the samples are in place or copied out.
    """

    def __init__(self, capacity: int) -> None:
        self._buffer = np.zeros(capacity, np.float32)
        self.written = 0
        """Samples ever written; moved by the writer alone."""
        self.consumed = 0
        """Samples ever read or skipped; moved by the reader alone."""

    @property
    def capacity(self) -> int:
        return int(self._buffer.size)

    @property
    def available(self) -> int:
        """Samples that can be read."""
        return self.written - self.consumed

    @property
    def free(self) -> int:
        """Samples that can be written."""
        return self.capacity - self.available

    def write(self, pcm: Samples) -> int:
        """Appends as much of `pcm` [n] as there is room for. Returns how many samples that was."""
        n = min(pcm.size, self.free)
        at = self.written % self.capacity
        first = min(n, self.capacity - at)
        self._buffer[at : at + first] = pcm[:first]
        self._buffer[: n - first] = pcm[first:n]
        self.written += n
        return n

    def read_into(self, out: Samples) -> int:
        """Fills the beginning of `out` [n] with the oldest samples. Returns how many there were."""
        n = min(out.size, self.available)
        at = self.consumed % self.capacity
        first = min(n, self.capacity - at)
        out[:first] = self._buffer[at : at + first]
        out[first:n] = self._buffer[: n - first]
        self.consumed += n
        return n

    def read(self, n: int) -> Samples:
        """The oldest samples, at most n, float32 [<= n]."""
        out = np.empty(min(n, self.available), np.float32)
        self.read_into(out)
        return out

    def skip(self, n: int) -> int:
        """Throws the oldest samples away, at most n. Returns how many."""
        skipped = min(n, self.available)
        self.consumed += skipped
        return skipped
