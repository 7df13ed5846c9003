"""What there is to choose from: models, voices, personas, sound devices. All of it is slow: to be run in a thread."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from pymoshi.errors import AudioDeviceError, InputError, PymoshiError
from pymoshi.personas import load_personas
from pymoshi.server.process import safe_path
from pymoshi.server.settings import Settings
from pymoshi.voices import VoiceLibrary
from pymoshi.voices.files import SUFFIXES
from pymoshi.voices.names import BUILTIN, describe

__all__ = ["check_model", "devices", "models", "personas", "preview", "voices"]

_LOOK_FOR: Final = 10.0  # s: a driver that takes longer hangs
_CONVERSES: Final = ("moshi", "personaplex")  # the others only listen, or only speak
_BUNDLED: Final = {"name": "demo", "title": "Demo, comes with pymoshi", "installed": True, "realtime": True}


def models(settings: Settings) -> list[dict[str, Any]]:
    """name, title, installed, size_bytes, and realtime: whether it keeps up here, None if that is not known."""
    from pymoshi.hub.store import Store

    store = Store()
    found: list[dict[str, Any]] = [{**_BUNDLED, "size_bytes": _demo_bytes()}]
    installed = {model.manifest.name: model for model in store.installed() if not model.missing}
    for model in store.catalog.models.values():
        for variant in model.variants.values():
            name = f"{model.alias}:{variant.name}"
            here = installed.pop(name, None)
            size = here.manifest.n_bytes if here else variant.n_bytes
            if model.model_type in _CONVERSES:
                found.append(_entry(name, f"{model.title}, {variant.name}", here is not None, size))
    found += [_entry(name, here.manifest.title, True, here.manifest.n_bytes) for name, here in installed.items()]
    own = settings.defaults.model
    if own is not None and own not in {entry["name"] for entry in found}:
        found.insert(0, _entry(own, Path(own).name, True, 0))
    return found


def _entry(name: str, title: str, installed: bool, size: int) -> dict[str, Any]:
    return {"name": name, "title": title, "installed": installed, "size_bytes": size, "realtime": None}


def _demo_bytes() -> int:
    from pymoshi.hub.layout import resolve

    files = resolve("demo")
    return sum(path.stat().st_size for path in (files.lm, files.mimi) if path is not None)


def check_model(name: str | None, settings: Settings) -> None:
    """A client may name what is installed and the server's own model, not any file. Raises InputError."""
    if name is None or name in ("demo", settings.defaults.model):
        return
    from pymoshi.hub.store import Store

    store = Store()
    try:
        store.get(name)
    except PymoshiError as error:
        raise InputError(f"model: {error}") from None


def voices(settings: Settings, model: str | None) -> list[dict[str, Any]]:
    """name, title, preview (an address, or None) of those that the model could speak with."""
    found = {name: f"{name}, your own" for name in VoiceLibrary().names()}
    for folder in _voice_folders(settings, model):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and path.stem not in found:
                name = path.stem.upper()
                found[path.stem] = f"{path.stem}, {describe(name)}" if name in BUILTIN else path.stem
    return [
        {"name": name, "title": title, "preview": f"/api/voices/{name}/preview" if preview(settings, name) else None}
        for name, title in found.items()
    ]


def preview(settings: Settings, name: str) -> Path | None:
    """A sound file of a voice, if there is one beside it. `name` may be anything: only listed files are compared."""
    places = [VoiceLibrary().folder, *_voice_folders(settings, None)]
    for folder in places:
        if folder.is_dir():
            for path in folder.iterdir():
                if path.stem == name and path.suffix.lower() == ".wav":
                    return path
    return None


def _voice_folders(settings: Settings, model: str | None) -> list[Path]:
    """Every folder `voices` of a PersonaPlex model here."""
    from pymoshi.hub.layout import resolve
    from pymoshi.hub.voice_folders import voice_folders

    wanted = model or settings.defaults.model or "demo"
    if wanted == "demo":
        return []
    try:
        check_model(wanted, settings)
        folder = resolve(wanted).folder
    except PymoshiError:
        return []
    return [place / "voices" for place in voice_folders(folder) if (place / "voices").is_dir()]


def personas() -> list[dict[str, Any]]:
    """name, title, prompt, voice of the presets and the user's own. Raises PersonaError."""
    return [
        {"name": persona.name, "title": persona.description or persona.name, "prompt": persona.prompt, "voice": voice}
        for persona in load_personas().values()
        for voice in [None if persona.voice is None or "/" in persona.voice else persona.voice]
    ]


def devices() -> dict[str, list[dict[str, Any]]]:
    """inputs and outputs: name, index, default. Raises AudioDeviceError.

    Another process looks: drivers crash, and PortAudio sees in a running process only what was there when it began.
    """
    command = [sys.executable, *safe_path(), "-m", "pymoshi", "devices", "--audio", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LOOK_FOR, check=False, stdin=subprocess.DEVNULL)
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise AudioDeviceError(f"The sound devices cannot be listed: {error}") from error
    if found is None:
        said = " ".join(done.stderr.decode(errors="replace").split()).removeprefix("error: ")
        raise AudioDeviceError(said or f"The sound devices cannot be listed: code {done.returncode}")
    return {
        f"{way}s": [
            {"name": entry["name"], "index": entry["index"], "default": entry[f"used_for_{way}"], "host": entry["host"]}
            for entry in found
            if entry[f"{way}_channels"] > 0
        ]
        for way in ("input", "output")
    }
