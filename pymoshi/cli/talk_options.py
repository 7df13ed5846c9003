"""What `pymoshi talk` was asked for, in the parts that its two modes share."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pymoshi
from pymoshi.cli.console import say
from pymoshi.cli.role import Role, RoleOptions
from pymoshi.cli.talk_minutes import Outputs
from pymoshi.errors import InputError
from pymoshi.replay import resolve_voice
from pymoshi.session import KvType


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Of `pymoshi.load`."""

    name: str = "demo"
    device: str = "auto"
    threads: int | None = None
    mimi: Path | None = None
    tokenizer: Path | None = None

    def load(self, progress: Callable[[float], bool | None]) -> pymoshi.Model:
        """Raises what `pymoshi.load` raises."""
        return pymoshi.load(
            self.name,
            device=self.device,
            threads=self.threads,
            mimi=self.mimi,
            tokenizer=self.tokenizer,
            progress=progress,
        )


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """Of every conversation, live or between files."""

    model: ModelOptions = field(default_factory=ModelOptions)
    role: RoleOptions = field(default_factory=lambda: RoleOptions(None, None, None, None))
    session: dict[str, Any] = field(default_factory=dict)
    """Of `Model.session`, but voice and prompt."""
    outputs: Outputs = field(default_factory=Outputs)
    json: bool = False

    def choose_role(self, model: pymoshi.Model) -> Role:
        """Who the model is to be. Raises InputError, PersonaError, VoiceError, AudioFileError."""
        role = self.role.choose(model)
        # A replay bundle holds the voice itself: a recording is encoded once, for both.
        return role if self.outputs.replay is None else replace(role, voice=resolve_voice(model, role.voice))


def tell_of_missing_text(model: pymoshi.Model, outputs: Outputs) -> None:
    """Says that there will be no text, or refuses what is about text. Raises InputError."""
    if model.tokenizer is not None:
        return
    reason = model.files.missing.get("tokenizer", "no tokenizer")
    if outputs.output_text is not None:
        raise InputError(f"--output-text needs the model's tokenizer: {reason}.")
    say(f"It will speak, but its text is not shown: {reason}.")


def checked_kv_type(name: str) -> KvType:
    """Raises InputError."""
    match name:
        case "f16" | "f32" | "bf16" | "q8_0":
            return name
    raise InputError(f"--kv-type must be f16, f32, bf16 or q8_0, not {name!r}.")
