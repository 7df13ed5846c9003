"""Who the model is in a call: what a client asks for, within what a client may name."""

from pathlib import Path
from typing import TYPE_CHECKING

from pymoshi.errors import VoiceError
from pymoshi.hub.voice_folders import voice_folders
from pymoshi.personas import DEFAULT_PERSONA, DEFAULT_VOICE, find_persona
from pymoshi.priming import find_voice
from pymoshi.server.options import CallOptions, is_plain_name
from pymoshi.voices import Voice, VoiceLibrary, find_voice_file
from pymoshi.voices.files import read_voice_file

if TYPE_CHECKING:
    from pymoshi.model import Model


def choose_role(model: "Model", options: CallOptions) -> tuple[Voice | Path | None, str | None, str]:
    """(voice, prompt, what a person should know of the choice or "") for `Model.session`.

    Raises VoiceError, PersonaError, InputError.
    """
    if not model.has_personas:
        ignored = options.voice is not None or bool(options.prompt)
        return None, None, f"{model.name} has a voice and a role of its own: others are ignored." if ignored else ""
    persona = find_persona(DEFAULT_PERSONA)
    prompt = persona.prompt if options.prompt is None else options.prompt
    if options.voice:
        voice = find_voice(model, options.voice) if options.trusted_voice else _named_voice(model, options.voice)
        return voice, prompt, ""
    try:
        return find_voice(model, persona.voice or DEFAULT_VOICE), prompt, ""
    except VoiceError as error:  # nobody asked for this one in particular
        return None, prompt, f"It speaks with a voice of its own choosing. {error}."


def _named_voice(model: "Model", name: str) -> Voice:
    """A voice of the library or of a model's folder `voices`: whatever the name, nothing else is opened."""
    if is_plain_name(name):
        library = VoiceLibrary()
        if name in library:
            return library.load(name)
        for folder in voice_folders(model.files.folder):
            found = find_voice_file(name, [folder / "voices"])
            if found is not None:
                return read_voice_file(found)
    raise VoiceError(f"There is no voice {name!r:.80}. GET /api/voices has those that there are")
