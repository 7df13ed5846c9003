"""Where sound comes from and where it goes to: the two protocols that a conversation asks for.

Everything is 24 kHz mono float32 in [-1, 1]. A device, a file, an array, a network peer or an object of your own can be
either; any class with these methods will do, nothing has to be derived from.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class EndOfAudio(Exception):
    """A finite source has nothing more to give. Not an error: it ends a conversation."""


@runtime_checkable
class AudioSource(Protocol):
    """What the model hears. One thread reads.

    A source may have an attribute `paced`: False says that it gives its sound as fast as it is asked for it, so that
    nothing is ever late (a file); it is taken as True.
    """

    def read(self, n: int, timeout: float) -> Samples | None:
        """Exactly n samples, float32 [n], waiting at most `timeout` seconds; None if they are not there by then.

        A finite source fills its last block up with silence. Raises EndOfAudio after that block, AudioDeviceError if
        the device is gone for good (one that may come back returns None, and says so in its `stats`).
        """
        ...

    def pending(self) -> int:
        """Samples that arrived and wait to be read; 0 for a source that makes them when it is asked."""
        ...

    def skip(self, n: int) -> int:
        """Throws away up to n of the oldest that wait. Returns how many."""
        ...

    def close(self) -> None:
        """Frees what the source holds; closing twice is allowed."""
        ...


@runtime_checkable
class AudioSink(Protocol):
    """Where the model's voice goes. One thread writes."""

    def write(self, pcm: Samples) -> None:
        """Takes float32 [n], to be played after what was written before. Never blocks, and keeps no reference."""
        ...

    def queued(self) -> int:
        """Samples that were written and are not played yet; 0 for a sink that does not play."""
        ...

    def clear(self) -> None:
        """Throws away what is queued, fading out: the model was interrupted."""
        ...

    def close(self) -> None:
        """Frees what the sink holds; closing twice is allowed."""
        ...


@dataclass(frozen=True, slots=True)
class PortStats:
    """How a source or a sink fared so far."""

    underruns: int = 0
    """Times that a sink had nothing to play in the middle of sound."""
    overruns: int = 0
    """Blocks that a source had to throw away because nobody read them."""
    xruns: int = 0
    """What the device's driver reported, in either direction."""
    trimmed: int = 0
    """Samples at 24 kHz that a sink left out to keep its queue short."""
    latency: float = 0.0
    """Seconds between the port and the air: driver, device, resampler."""
    lost: bool = False
    """The device is away now; the port looks for it. A source returns None meanwhile, a sink takes and forgets."""
    detail: str = ""
    """What happened last, for a person: "the microphone was unplugged", "the microphone came back"."""


@runtime_checkable
class ReportsStats(Protocol):
    """A source or a sink that can say how it fares. Optional."""

    def stats(self) -> PortStats:
        """The counts so far; cheap, asked once a frame."""
        ...


def stats_of(port: "ReportsStats | object") -> PortStats:
    """What `port` reports, or zeros."""
    report = getattr(port, "stats", None)  # isinstance() of a protocol takes longer than all the rest of a frame
    return PortStats() if report is None else report()
