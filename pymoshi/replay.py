"""Replay: a conversation is kept in one file, and run again to see whether it comes out bit by bit the same.

The bundle (see `pymoshi.replay_file`) has the sound as the model heard it, after muting, echo cancelling and shedding,
so nothing of the audio devices is needed. Seed, sampling, forced text, voice and prompt are in it; the model is not.
The same weights on the same kind of device give the same bits; other processors and other versions may round otherwise.
"""

import platform
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

import pymoshi
from pymoshi import _native
from pymoshi.errors import ReplayError, VoiceError
from pymoshi.mimi import Window
from pymoshi.replay_file import NOTHING, BundleReader, BundleWriter, Json, ReplayFrame, Shape
from pymoshi.voices import Voice
from pymoshi.voices.recording import voice_from_recording
from pymoshi.voices.voice import voice_from_arrays

if TYPE_CHECKING:
    from pymoshi.conversation.events import FrameRecord
    from pymoshi.model import Model
    from pymoshi.session import Frame, Session

_SAMPLING: Final = {"temperature", "top_k", "text_temperature", "text_top_k"}
_SETTINGS: Final = _SAMPLING | {"seed", "context", "kv_type", "flash", "window", "depformer_steps"}


class ReplayWriter:
    """Writes a bundle beside a conversation. A context manager; to be used by one thread at a time.

    path: an existing file is replaced.
    session: that of the conversation, before its first frame.
    voice, prompt: what `Model.session` was given.

    Raises ReplayError if the file cannot be written, or if the session has begun already.
    """

    def __init__(
        self,
        path: str | Path,
        session: "Session",
        *,
        voice: "Voice | str | Path | None" = None,
        prompt: str | None = None,
    ) -> None:
        spoken = resolve_voice(session.model, voice, session.settings["window"])
        info = session.model.info
        self._session = session
        self._sampling = session.sampling
        self._file = BundleWriter(
            path,
            Shape(info.frame_size, info.n_agent, info.n_user),
            _head(session, spoken, prompt or ""),
            None if spoken is None else _pack(spoken),
        )

    def add(self, record: "FrameRecord") -> None:
        """The next frame. Raises ReplayError, e.g. on a full disk."""
        if (sampling := self._session.sampling) != self._sampling:
            self._file.change_sampling(sampling)
            self._sampling = sampling
        silent = np.full(self._file.shape.n_agent, NOTHING, np.int32)
        self._file.add(
            ReplayFrame(
                heard=record.heard.copy(),
                text_token=NOTHING if record.text_token is None else record.text_token,
                forced_text=NOTHING if record.forced_text is None else record.forced_text,
                codes=silent if record.codes is None else record.codes,
                user_codes=record.user_codes,
                said=_checksum(record.said),
                milliseconds=(record.encode_ms, record.lm_ms, record.decode_ms, record.step_ms, record.backlog_ms),
            )
        )

    def close(self, reason: str = "ended") -> None:
        """Completes the bundle; closing twice is allowed. Raises ReplayError."""
        self._file.finish(reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close("ended" if kind is None else kind.__name__)


def resolve_voice(model: "Model", voice: "Voice | str | Path | None", window: Window = "modern") -> Voice | None:
    """The voice as arrays, whatever it was named by; a recording is encoded as the session does.

    Raises VoiceError, AudioFileError.
    """
    from pymoshi.priming import find_voice

    if isinstance(voice, str | Path):
        voice = find_voice(model, voice)
    if isinstance(voice, Path):
        return voice_from_recording(voice, lambda pcm: model.mimi.encode(pcm, model.info.n_agent, window=window))
    return voice


def _head(session: "Session", voice: Voice | None, prompt: str) -> Json:
    model, info = session.model, session.model.info
    if session.offset and not model.has_personas:
        raise ReplayError("A replay begins with the conversation: this session has computed frames already.")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pymoshi": pymoshi.__version__,
        "engine": list(_native.versions()),
        "system": f"{platform.system()} {platform.machine()}",
        "model": {
            "name": model.name,
            "type": info.model_type,
            "weights": info.weight_type,
            "fingerprint": f"{info.fingerprint:016x}",
        },
        "device": info.device,
        "processor": _processor(info.device),
        "threads": info.n_threads,
        "voice": voice.name if voice else "",
        "prompt": prompt,
        "settings": session.settings,
    }


