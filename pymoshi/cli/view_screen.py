"""The conversation on a terminal: state, meters, running transcript, times, keys. Redrawn as a whole."""

import io
import logging
import os
import sys
import time
from contextlib import suppress
from typing import Any, Final, Self, TextIO

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from pymoshi.cli.view import Entry, Picture
from pymoshi.conversation.events import Event, Notice, State, StateChanged
from pymoshi.dialogue import printable
from pymoshi.transcript import clock

FRAME_MS: Final = 80.0

_REDRAW_SECONDS: Final = 0.09
_METER_FLOOR_DB: Final = -60.0
_LOOKS: Final = {
    State.LOADING: ("loading", "cyan"),
    State.PRIMING: ("preparing voice and prompt", "cyan"),
    State.LISTENING: ("listening", "green"),
    State.SPEAKING: ("speaking", "magenta"),
    State.MUTED: ("muted", "yellow"),
    State.TOO_SLOW: ("too slow", "red"),
    State.DEVICE_LOST: ("device lost", "red"),
    State.STOPPING: ("stopping", "cyan"),
    State.ENDED: ("ended", "cyan"),
}


class ScreenView:
    """Shows a picture on the whole terminal, and gives the terminal back as it was. A context manager."""

    def __init__(self, picture: Picture, console: Console | None = None) -> None:
        self.picture = picture
        self._console = console or Console()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._drawn = 0.0
        self._aside = _Aside(picture)

    def handle(self, event: Event) -> None:
        """Takes an event and draws, but not more often than eyes can follow."""
        self.picture.take(event)
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS or isinstance(event, StateChanged):
            self._drawn = now
            self._follow_size()
            width, height = self._console.size
            self._live.update(render(self.picture, width, height), refresh=True)

    def _follow_size(self) -> None:
        """The terminal's size as it is now, whatever COLUMNS and LINES in the environment say: they do not change."""
        with suppress(OSError, ValueError):  # no terminal
            columns, lines = os.get_terminal_size(self._console.file.fileno())
            self._console.size = ConsoleDimensions(columns, lines)

    def __enter__(self) -> Self:
        self._aside.take_over()
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        self._aside.give_back()


