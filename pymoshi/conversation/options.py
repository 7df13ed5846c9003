"""The options of a conversation that belong to its model and its session, by name, with their types."""

from pathlib import Path
from typing import Any, TypedDict

from pymoshi.mimi import Window
from pymoshi.session import KvType


class Options(TypedDict, total=False):
    """What `pymoshi.load` and `Model.session` take; see there. Those of `load` need a model that is named."""

    device: str
    threads: int | None
    mimi: str | Path | None
    tokenizer: str | Path | None
    repack: bool
    context: int | None
    temperature: float | None
    text_temperature: float | None
    top_k: int | None
    text_top_k: int | None
    kv_type: KvType
    flash: bool
    window: Window
    depformer_steps: int | None
    cache: bool


_OF_LOAD = {"device", "threads", "mimi", "tokenizer", "repack"}


def parted(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those for `load` and those for `Model.session`. Raises TypeError for a name that neither knows."""
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"A conversation has no option {unknown[0]!r}.")
    values: dict[str, Any] = dict(options)
    load = {name: value for name, value in values.items() if name in _OF_LOAD}
    return load, {name: value for name, value in values.items() if name not in _OF_LOAD}