def _processor(device: str) -> str:
    return next((found.description for found in pymoshi.devices() if found.name == device), "")


def _pack(voice: Voice) -> bytes:
    arrays = {"embeddings": voice.embeddings, "cache": voice.cache, "codes": voice.codes}
    return bytes(safetensors.numpy.save({name: array for name, array in arrays.items() if array is not None}))


def _unpack(packed: bytes, bundle: BundleReader) -> Voice:
    name, source = str(bundle.head.get("voice")), str(bundle.path)
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(packed)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ReplayError(f"The voice in {bundle.path} is damaged: {error}.") from error
    match arrays:
        case {"embeddings": embeddings, "cache": cache} if embeddings.dtype == np.float32 and cache.dtype == np.int32:
            try:
                return voice_from_arrays(name, source, embeddings, cache)
            except VoiceError as error:
                raise ReplayError(f"The voice in {bundle.path} is damaged: {error}.") from error
        case {"codes": codes} if codes.dtype == np.int32 and codes.ndim == 2:
            return Voice(name, source, codes=codes)
    raise ReplayError(f"The voice in {bundle.path} is damaged: it has neither embeddings nor codes.")


@dataclass(slots=True)
class ReplayResult:
    """Whether a conversation came out as it went the first time."""

    frames: int = 0
    reason: str = ""
    """Why it ended then; "cut short" if the bundle has no end."""
    first_difference: int | None = None
    """The frame, counted from 0; from there on a conversation goes its own way."""
    differing: dict[str, int] = field(default_factory=lambda: {"user_codes": 0, "text": 0, "codes": 0, "audio": 0})
    """In how many frames, of each kind."""
    text: str = ""
    """What was said this time."""
    notes: list[str] = field(default_factory=list)
    """What was not the same before it began: versions, processor."""

    @property
    def equal(self) -> bool:
        """Bit by bit: what was heard as codes, text, codes and sound."""
        return self.first_difference is None


def read_head(path: str | Path) -> Json:
    """What a bundle says of itself: model, settings, prompt, versions. Raises ReplayError."""
    with BundleReader(path) as bundle:
        return bundle.head


def model_of(path: str | Path) -> tuple[str, str, int]:
    """Model, device and threads that a bundle asks for, as `load` takes them.

    Raises ReplayError for a bundle that is damaged, or names a file: that says nothing on another machine.
    """
    head = read_head(path)
    match head:
        case {"model": {"name": str(name)}, "device": str(device), "threads": int(threads)} if 1 <= threads <= 1024:
            # A bundle must not choose a file of this machine.
            if not name or name != Path(name).name or not name.isprintable():
                raise ReplayError(f"The replay bundle {path} names no model: {_short(name)!r}. Name it with --model.")
            return name, device, threads
    raise ReplayError(f"The replay bundle {path} is damaged: it does not say which model spoke.")


