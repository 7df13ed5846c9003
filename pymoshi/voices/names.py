"""Names of voices: the eighteen that come with PersonaPlex, and which names a user's own voice may have."""

import re
from difflib import get_close_matches

from pymoshi.errors import VoiceError

__all__ = ["BUILTIN", "check_new_name", "close_matches", "describe"]

# NAT: natural, conversational; VAR: more varied; F and M: female and male.
BUILTIN: tuple[str, ...] = (
    *(f"NATF{i}" for i in range(4)),
    *(f"NATM{i}" for i in range(4)),
    *(f"VARF{i}" for i in range(5)),
    *(f"VARM{i}" for i in range(5)),
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Windows gives these names to devices, whatever the suffix.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)


def check_new_name(name: str) -> str:
    """Returns `name` if a user's voice may be called so.

    Raises:
        VoiceError: other characters than letters, digits, `-` and `_`, too long, or the name of a built-in voice.
    """
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise VoiceError(
            f"{name!r} cannot be the name of a voice: use up to 64 letters, digits, '-' and '_', "
            "starting with a letter or a digit"
        )
    if name.upper() in BUILTIN:
        raise VoiceError(f"{name!r} is the name of a voice that comes with PersonaPlex; choose another")
    return name


def close_matches(name: str, known: list[str]) -> list[str]:
    """Known names that look like `name`, best first."""
    by_lower = {item.lower(): item for item in known}
    return [by_lower[item] for item in get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]


def describe(name: str) -> str:
    """What a built-in voice sounds like: "natural, female"."""
    return f"{'natural' if name[:3] == 'NAT' else 'varied'}, {'female' if name[3] == 'F' else 'male'}"
