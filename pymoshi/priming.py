"""Priming: a PersonaPlex conversation is given its voice and its role before its first frame.

The model is told both as frames in which everything is known: the voice, silence, the role as text, silence. Nothing
is sampled, so the frames run in batches; after them only the conversation is left to compute.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pymoshi import _native
from pymoshi.errors import InputError, ModelFormatError, SnapshotError, UnsupportedModelError, VoiceError
from pymoshi.hub.voice_folders import voice_folders
from pymoshi.mimi import Window
from pymoshi.persona_cache import PersonaCache, State, key_of
from pymoshi.personas import wrap_prompt
from pymoshi.voices import SUFFIXES, SavedVoice, Voice, VoiceLibrary, locate_voice
from pymoshi.voices.files import read_voice_file
from pymoshi.voices.recording import voice_from_recording

if TYPE_CHECKING:
    from pymoshi.model import Model

__all__ = ["Script", "find_voice", "prime", "start", "write_script"]

log = logging.getLogger("pymoshi")

# What the published codec makes of digital silence, and of a 440 Hz tone at half of full scale. During the prompt the
# model hears the tone from the user's side. A config.json may name others: silence_tokens, sine_tokens.
SILENCE: Final = (948, 243, 1178, 546, 1736, 1030, 1978, 2008)
SINE: Final = (430, 1268, 381, 1611, 1095, 1495, 56, 472)
SILENT_FRAMES: Final = 6  # int(0.5 s * 12.5), after the voice and after the text


_SAMPLING: Final = ("temperature", "top_k", "text_temperature", "text_top_k")  # as set_sampling takes them

Report = Callable[[float], bool | None]


@dataclass(frozen=True, slots=True)
class Script:
    """What the model is told before a conversation."""

    voice: Voice | Path | None
    """A path is that of a recording, which is encoded when it is needed."""
    text: tuple[int, ...]
    """Text tokens, one per frame; none without a prompt."""
    silence: tuple[int, ...]
    sine: tuple[int, ...]
    prompt: str
    """The prompt as the person wrote it, "" for none."""

    @property
    def voice_name(self) -> str:
        """For people; "" without a voice."""
        return self.voice.name if self.voice is not None else ""

    def digest(self) -> str:
        """SHA-256 of all that decides what the model is told: hexadecimal. Raises VoiceError (unreadable file)."""
        sha = hashlib.sha256()
        for part in (*_voice_parts(self.voice), _int_bytes(self.text), _int_bytes(self.silence), _int_bytes(self.sine)):
            sha.update(len(part).to_bytes(8, "little") + part)
        return sha.hexdigest()


def find_voice(model: "Model", voice: str | Path) -> Voice | Path:
    """The voice that a person means: read, or the path of a recording. See `pymoshi.voices.resolve_voice`.

    Raises VoiceError.
    """
    located = locate_voice(voice, search=voice_folders(model.files.folder))
    if isinstance(located, SavedVoice):
        return VoiceLibrary().load(located.name)
    return read_voice_file(located) if located.suffix.lower() in SUFFIXES else located


def write_script(model: "Model", voice: str | Path | Voice | None, prompt: str | None) -> Script:
    """Finds out what the model must be told, before anything is computed.

    Raises InputError (a model without personas, or a prompt that it cannot be told), VoiceError, ModelFormatError.
    """
    info = model.info
    if not isinstance(voice, str | Path | Voice | None):
        raise InputError(f"voice must be a name, a file or a pymoshi.voices.Voice, not {voice!r:.80}.")
    if not isinstance(prompt, str | None):
        raise InputError(f"prompt must be text, not {prompt!r:.80}.")
    silence = _constant(model, "silence_tokens", SILENCE, info.n_agent)
    sine = _constant(model, "sine_tokens", SINE, info.n_user)
    text = _text_tokens(model, prompt)
    if isinstance(voice, str | Path):
        voice = find_voice(model, voice)
    if isinstance(voice, Voice):
        _check_fits(voice, model)
    return Script(voice, text, silence, sine, (prompt or "").strip())


def _text_tokens(model: "Model", prompt: str | None) -> tuple[int, ...]:
    wrapped = wrap_prompt(prompt or "")
    if wrapped is None:
        return ()
    if model.tokenizer is None:
        reason = model.files.missing.get("tokenizer", "none was found beside it")
        raise InputError(f"{model.name} cannot be given a prompt without its tokenizer: {reason}.")
    return tuple(model.tokenizer.encode(wrapped))


def _constant(model: "Model", key: str, published: tuple[int, ...], streams: int) -> tuple[int, ...]:
    tokens = (model.files.config or {}).get(key, published)
    card = model.info.card
    if (
        not isinstance(tokens, list | tuple)
        or len(tokens) != streams
        or not all(type(token) is int and 0 <= token < card for token in tokens)
    ):
        raise ModelFormatError(
            f"{model.name}: {key} must be {streams} codes from 0 to {card - 1}, found {tokens!r:.120}; its config.json "
            "is where they belong."
        )
    return tuple(tokens)


def _check_fits(voice: Voice, model: "Model") -> None:
    info = model.info
    where = f"The voice {voice.name} ({voice.source}) does not fit {model.name}"
    if voice.embeddings is not None:
        if voice.cache is None:
            raise VoiceError(f"{where}: it has embeddings, but no token ring to go on from.")
        if voice.embeddings.ndim != 2 or voice.embeddings.shape[1] != info.dim:
            shape = list(voice.embeddings.shape)
            raise VoiceError(f"{where}: its embeddings are {shape}, the model's [frames, {info.dim}].")
    elif voice.codes is None or voice.codes.ndim != 2 or voice.codes.shape[0] != info.n_agent:
        found = "none" if voice.codes is None else list(voice.codes.shape)
        raise VoiceError(f"{where}: its codes are {found}, the model's [{info.n_agent}, frames].")
    elif voice.codes.size and not 0 <= voice.codes.min() <= voice.codes.max() < info.card:
        raise VoiceError(f"{where}: it has the code {voice.codes.max()}, the model {info.card} of them.")


def start(
    session: _native.NativeSession,
    model: "Model",
    script: Script,
    window: Window,
    *,
    cache: bool,
    progress: Report | None = None,
) -> State:
    """Brings a new session to where the script ends, from the persona cache if it has been there before.

    window: that of the session, with which recordings are heard.
    cache: look there, and keep the state there.
    progress: as `prime` has it; not called if there is nothing to compute.

    Returns the engine's state. Raises what `prime` raises.
    """
    seed, sampling = session.params["seed"], [session.params[name] for name in _SAMPLING]
    kept = PersonaCache() if cache else None
    key = _key(session, model, script) if kept else ""
    state = kept.load(key) if kept else None
    if kept and state is not None:
        try:
            session.restore(state)
        except SnapshotError as error:
            kept.drop(key, str(error))
        else:
            session.set_seed(seed)
            session.set_sampling(*sampling)
            log.debug("Voice and prompt come from the persona cache.")
            return state
    prime(session, model, script, window, progress)
    state = session.save()
    if kept:
        kept.store(key, state, model=model.name, voice=script.voice_name, prompt=script.prompt, frames=session.offset())
    return state


def _key(session: _native.NativeSession, model: "Model", script: Script) -> str:
    """Devices and versions of the engine round differently; what one computed is not what another would have."""
    info, params = model.info, session.params
    return key_of(
        model=f"{info.fingerprint:016x}",
        codec=info.has_mimi,
        script=script.digest(),
        context=params["context"] or info.context,
        kv_type=params["kv_type"],
        window=params["window"],
        flash=params["flash"],
        device=info.device,
        engine=_native.versions(),
    )


def prime(
    session: _native.NativeSession, model: "Model", script: Script, window: Window, progress: Report | None = None
) -> None:
    """Tells a new session the script. Nothing of it is left in the codec, which begins with the conversation.

    progress: called with the fraction done, 0 to 1; returning False stops with `Cancelled`.

    Raises VoiceError, AudioFileError, UnsupportedModelError (a recording, and no codec), Cancelled. After an error
    the session is of no further use.
    """
    voice = script.voice
    if isinstance(voice, Path):
        voice = _encode(voice, model, window)
    info = model.info
    embeddings = np.zeros((0, info.dim), np.float32)
    if voice is not None and voice.embeddings is not None:
        embeddings = np.ascontiguousarray(voice.embeddings, np.float32)
    rows = _rows(script, voice, info.text_padding)
    total = len(embeddings) + len(rows)
    context = int(session.params["context"]) or info.context
    if total >= context:
        log.warning("Voice and prompt take %d frames, more than the %d that the session remembers.", total, context)
    report = _Share(progress, total)
    if voice is not None and len(embeddings):
        # The embeddings replace what these tokens would stand for; they only let the bookkeeping go on.
        dummies = np.full((len(embeddings), 1 + info.n_q), info.card, np.int32)
        dummies[:, 0] = info.text_padding
        session.prefill(dummies, embeddings, report.part(len(dummies)))
        assert voice.cache is not None
        try:
            session.set_ring(voice.cache)
        except InputError as error:
            raise VoiceError(f"The voice {voice.name} ({voice.source}) does not fit {model.name}: {error}.") from error
    session.prefill(rows, None, report.part(len(rows)))
    session.reset_codec()


class _Share:
    """Progress of several calls, each of a part of the frames, as one."""

    def __init__(self, progress: Report | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def part(self, n: int) -> Report | None:
        first, self._done = self._done, self._done + n
        progress = self._progress
        return None if progress is None else lambda fraction: progress((first + fraction * n) / self._total)


def _rows(script: Script, voice: Voice | None, padding: int) -> NDArray[np.int32]:
    """All frames but those of embeddings, int32 [n, 1 + n_agent + n_user]: text, the model's codes, the user's."""
    codes: Sequence[Sequence[int]] = [] if voice is None or voice.codes is None else voice.codes.T.tolist()
    silence = [(padding, *script.silence)] * SILENT_FRAMES
    agent = [*((padding, *column) for column in codes), *silence]
    agent += [*((token, *script.silence) for token in script.text), *silence]
    return np.array([(*frame, *script.sine) for frame in agent], np.int32)


def _encode(recording: Path, model: "Model", window: Window) -> Voice:
    if not model.info.has_mimi:
        raise UnsupportedModelError(f"{recording} is a recording, and {model.name} was loaded without a Mimi codec.")
    voice = voice_from_recording(recording, lambda pcm: model.mimi.encode(pcm, model.info.n_agent, window=window))
    _check_fits(voice, model)
    return voice


def _voice_parts(voice: Voice | Path | None) -> list[bytes]:
    if voice is None:
        return [b"none"]
    if isinstance(voice, Path):  # its sound decides, and it need not be encoded to know that it is the same
        try:
            with voice.open("rb") as file:
                return [b"recording", hashlib.file_digest(file, "sha256").digest()]
        except OSError as error:
            raise VoiceError(f"Cannot read the recording {voice}: {error.strerror or error}") from error
    arrays: list[NDArray[Any] | None] = [voice.embeddings, voice.cache, voice.codes]
    return [b"" if part is None else f"{part.shape}".encode() + part.tobytes() for part in arrays]


def _int_bytes(values: tuple[int, ...]) -> bytes:
    return np.array(values, "<i8").tobytes()