def replay(
    path: str | Path,
    model: "Model",
    *,
    partial: bool = False,
    on_frame: "Callable[[NDArray[np.float32], Frame], object] | None" = None,
    progress: Callable[[float], bool | None] | None = None,
) -> ReplayResult:
    """Runs a conversation again and compares each frame.

    model: the one that spoke, loaded on the same kind of device.
    partial: also run a bundle that was cut short, as far as it goes.
    on_frame: called with what was heard then, float32 [frame_size], and the frame of this time, e.g. to listen to it.
    progress: of voice and prompt, as `Model.session` has it.

    Raises ReplayError for a bundle that is damaged or cut short, another model or another kind of device; and what
    `Model.session` raises.
    """
    with BundleReader(path) as bundle:
        result = ReplayResult(notes=_check(bundle, model))
        voice = None if bundle.voice is None else _unpack(bundle.voice, bundle)
        prompt = bundle.head.get("prompt")
        with model.session(
            voice=voice, prompt=prompt if isinstance(prompt, str) and prompt else None, progress=progress,
            **_settings(bundle),
        ) as session:  # fmt: skip
            for entry in bundle.entries():
                if isinstance(entry, dict):
                    session.set_sampling(**_checked(entry, _SAMPLING, bundle))
                    continue
                if entry.forced_text != NOTHING:
                    session.force_text(entry.forced_text)
                frame = session.step(entry.heard)
                _compare(result, entry, frame)
                result.text += frame.text
                if on_frame is not None:
                    on_frame(entry.heard, frame)
        if bundle.tail is None and not partial:
            raise ReplayError(
                f"{path} was cut short after {result.frames} frames: the conversation that wrote it did not end in an "
                "orderly way, or the file is incomplete. --partial runs what there is."
            )
        result.reason = "cut short" if bundle.tail is None else str(bundle.tail.get("reason"))
        return result


def _check(bundle: BundleReader, model: "Model") -> list[str]:
    """Refuses what cannot give the same bits; notes what might not."""
    info, head = model.info, bundle.head
    spoke = head.get("model")
    if not isinstance(spoke, dict) or not isinstance(head.get("device"), str):
        raise ReplayError(f"The replay bundle {bundle.path} is damaged: it does not say which model spoke.")
    here = f"{info.fingerprint:016x}"
    if spoke.get("fingerprint") != here:
        raise ReplayError(
            f"{bundle.path} was written with the model {_short(spoke.get('name'))} ({_short(spoke.get('weights'))}, "
            f"fingerprint {_short(spoke.get('fingerprint'))}); this is {model.name} ({info.weight_type}, {here}). "
            "Name the folder of the same weights with --model."
        )
    if _kind(head["device"]) != _kind(info.device):
        raise ReplayError(
            f"{bundle.path} was written on {_short(head['device'])}; on {info.device} the same numbers round "
            f"otherwise. Run it with --device {_short(_kind(head['device']))}."
        )
    if bundle.shape != Shape(info.frame_size, info.n_agent, info.n_user):
        raise ReplayError(f"The replay bundle {bundle.path} is damaged: its frames are not those of its model.")
    now = {
        "pymoshi": pymoshi.__version__,
        "engine": list(_native.versions()),
        "processor": _processor(info.device),
        "threads": info.n_threads,
    }
    return [
        f"{name}: {_short(head.get(name))} then, {_short(value)} now"
        for name, value in now.items()
        if head.get(name) != value
    ]


def _settings(bundle: BundleReader) -> dict[str, Any]:
    settings = bundle.head.get("settings")
    if not isinstance(settings, dict):
        raise ReplayError(f"The replay bundle {bundle.path} is damaged: it has no settings.")
    return _checked(settings, _SETTINGS, bundle)


def _checked(options: dict[str, Any], known: set[str], bundle: BundleReader) -> dict[str, Any]:
    """Their values are checked by whom they are passed to."""
    if options.keys() - known:
        raise ReplayError(f"The replay bundle {bundle.path} is damaged: settings {sorted(options.keys() - known)[:4]}.")
    return options


def _compare(result: ReplayResult, then: ReplayFrame, now: "Frame") -> None:
    same = {
        "user_codes": np.array_equal(then.user_codes, now.user_codes),
        "text": then.text_token == (NOTHING if now.text_token is None else now.text_token),
        "codes": bool((then.codes == NOTHING).all()) if now.codes is None else np.array_equal(then.codes, now.codes),
        "audio": then.said == _checksum(now.audio),
    }
    for name, equal in same.items():
        result.differing[name] += not equal
    if result.first_difference is None and not all(same.values()):
        result.first_difference = result.frames
    result.frames += 1


def _checksum(samples: NDArray[np.float32]) -> int:
    return zlib.crc32(samples.astype("<f4").tobytes())


def _kind(device: str) -> str:
    return device.split(":", maxsplit=1)[0]


def _short(value: object) -> str:
    """Something of the bundle in a message: it may say anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:60])
