"""What a call may be asked for: one set of options for the page, the clients and the command line."""

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

__all__ = ["CallOptions", "Mode", "is_plain_name"]

Mode = Literal["machine", "browser", "client"]
"""Where the sound is: at this machine's devices, in the page, or in a client of the `/api/chat` protocol."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def is_plain_name(name: str) -> bool:
    """Whether it can name a voice, and no other place."""
    return _NAME.fullmatch(name) is not None and ".." not in name


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of one call; None for the server's, the model's or the system's own choice."""

    model: str | None = None
    voice: str | None = None
    trusted_voice: bool = False
    """Whether `voice` comes from whoever started the server: then it may be a file."""
    prompt: str | None = None
    seed: int | None = None
    temperature: float | None = None
    text_temperature: float | None = None
    top_k: int | None = None
    text_top_k: int | None = None
    context: int | None = None
    input_device: int | str | None = None
    output_device: int | str | None = None
    echo_cancel: bool | None = None
    record: bool | None = None

    def over(self, defaults: Self) -> Self:
        """These, and `defaults` where nothing is said."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None and name != "trusted_voice"}
        if self.voice is not None:
            given["trusted_voice"] = self.trusted_voice
        return replace(defaults, **given)

    def as_json(self) -> dict[str, Any]:
        """For the worker."""
        return asdict(self)

    def shown(self) -> dict[str, Any]:
        """For clients: a path of the server's own is none of their business."""
        values = asdict(self)
        values.pop("trusted_voice")
        if self.trusted_voice and self.voice and not is_plain_name(self.voice):
            values["voice"] = None
        return values
