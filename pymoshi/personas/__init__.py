"""Personas: who the model is in a conversation. A persona is a prompt with a name, and perhaps a voice.

Presets come with pymoshi; the user's own are tables in `personas.toml` in the configuration folder::

    [pirate]
    description = "A pirate"           # optional
    prompt = "You are a pirate who ..."
    voice = "VARM2"                    # optional: a name, a voice file or a recording
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from pymoshi import paths
from pymoshi.errors import InputError, PersonaError

__all__ = [
    "DEFAULT_PERSONA",
    "DEFAULT_VOICE",
    "Persona",
    "choose_prompt",
    "find_persona",
    "load_personas",
    "personas_file",
    "wrap_prompt",
]

DEFAULT_PERSONA = "teacher"  # PersonaPlex was trained to be told who it is; this is who it is by default
DEFAULT_VOICE = "NATF2"
MAX_PROMPT = 8000  # characters, about 2000 of the 3000 frames of context
MAX_FILE = 1 << 20  # bytes
TAG = "<system>"
_FIELDS = ("description", "prompt", "voice")


@dataclass(frozen=True, slots=True)
class Persona:
    """A role for the model to play."""

    name: str
    prompt: str
    description: str = ""
    voice: str | None = None
    source: str = ""  # "" for a preset, else the file it was read from


def wrap_prompt(text: str) -> str | None:
    """The prompt as the model was trained to read it: between two `<system>` tags, put there once.

    Returns:
        None if there is nothing to say: the text phase of the prompt is left out then.

    Raises:
        InputError: the prompt is too long.
    """
    text = text.strip()
    if len(text) > MAX_PROMPT:
        raise InputError(f"The prompt has {len(text)} characters; {MAX_PROMPT} fit into the model's memory")
    tagged = len(text) >= 2 * len(TAG) and text.startswith(TAG) and text.endswith(TAG)
    if not (text[len(TAG) : -len(TAG)] if tagged else text).strip():
        return None
    return text if tagged else f"{TAG} {text} {TAG}"


def choose_prompt(
    prompt: str | None = None, prompt_file: Path | None = None, persona: str | None = None
) -> tuple[str | None, Persona | None]:
    """The prompt of a conversation from the three ways to give one, of which at most one may be used.

    Returns:
        (text for `wrap_prompt`, or None if none was given; the persona, if it came from one).

    Raises:
        InputError: more than one was given, or the file cannot be read as UTF-8 text.
        PersonaError: there is no such persona.
    """
    given = [
        name
        for name, value in (("--prompt", prompt), ("--prompt-file", prompt_file), ("--persona", persona))
        if value is not None
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} were given; only one of them can say who the model is")
    if persona is not None:
        chosen = find_persona(persona)
        return chosen.prompt, chosen
    return (_read_text(prompt_file), None) if prompt_file is not None else (prompt, None)


def find_persona(name: str) -> Persona:
    """The persona of that name, the user's own before a preset.

    Raises:
        PersonaError: there is none (lists what is close), or the user's file is wrong.
    """
    personas = load_personas()
    if name in personas:
        return personas[name]
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    for known, persona in personas.items():
        if known.lower() == wanted:
            return persona
    near = get_close_matches(wanted, [known.lower() for known in personas], n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise PersonaError(
        f"There is no persona {name!r}. {hint}There are: {', '.join(personas)}. Your own go into {personas_file()}"
    )


def load_personas(file: Path | None = None) -> dict[str, Persona]:
    """All personas by name: the presets, then the user's own.

    Args:
        file: the user's personas; None for the one in the configuration folder. It need not exist.

    Raises:
        PersonaError: the file cannot be read, or is not as this module's text says.
    """
    presets = resources.files(__package__).joinpath("presets.toml").read_text(encoding="utf-8")
    personas = _parse(presets, "")
    file = file or personas_file()
    if file.exists():
        try:
            personas |= _parse(_read_text(file), str(file))
        except InputError as error:
            raise PersonaError(str(error)) from error
    return personas


def personas_file() -> Path:
    """Where the user's own personas are."""
    return paths.config_dir() / "personas.toml"


def _parse(text: str, source: str) -> dict[str, Persona]:
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PersonaError(f"{source} is not sound TOML: {error}") from error
    return {name: _persona(name, table, source) for name, table in tables.items()}


def _persona(name: str, table: object, source: str) -> Persona:
    where = f"{source}, persona {name!r}"
    if not isinstance(table, Mapping):
        raise PersonaError(f'{where}: expected a table [{name}] with prompt = "...", found {table!r:.60}')
    for key, value in table.items():
        if key not in _FIELDS:
            raise PersonaError(f"{where}: unknown key {key!r}; known are {', '.join(_FIELDS)}")
        if not isinstance(value, str):
            raise PersonaError(f"{where}: {key} must be text in quotes, found {value!r:.60}")
    if not table.get("prompt", "").strip():
        raise PersonaError(f"{where}: it has no prompt")
    if len(table["prompt"]) > MAX_PROMPT:
        raise PersonaError(f"{where}: the prompt has {len(table['prompt'])} characters; at most {MAX_PROMPT} fit")
    return Persona(name, table["prompt"].strip(), table.get("description", ""), table.get("voice") or None, source)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE:
        raise InputError(f"{path} is larger than {MAX_FILE >> 20} MB; that is no prompt")
    try:
        return data.decode("utf-8-sig")  # editors on Windows put a byte order mark first
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})") from error
