"""Where the voices of PersonaPlex may be on this machine."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["voice_folders"]


def voice_folders(model_folder: Path) -> Iterator[Path]:
    """Folders to look for a named voice in: the model's own, then those of every model that was pulled.

    Voices belong to PersonaPlex's weights, not to the type they are stored in: those that came with q4_k fit q8_0.
    """
    yield model_folder
    from pymoshi.hub.store import Store  # here: the hub's client takes a while to import, and most never need it

    for model in Store().installed():
        if (model.folder / "voices").is_dir() and model.folder != model_folder:
            yield model.folder
