"""Where a live conversation's sound comes from and goes to: devices, or files and nothing in their place.

`file:PATH` and `null` stand for a device wherever one is named. They keep real time, so that everything is as with a
sound card; `talk --input FILE` without a device is faster than that.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pymoshi.audio import files
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.devices import Direction
from pymoshi.audio.ports import AudioSink, AudioSource, Samples
from pymoshi.audio.signals import FileSink, FileSource, NullSink
from pymoshi.audio.stream import DeviceStream, open_duplex, open_input, open_output

_FILE = "file:"
_NOTHING = "null"


@dataclass(frozen=True, slots=True)
class Ports:
    """What a conversation hears and speaks through. To be closed by it, or by `close`."""

    source: AudioSource
    sink: AudioSink
    source_name: str
    sink_name: str

    def close(self) -> None:
        """Closing twice is allowed."""
        self.source.close()
        self.sink.close()


def named_files(*names: str | None) -> list[Path]:
    """The paths of those that are files."""
    return [Path(name.removeprefix(_FILE)) for name in names if name is not None and name.startswith(_FILE)]


def open_ports(input_device: str | None, output_device: str | None, *, echo_cancel: bool) -> Ports:
    """Opens both; a device that is not there is said before a model is loaded.

    Raises AudioDeviceError, AudioFileError, InputError.
    """
    source = _source(input_device)
    try:
        sink = _sink(output_device)
        stream = _stream(input_device, output_device, source is None, sink is None, echo_cancel)
    except BaseException:
        if source is not None:
            source.close()
        raise
    if stream is not None:  # it is both
        return Ports(
            source or stream,
            sink or stream,
            _name(input_device, stream, Direction.INPUT),
            _name(output_device, stream, Direction.OUTPUT),
        )
    assert source is not None
    assert sink is not None
    return Ports(source, sink, str(input_device), str(output_device))


def _stream(
    input_device: str | None, output_device: str | None, needs_input: bool, needs_output: bool, echo_cancel: bool
) -> DeviceStream | None:
    match needs_input, needs_output:
        case True, True:
            return open_duplex(input_device, output_device, echo_cancel=echo_cancel)
        case True, False:
            return open_input(input_device)
        case False, True:
            return open_output(output_device)
    return None


def _source(name: str | None) -> AudioSource | None:
    """None for a device."""
    if name == _NOTHING:
        return Silence()
    return FileSource(name.removeprefix(_FILE), paced=True) if name is not None and name.startswith(_FILE) else None


def _sink(name: str | None) -> AudioSink | None:
    if name == _NOTHING:
        return NullSink()
    return FileSink(name.removeprefix(_FILE)) if name is not None and name.startswith(_FILE) else None


def _name(asked: str | None, stream: DeviceStream, direction: Direction) -> str:
    device = stream.devices.get(direction)
    return device.name if device is not None else asked or "default"


class Silence:
    """A source without a sound, in real time and without an end."""

    paced = True

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._started: float | None = None
        self._read = 0

    def read(self, n: int, timeout: float) -> Samples | None:
        """Zeros, when they are due."""
        if self._started is None:
            self._started = self._clock.now()
        due = self._started + (self._read + n) / files.SAMPLE_RATE - self._clock.now()
        self._clock.sleep(min(due, timeout))
        if due > timeout:
            return None
        self._read += n
        return np.zeros(n, np.float32)

    def pending(self) -> int:
        """What is overdue."""
        if self._started is None:
            return 0
        return max(0, int((self._clock.now() - self._started) * files.SAMPLE_RATE) - self._read)

    def skip(self, n: int) -> int:
        """Nobody misses it."""
        skipped = min(n, self.pending())
        self._read += skipped
        return skipped

    def close(self) -> None:
        """Nothing to free."""