class _Aside(io.TextIOBase):
    """Stands for stderr while the picture is shown: lines become notices, and are printed when it is gone."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._line = ""
        self._kept: list[str] = []
        self._before: TextIO | None = None
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                self._kept.append(line)
                self._picture.notice = Notice(self._picture.time, "warning", line)
        return len(text)

    def take_over(self) -> None:
        """From now on. Log handlers hold on to the stream that they were made with."""
        self._before, sys.stderr = sys.stderr, self
        for handler in logging.getLogger("pymoshi").handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is self._before:
                self._handlers.append((handler, handler.setStream(self)))

    def give_back(self) -> None:
        """Prints what was kept to where it was meant for."""
        if self._before is None:
            return
        sys.stderr, self._before = self._before, None
        for handler, stream in self._handlers:
            handler.setStream(stream)
        for line in [*self._kept, *([self._line] if self._line else [])]:
            print(line, file=sys.stderr)


def render(picture: Picture, width: int, height: int) -> Group:
    """Exactly `height` lines of at most `width` cells."""
    foot = [
        _rule(width),
        _meter_line("you", picture.user_db, "microphone off" if picture.muted else "microphone on", width, "green"),
        _meter_line("model", picture.model_db, f"volume {round(picture.volume * 100)} %", width, "magenta"),
        _state_line(picture, width),
        _frame_line(picture),
        _count_line(picture),
        _key_line(picture),
    ]
    head = [_head_line(picture, width), _rule(width)]
    room = height - len(head) - len(foot)
    if room < 1:  # a tiny terminal: state and meters matter most
        lines = [foot[3], foot[1], foot[2], foot[4], foot[5], foot[6]][: max(1, height)]
    else:
        lines = [*head, *_transcript(picture, width, room), *foot]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(max(1, width), overflow="ellipsis")
    return Group(*lines)


def _rule(width: int) -> Text:
    return Text("─" * width, "dim")


def _head_line(picture: Picture, width: int) -> Text:
    kept = f"● {', '.join(picture.keeping)}  " if picture.keeping else ""
    right = Text.assemble("  ", (kept, "red"), (clock(picture.time), "bold"))
    title = Text.assemble(("pymoshi", "bold"), "  ", (picture.title, ""))
    title.truncate(max(1, width - right.cell_len), overflow="ellipsis", pad=True)
    return title + right


def _meter_line(name: str, level: float, remark: str, width: int, color: str) -> Text:
    cells = max(8, min(60, width - 40))
    share = (level - _METER_FLOOR_DB) / -_METER_FLOOR_DB
    decibels = f"{level:4.0f} dB" if level > _METER_FLOOR_DB else "  quiet"
    return Text.assemble((f"{name:<6}", "bold"), _bar(share, cells, color), f" {decibels}  ", (remark, "dim"))


def _bar(share: float, cells: int, color: str) -> Text:
    filled = round(max(0.0, min(1.0, share)) * cells)
    return Text.assemble(("━" * filled, color), ("─" * (cells - filled), "dim"))


def _state_line(picture: Picture, width: int) -> Text:
    name, color = _LOOKS[picture.state]
    line = Text.assemble(("● ", color), (name, f"bold {color}"))
    if picture.progress is not None:
        return Text.assemble(line, "  ", _bar(picture.progress, 24, color), f" {round(picture.progress * 100)} %")
    if picture.detail:
        line.append(f"  {_shown(picture.detail)}")
    elif picture.state is State.MUTED and picture.push_to_talk:
        line.append("  press space and speak; press it again when you are done")
    if picture.notice is not None:
        line.append(f"  {_shown(picture.notice.text)}", "yellow" if picture.notice.level == "warning" else "dim")
    return line


def _frame_line(picture: Picture) -> Text:
    step = picture.mean_ms("step_ms")
    color = "green" if step < 0.8 * FRAME_MS else "yellow" if step <= FRAME_MS else "red"
    return Text.assemble(
        ("frame ", "bold"),
        _bar(step / FRAME_MS, 16, color),
        (f" {step:.0f} of {FRAME_MS:.0f} ms", color),
        f"  encode {picture.mean_ms('encode_ms'):.0f} · model {picture.mean_ms('lm_ms'):.0f}"
        f" · decode {picture.mean_ms('decode_ms'):.0f}",
    )


def _count_line(picture: Picture) -> Text:
    percent = f"{round(picture.context_used * 100)} %" if picture.context else "?"
    return Text.assemble(
        ("memory ", "bold"),
        f"{percent}  late {picture.late} · left out {picture.shed_ms / 1000:.1f} s"
        f" · gaps {picture.underruns} · overruns {picture.overruns} · xruns {picture.xruns}",
    )


def _key_line(picture: Picture) -> Text:
    if not picture.keys:
        return Text("Ctrl-C ends the conversation", "dim")
    space = "space talk/done" if picture.push_to_talk else "space or m mute"
    return Text(f"{space}   i interrupt   + - volume   q quit", "dim")


def _transcript(picture: Picture, width: int, room: int) -> list[Text]:
    """The last lines that fit, filled up to `room` lines from below."""
    lines: list[Text] = []
    for entry in reversed(picture.entries):
        lines = _entry_lines(entry, width) + lines
        if len(lines) >= room:
            break
    return [Text() for _ in range(room - len(lines))] + lines[-room:]


def _entry_lines(entry: Entry, width: int) -> list[Text]:
    start = f"{clock(entry.time)} "
    if entry.who == "user":
        said = "you speak …" if entry.going_on else f"you spoke {max(0.0, entry.last - entry.time):.1f} s"
        return [Text.assemble((start, "dim"), (said, "green"))]
    room = max(10, width - len(start))
    wrapped = Text(" ".join(entry.text.split())).wrap(Console(width=room), room)  # by cells: some letters take two
    return [
        Text.assemble((start if number == 0 else " " * len(start), "dim"), part) for number, part in enumerate(wrapped)
    ]


def _shown(text: str) -> str:
    return printable(" ".join(text.split()))
