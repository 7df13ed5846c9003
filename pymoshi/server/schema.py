"""What requests may say: bodies and query parameters, with their bounds."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pymoshi.errors import InputError
from pymoshi.options import HOTTEST, LARGEST_TOP_K
from pymoshi.personas import MAX_PROMPT
from pymoshi.server.options import CallOptions, Mode, is_plain_name

__all__ = ["CallRequest", "MuteRequest", "StartRequest", "StopRequest", "call_options", "described", "from_query"]

_Temperature = Annotated[float | None, Field(ge=0, le=HOTTEST, allow_inf_nan=False)]
_TopK = Annotated[int | None, Field(ge=0, le=LARGEST_TOP_K)]
_Device = Annotated[int | str | None, Field(union_mode="left_to_right")]


class CallRequest(BaseModel):
    """Options of a call; what is left out is the server's or the model's own choice."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(max_length=256)] = None
    voice: Annotated[str | None, Field(max_length=128, description="A name of GET /api/voices.")] = None
    prompt: Annotated[str | None, Field(max_length=MAX_PROMPT)] = None
    seed: Annotated[int | None, Field(ge=0, lt=2**64)] = None
    temperature: _Temperature = None
    text_temperature: _Temperature = None
    top_k: _TopK = None
    text_top_k: _TopK = None
    context: Annotated[int | None, Field(ge=16, le=2**16, description="Frames of 80 ms.")] = None
    input_device: _Device = None
    output_device: _Device = None
    echo_cancel: bool | None = None
    record: bool | None = None

    @field_validator("voice")
    @classmethod
    def _plain(cls, voice: str | None) -> str | None:
        if voice and not is_plain_name(voice):
            raise ValueError("must be the name of a voice, not a path")
        return voice or None


class StartRequest(CallRequest):
    """Body of POST /start."""

    mode: Mode = "machine"

    @field_validator("mode")
    @classmethod
    def _not_a_client(cls, mode: Mode) -> Mode:
        if mode == "client":
            raise ValueError('must be "machine" or "browser"; clients connect to /api/chat')
        return mode


class StopRequest(BaseModel):
    """Body of POST /stop; may be left out."""

    model_config = ConfigDict(extra="forbid")
    unload: bool = False


class MuteRequest(BaseModel):
    """Body of POST /mute."""

    model_config = ConfigDict(extra="forbid")
    muted: bool


def call_options(request: CallRequest) -> CallOptions:
    """As the supervisor takes them."""
    return CallOptions(**request.model_dump(exclude={"mode"}))


# Query parameters of /api/chat, as NVIDIA's and Kyutai's servers call them.
_QUERY: Final = {
    "voice_prompt": "voice",
    "text_prompt": "prompt",
    "text_temperature": "text_temperature",
    "audio_temperature": "temperature",
    "text_topk": "text_top_k",
    "audio_topk": "top_k",
}
_SEEDS: Final = ("seed", "audio_seed", "text_seed")
_WITHOUT_EFFECT: Final = ("pad_mult", "repetition_penalty", "repetition_penalty_context")


def from_query(query: Mapping[str, str]) -> tuple[CallOptions, list[str]]:
    """(what the parameters ask for, those that are accepted and have no effect). Raises InputError."""
    values: dict[str, Any] = {ours: query[theirs] for theirs, ours in _QUERY.items() if query.get(theirs, "") != ""}
    if query.get("text_prompt") == "":
        values["prompt"] = ""  # without one, says the client
    for name in _SEEDS:
        seed = query.get(name, "")
        if seed not in ("", "-1"):  # -1: draw one
            values["seed"] = seed
            break
    try:
        options = call_options(CallRequest.model_validate(values))
    except ValidationError as error:
        names = {ours: theirs for theirs, ours in _QUERY.items()}
        raise InputError(described(error.errors(), names)) from None
    return options, [name for name in _WITHOUT_EFFECT if query.get(name)]


def described(errors: Iterable[Mapping[str, Any]], names: Mapping[str, str] | None = None) -> str:
    """What is wrong, for a person: the field, and why."""
    told = []
    for error in errors:
        place = [str(part) for part in error["loc"] if part not in ("body", "int", "str")]
        name = ".".join(place[:2]) or "the body"
        reason = str(error["msg"]).removeprefix("Value error, ")
        told.append(f"{(names or {}).get(name, name)}: {reason[:1].lower()}{reason[1:]}")
    return "; ".join(dict.fromkeys(told))
