"""Who the model is in a conversation: from --voice, --prompt, --prompt-file and --persona to a voice and a prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pymoshi.cli.console import say
from pymoshi.errors import InputError, VoiceError
from pymoshi.model import Model
from pymoshi.personas import DEFAULT_PERSONA, DEFAULT_VOICE, Persona, choose_prompt, find_persona, wrap_prompt
from pymoshi.priming import find_voice
from pymoshi.voices import Voice

VoiceOption = Annotated[
    str | None,
    typer.Option(
        "--voice",
        metavar="NAME|FILE",
        help="Who speaks (PersonaPlex): a name of `pymoshi voice list`, a voice file, or a recording of somebody who "
        f"has agreed to it. (default: the persona's, or {DEFAULT_VOICE})",
        show_default=False,
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help='In which role (PersonaPlex), e.g. "You enjoy having a good conversation."; "" for none. '
        f"(default: the persona {DEFAULT_PERSONA})",
        show_default=False,
    ),
]
PromptFileOption = Annotated[Path | None, typer.Option(metavar="FILE", help="The role, from a text file.")]
PersonaOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The role, and a voice with it, of `pymoshi persona list`.")
]


@dataclass(frozen=True, slots=True)
class Role:
    """What `Model.session` takes, and what a report says of it."""

    voice: Voice | Path | None = None
    prompt: str | None = None
    persona: str = ""

    @property
    def voice_name(self) -> str:
        """ "" without a voice."""
        return self.voice.name if self.voice is not None else ""


@dataclass(frozen=True, slots=True)
class RoleOptions:
    """The options as they were given; None for those that were not."""

    voice: str | None
    prompt: str | None
    prompt_file: Path | None
    persona: str | None

    def check(self) -> None:
        """Finds what is wrong with them without a model. Raises InputError, PersonaError."""
        prompt, _ = choose_prompt(self.prompt, self.prompt_file, self.persona)
        wrap_prompt(prompt or "")

    def choose(self, model: Model) -> Role:
        """The role for a conversation with this model, its defaults filled in.

        Raises InputError (a model that takes no role, two prompts), PersonaError, VoiceError.
        """
        if not model.has_personas:
            self._refuse(model)
            return Role()
        prompt, persona = choose_prompt(self.prompt, self.prompt_file, self.persona)
        if prompt is None:
            persona = find_persona(DEFAULT_PERSONA)
            prompt = persona.prompt
        return Role(self._voice(model, persona), prompt, persona.name if persona else "")

    def _voice(self, model: Model, persona: Persona | None) -> Voice | Path | None:
        if self.voice is not None:
            return find_voice(model, self.voice)
        suggested = persona.voice if persona else None
        if persona and suggested and persona.source:  # of the user's own file: it is meant
            return find_voice(model, suggested)
        try:
            return find_voice(model, suggested or DEFAULT_VOICE)
        except VoiceError as error:  # nobody asked for this one in particular
            say(f"It speaks with a voice of its own choosing. {error}.")
            return None

    def _refuse(self, model: Model) -> None:
        given = {
            "--voice": self.voice,
            "--prompt": self.prompt,
            "--prompt-file": self.prompt_file,
            "--persona": self.persona,
        }
        asked = " and ".join(name for name, value in given.items() if value is not None)
        if asked:
            raise InputError(
                f"{model.name} is a {model.info.model_type} model, which has one voice and one role of its own: leave "
                f"out {asked}, or choose a PersonaPlex model with --model (pymoshi pull personaplex)."
            )
