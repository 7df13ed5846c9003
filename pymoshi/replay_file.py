"""The replay bundle as a file: everything that decided how a conversation went, and how it went.

After a line that says what it is, a bundle consists of chunks, each with a tag of 4 letters, its length and a checksum:

    HEAD  JSON: model, settings, prompt, versions
    VOIC  safetensors: the voice, if there was one
    FRMS  up to 12 frames, compressed: what the model heard, its tokens, a checksum of what it said, milliseconds
    SETS  JSON: sampling that was changed during the conversation, and before which frame
    TAIL  JSON: the number of frames and why it ended

It grows with the conversation. One that has no tail was cut short, by a crash for example; what it has can be read.
A bundle holds the user's voice as the model heard it, sample by sample: whoever gets it can listen to it.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pymoshi.errors import ReplayError

MAGIC: Final = b"pymoshi replay 1\n"
NOTHING: Final = -2  # a token that is not there yet
FRAMES_PER_CHUNK: Final = 12  # about a second

_CHUNK: Final = struct.Struct("<4sII")
_LONGEST: Final = {b"HEAD": 1 << 20, b"VOIC": 128 << 20, b"FRMS": 8 << 20, b"SETS": 1 << 12, b"TAIL": 1 << 16}
_MOST_FRAMES: Final = 12 * 3600 * 25 // 2  # 12 hours
_MOST_STREAMS: Final = 64
_LARGEST_FRAME: Final = 1 << 16

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a frame, which the model decides."""

    frame_size: int
    n_agent: int
    n_user: int

    @property
    def numbers(self) -> np.dtype[Any]:
        """All of a frame but its samples."""
        return np.dtype(
            [
                ("text_token", "<i4"),
                ("forced_text", "<i4"),
                ("codes", "<i4", (self.n_agent,)),
                ("user_codes", "<i4", (self.n_user,)),
                ("said", "<u4"),
                ("milliseconds", "<f4", (5,)),
            ]
        )


@dataclass(frozen=True, slots=True, eq=False)
class ReplayFrame:
    """One frame of a bundle."""

    heard: NDArray[np.float32]
    text_token: int
    """`NOTHING` while the delays fill, as are the codes."""
    forced_text: int
    """`NOTHING` if the text was the model's own."""
    codes: NDArray[np.int32]
    user_codes: NDArray[np.int32]
    said: int
    """CRC-32 of the model's voice, its samples as little-endian float32."""
    milliseconds: tuple[float, ...]
    """encode, language model, decode, all of the step, backlog: for whoever looks for the reason of a stutter."""


class BundleWriter:
    """A bundle that grows. A context manager.

    Raises ReplayError if the file cannot be written.
    """

    def __init__(self, path: str | Path, shape: Shape, head: Json, voice: bytes | None = None) -> None:
        self.path = Path(path)
        self.shape = shape
        self._waiting: list[ReplayFrame] = []
        self.n_frames = 0
        try:
            self._file: IO[bytes] | None = self.path.open("wb", buffering=0)
        except OSError as error:
            raise ReplayError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            self._write(MAGIC)
            sizes = {"frame_size": shape.frame_size, "n_agent": shape.n_agent, "n_user": shape.n_user}
            self._chunk(b"HEAD", json.dumps(head | {"shape": sizes}).encode())
            if voice is not None:
                self._chunk(b"VOIC", voice)
        except BaseException:
            self._close_file()
            raise

    def add(self, frame: ReplayFrame) -> None:
        """The next frame. Raises ReplayError, e.g. on a full disk."""
        self._waiting.append(frame)
        self.n_frames += 1
        if len(self._waiting) == FRAMES_PER_CHUNK:
            self._flush()

    def change_sampling(self, sampling: Mapping[str, float]) -> None:
        """From the next frame on. Raises ReplayError."""
        self._flush()
        self._chunk(b"SETS", json.dumps({"frame": self.n_frames, "sampling": dict(sampling)}).encode())

    def finish(self, reason: str) -> None:
        """Completes the file; what comes after is left out. Raises ReplayError."""
        if self._file is None:
            return
        try:
            self._flush()
            self._chunk(b"TAIL", json.dumps({"frames": self.n_frames, "reason": reason}).encode())
        finally:
            self._close_file()

    def _flush(self) -> None:
        if not self._waiting:
            return
        frames, self._waiting = self._waiting, []
        numbers = np.zeros(len(frames), self.shape.numbers)
        for row, frame in zip(numbers, frames, strict=True):
            for name in self.shape.numbers.names or ():
                row[name] = getattr(frame, name)
        heard = np.stack([frame.heard for frame in frames]).astype("<f4")
        # Bytes of equal rank beside each other: a microphone's samples have 16 bits, and the others compress well.
        ranks = np.ascontiguousarray(heard.view(np.uint8).reshape(-1, 4).T)
        packed = zlib.compress(numbers.tobytes() + ranks.tobytes(), 1)
        self._chunk(b"FRMS", struct.pack("<I", len(frames)) + packed)

    def _chunk(self, tag: bytes, payload: bytes) -> None:
        self._write(_CHUNK.pack(tag, len(payload), zlib.crc32(payload, zlib.crc32(tag))) + payload)

    def _write(self, content: bytes) -> None:
        if self._file is None:
            return
        try:
            view = memoryview(content)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise ReplayError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish("done" if kind is None else kind.__name__)


