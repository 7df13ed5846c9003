"""Voices: the names that PersonaPlex knows, voice files, recordings, and the user's own kept voices.

Example::

    voice = resolve_voice("NATF2", search=[model_folder])
    voice = resolve_voice("me.wav", encode=lambda pcm: ...)  # any recording becomes a voice
    VoiceLibrary().add(voice)                                # and is kept under its name
"""

from collections.abc import Iterable
from pathlib import Path

from pymoshi.errors import VoiceError
from pymoshi.voices.files import SUFFIXES, read_voice_file
from pymoshi.voices.library import SavedVoice, VoiceLibrary
from pymoshi.voices.names import BUILTIN, close_matches
from pymoshi.voices.recording import Encoder, voice_from_recording
from pymoshi.voices.voice import Voice

__all__ = [
    "BUILTIN",
    "SUFFIXES",
    "Encoder",
    "SavedVoice",
    "Voice",
    "VoiceLibrary",
    "find_voice_file",
    "locate_voice",
    "resolve_voice",
]


def resolve_voice(
    spec: str | Path,
    *,
    search: Iterable[Path] = (),
    encode: Encoder | None = None,
    codec: str | None = None,
    library: VoiceLibrary | None = None,
) -> Voice:
    """Finds or makes the voice that a person means.

    Args:
        spec: a name ("NATF2", or one of the user's own), a voice file (.gguf, .safetensors, .pt), or a recording.
        search: model folders; voices are looked for in each one's `voices/` and in the folder itself.
        encode: turns a recording into codes; without it, recordings are refused.
        codec: fingerprint of the codec behind `encode`, kept with voices made from recordings.
        library: the user's voices; None for the ones in the data folder.

    Raises:
        VoiceError: no such voice (says where it was looked for and what is close), or it cannot be used.
        AudioFileError: the recording cannot be read.
    """
    located = locate_voice(spec, search=search, library=library)
    if isinstance(located, SavedVoice):
        return (library or VoiceLibrary()).load(located.name)
    if located.suffix.lower() in SUFFIXES:
        return read_voice_file(located)
    if encode is None:
        raise VoiceError(f"{located} is a recording; turning it into a voice needs a model with its codec")
    return voice_from_recording(located, encode, codec=codec)


def locate_voice(
    spec: str | Path, *, search: Iterable[Path] = (), library: VoiceLibrary | None = None
) -> SavedVoice | Path:
    """Where the voice is that a person means, without reading it: one of the user's own, a voice file, or a recording.

    Arguments and errors are those of `resolve_voice`. A path whose suffix is not in SUFFIXES is a recording.
    """
    library = library or VoiceLibrary()
    looked: list[Path] = []
    text = str(spec)
    path = Path(spec).expanduser()
    if not text.strip():
        raise VoiceError("The voice's name is empty; `pymoshi voice list` shows the ones there are")
    if isinstance(spec, str) and _is_plain_name(spec):
        if spec in library:
            return library.show(spec)
        for folder in search:  # one after the other: to know the later ones may take a while
            looked.append(folder)
            found = find_voice_file(spec, [folder])
            if found is not None:
                return found
    if path.is_file():
        return path
    raise VoiceError(_not_found(text, path, looked, library))


def find_voice_file(name: str, folders: Iterable[Path]) -> Path | None:
    """The file of a named voice in the first of `folders` that has it, or None. Case does not matter ("natf2")."""
    wanted = Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name
    for folder in folders:
        for place in (folder / "voices", folder):
            files = {path.name.lower(): path for path in sorted(place.iterdir())} if place.is_dir() else {}
            for suffix in SUFFIXES:
                if found := files.get(f"{wanted}{suffix}".lower()):
                    return found
    return None


def _is_plain_name(spec: str) -> bool:
    return "/" not in spec and "\\" not in spec and spec not in (".", "..")


def _not_found(text: str, path: Path, folders: list[Path], library: VoiceLibrary) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a voice"
    if not _is_plain_name(text):
        return f"There is no file {path}. A voice is a name (pymoshi voice list), a voice file, or a recording"
    places = [str(folder / "voices") for folder in folders] + [str(library.folder)]
    where = f"Looked in {', '.join(places)}, and for a file of that name"
    if text.upper() in BUILTIN:
        return (
            f"The voice {text.upper()} belongs to PersonaPlex, and its file is not there. {where}. "
            "`pymoshi pull personaplex` gets all eighteen"
        )
    near = close_matches(text, [*BUILTIN, *library.names()])
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"There is no voice {text!r}. {hint}{where}. `pymoshi voice list` shows the ones there are"
