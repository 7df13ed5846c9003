"""Where pymoshi keeps things: data (models, voices), configuration (personas), cache (primed personas).

`PYMOSHI_HOME` puts all three under one folder; otherwise each platform's own convention is followed. Folders are
created by whoever writes into them, never by asking for their names.
"""

import os
import sys
from pathlib import Path

__all__ = ["cache_dir", "config_dir", "data_dir"]


def data_dir() -> Path:
    """Folder of what must be kept: installed models, the user's voices."""
    if home := _pymoshi_home():
        return home
    match sys.platform:
        case "win32":
            return _from_environment("LOCALAPPDATA", Path.home() / "AppData" / "Local") / "pymoshi"
        case "darwin":
            return Path.home() / "Library" / "Application Support" / "pymoshi"
        case _:
            return _from_environment("XDG_DATA_HOME", Path.home() / ".local" / "share") / "pymoshi"


def config_dir() -> Path:
    """Folder of what the user writes by hand: `personas.toml`."""
    if home := _pymoshi_home():
        return home / "config"
    match sys.platform:
        case "win32":
            return _from_environment("APPDATA", Path.home() / "AppData" / "Roaming") / "pymoshi"
        case "darwin":
            return Path.home() / "Library" / "Application Support" / "pymoshi"
        case _:
            return _from_environment("XDG_CONFIG_HOME", Path.home() / ".config") / "pymoshi"


def cache_dir() -> Path:
    """Folder of what may be deleted at any time and is made again when needed."""
    if home := _pymoshi_home():
        return home / "cache"
    match sys.platform:
        case "win32":
            return _from_environment("LOCALAPPDATA", Path.home() / "AppData" / "Local") / "pymoshi" / "cache"
        case "darwin":
            return Path.home() / "Library" / "Caches" / "pymoshi"
        case _:
            return _from_environment("XDG_CACHE_HOME", Path.home() / ".cache") / "pymoshi"


def _pymoshi_home() -> Path | None:
    value = os.environ.get("PYMOSHI_HOME", "")
    return Path(value).expanduser().absolute() if value else None


def _from_environment(variable: str, default: Path) -> Path:
    # The XDG specification says that a relative path in these variables is to be ignored.
    value = Path(os.environ.get(variable, ""))
    return value if value.is_absolute() else default
