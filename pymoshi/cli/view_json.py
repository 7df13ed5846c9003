"""The conversation as JSON lines on stdout, one an event: for scripts.

Each has `type`, e.g. "text_piece", and `time` in seconds of conversation; a frame has its milliseconds, levels and
tokens, but not its samples.
"""

import dataclasses
import json
import re
from typing import Any, Self

import numpy as np

from pymoshi.cli.view import Picture
from pymoshi.conversation.events import Event, FrameDone

_SAMPLES = ("heard", "said")


class JsonView:
    """Prints every event. A context manager."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def begin(self, details: dict[str, Any]) -> None:
        """Model and settings, before the first frame."""
        print(json.dumps({"type": "conversation", "time": 0.0, **details}), flush=True)

    def handle(self, event: Event) -> None:
        """The next event."""
        self.picture.take(event)
        print(json.dumps(as_json(event), ensure_ascii=True), flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def as_json(event: Event) -> dict[str, Any]:
    """What can be said of an event in JSON."""
    content: dict[str, Any] = {"type": _snake(type(event).__name__), "time": round(event.time, 3)}
    shown = event.record if isinstance(event, FrameDone) else event
    for field in dataclasses.fields(shown):
        if field.name not in ("time", *_SAMPLES):
            content[field.name] = _plain(getattr(shown, field.name))
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return round(value, 3) if isinstance(value, float) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
