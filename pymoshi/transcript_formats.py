"""Transcripts as files: .txt to read, .srt and .vtt to lay over a recording, .json for programs."""

import html
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pymoshi.dialogue import Dialogue, Turn
from pymoshi.errors import InputError, PymoshiError
from pymoshi.transcript import clock

NO_WORDS: Final = "(speech)"
"""Of the user, whose words are not known."""


def as_txt(dialogue: Dialogue) -> str:
    """A line a turn: "[00:03.2 - 00:05.1] model: Hello there."."""
    return "".join(
        f"[{clock(turn.start)} - {clock(turn.end)}] {turn.who}: {turn.text or NO_WORDS}\n" for turn in dialogue.turns
    )


def as_srt(dialogue: Dialogue) -> str:
    """SubRip subtitles."""
    cues = [
        f"{number}\n{_stamp(turn.start, ',')} --> {_stamp(turn.end, ',')}\n{turn.who}: {_cue_text(turn)}\n"
        for number, turn in enumerate(dialogue.turns, 1)
    ]
    return "\n".join(cues)


def as_vtt(dialogue: Dialogue) -> str:
    """WebVTT, with the sides as voices."""
    cues = [
        f"{_stamp(turn.start, '.')} --> {_stamp(turn.end, '.')}\n<v {turn.who}>{html.escape(_cue_text(turn), False)}\n"
        for turn in dialogue.turns
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_json(dialogue: Dialogue, details: dict[str, Any]) -> str:
    """`details`, then turns and spans of speech."""
    return json.dumps(details | dialogue.as_json(), indent=1, ensure_ascii=False) + "\n"


_TEXTS: Final[dict[str, Callable[[Dialogue], str]]] = {".txt": as_txt, ".srt": as_srt, ".vtt": as_vtt}
SUFFIXES: Final = (".txt", ".json", ".srt", ".vtt")


def check_transcript(path: Path) -> None:
    """Raises InputError for a name whose suffix says no format."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: that decides the format.")


def write_transcript(path: Path, dialogue: Dialogue, details: dict[str, Any]) -> None:
    """Writes the format that the suffix names; the file appears when it is whole.

    details: what a .json says besides turns and spans.
    Raises InputError for another suffix, PymoshiError if the file cannot be written.
    """
    check_transcript(path)
    suffix = path.suffix.lower()
    content = as_json(dialogue, details) if suffix == ".json" else _TEXTS[suffix](dialogue)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(content, encoding="utf-8", errors="backslashreplace", newline="\n")
        os.replace(partial, path)
    except OSError as error:
        raise PymoshiError(f"The transcript {path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _cue_text(turn: Turn) -> str:
    # An arrow would be taken for the line with the times.
    return (turn.text or NO_WORDS).replace("-->", "->")


def _stamp(seconds: float, point: str) -> str:
    """hh:mm:ss and milliseconds."""
    thousandths = round(seconds * 1000)
    minutes = thousandths // 60_000
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{thousandths // 1000 % 60:02d}{point}{thousandths % 1000:03d}"