class BundleReader:
    """A bundle, checked as it is read: no length, size or number in it is trusted. A context manager.

    Raises ReplayError if the file is missing, no bundle, of another version, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise ReplayError(f"{self.path} cannot be read: {error.strerror}.") from error
        try:
            if self._read(len(MAGIC)) != MAGIC:
                raise ReplayError(f"{self.path} is no replay bundle, or one of another version of pymoshi.")
            tag, payload = self._next() or (b"", b"")
            if tag != b"HEAD":
                raise self._damaged("it does not begin with a head")
            self.head = self._json(payload)
            self.shape = self._shape_of(self.head)
            self.voice: bytes | None = None
            """The voice as safetensors; None without one."""
            self._first = self._file.tell()
            following = self._next()
            if following is not None and following[0] == b"VOIC":
                self.voice = following[1]
                self._first = self._file.tell()
        except OSError as error:
            self._file.close()
            raise ReplayError(f"{self.path} cannot be read: {error.strerror}.") from error
        except BaseException:
            self._file.close()
            raise
        self.tail: Json | None = None
        """What the writer said at the end; None before the end is read, and for a bundle that was cut short."""

    def entries(self) -> Iterator[ReplayFrame | dict[str, float]]:
        """Frames, and sampling where it changed, from the first. Raises ReplayError where it is damaged.

        Sets `tail`, unless the bundle was cut short.
        """
        self._file.seek(self._first)
        self.tail, n_frames = None, 0
        while (chunk := self._next()) is not None:
            match chunk:
                case b"FRMS", payload:
                    for frame in self._frames(payload):
                        n_frames += 1
                        yield frame
                case b"SETS", payload:
                    yield self._sampling(payload, n_frames)
                case b"TAIL", payload:
                    self.tail = self._json(payload)
                    if self.tail.get("frames") != n_frames or self._file.read(1):
                        raise self._damaged("its tail does not agree with what is before it")
                    return
                case tag, _:
                    raise self._damaged(f"it has a part {tag!r} where none belongs")
            if n_frames > _MOST_FRAMES:
                raise self._damaged("it is longer than 12 hours")

    def _next(self) -> tuple[bytes, bytes] | None:
        """Tag and payload; None at the end of the file, and where a part was cut short."""
        first = self._read(_CHUNK.size)
        if len(first) < _CHUNK.size:
            return None
        tag, size, checksum = _CHUNK.unpack(first)
        if size > _LONGEST.get(tag, -1):
            raise self._damaged(f"it has a part {tag!r} of {size} bytes")
        payload = self._read(size)
        if len(payload) < size:
            return None
        if zlib.crc32(payload, zlib.crc32(tag)) != checksum:
            raise self._damaged("a checksum is wrong")
        return tag, payload

    def _read(self, n: int) -> bytes:
        try:
            return self._file.read(n)
        except OSError as error:
            raise ReplayError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _frames(self, payload: bytes) -> Iterator[ReplayFrame]:
        kind, size = self.shape.numbers, self.shape.frame_size
        count = int.from_bytes(payload[:4], "little")
        if len(payload) < 4 or not 1 <= count <= FRAMES_PER_CHUNK:
            raise self._damaged(f"it has {count} frames in one part")
        expected = count * (kind.itemsize + 4 * size)
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(payload[4:], expected + 1)  # never more, whatever it would become
        except zlib.error as error:
            raise self._damaged("a part cannot be decompressed") from error
        if len(content) != expected or not unpacker.eof or unpacker.unused_data:
            raise self._damaged("a part has not the size of its frames")
        numbers = np.frombuffer(content, kind, count)
        ranks = np.frombuffer(content, np.uint8, offset=count * kind.itemsize).reshape(4, -1)
        heard = np.ascontiguousarray(ranks.T).view("<f4").reshape(count, size).astype(np.float32, copy=False)
        for row, samples in zip(numbers, heard, strict=True):
            yield ReplayFrame(
                heard=samples,
                text_token=int(row["text_token"]),
                forced_text=int(row["forced_text"]),
                codes=row["codes"].astype(np.int32),
                user_codes=row["user_codes"].astype(np.int32),
                said=int(row["said"]),
                milliseconds=tuple(float(value) for value in row["milliseconds"]),
            )

    def _sampling(self, payload: bytes, n_frames: int) -> dict[str, float]:
        change = self._json(payload)
        sampling = change.get("sampling")
        if change.get("frame") != n_frames or not isinstance(sampling, dict):
            raise self._damaged("a change of the sampling is not where it says")
        return sampling

    def _json(self, payload: bytes) -> Json:
        try:
            content = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise self._damaged("what it says of itself cannot be read") from error
        if not isinstance(content, dict):
            raise self._damaged("what it says of itself cannot be read")
        return content

    def _shape_of(self, head: Json) -> Shape:
        sizes = head.get("shape")
        if not isinstance(sizes, dict) or sizes.keys() != {"frame_size", "n_agent", "n_user"}:
            raise self._damaged("it does not say the sizes of its frames")
        limits = {"frame_size": _LARGEST_FRAME, "n_agent": _MOST_STREAMS, "n_user": _MOST_STREAMS}
        for name, most in limits.items():
            if type(sizes[name]) is not int or not 1 <= sizes[name] <= most:
                raise self._damaged(f"its {name} is {sizes[name]!r:.40}")
        return Shape(**sizes)

    def _damaged(self, what: str) -> ReplayError:
        return ReplayError(f"The replay bundle {self.path} is damaged: {what}.")

    def close(self) -> None:
        """Closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
