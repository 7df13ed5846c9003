"""Both sides of `pymoshi demo` as text: the model's words as they come, the user's from the recording's captions."""

from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pymoshi.conversation import Event, FrameDone, FrameRecord, TextPiece
from pymoshi.demo import RecordedUser, Spoken
from pymoshi.dialogue import PAUSE_SECONDS, Who, printable
from pymoshi.transcript import clock

_STYLES: Final[dict[Who, str]] = {"user": "green", "model": "cyan"}
_CUT_SECONDS: Final = 0.5  # of no text, after which an interrupted line is over
_QUIETEST, _LOUDEST, _BAR = -54, -12, 14  # dBFS, and characters


class DemoView:
    """Prints each line when it is over; in a terminal, the one that is being said is seen below. A context manager.

    user: whose lines are shown, too.
    """

    def __init__(self, user: RecordedUser) -> None:
        self._user = user
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._shown = 0  # of the user's lines
        self._waiting: Spoken | None = None
        """A line of the user's that is shown once the model's before it is complete."""
        self._text, self._start, self._last = "", 0.0, 0.0

    def handle(self, event: Event) -> None:
        """The next event."""
        match event:
            case TextPiece(time, text):
                if not self._text:
                    self._start, text = time, text.lstrip()
                self._text += printable(text)
                self._last = time
            case FrameDone(time, record):
                self._pass(time)
                self._show_now(record)

    def _pass(self, time: float) -> None:
        """Prints what is complete at this time."""
        spoken = self._user.spoken
        if self._waiting is None and self._shown < len(spoken) and spoken[self._shown].start <= time:
            self._waiting = spoken[self._shown]
            self._shown += 1
        pause = PAUSE_SECONDS if self._waiting is None else _CUT_SECONDS
        if time - self._last >= pause:
            self._flush()

    def _flush(self) -> None:
        spoken, self._waiting = self._waiting, None
        text, self._text = self._text.strip(), ""
        if text:
            self._print(self._start, "model", text + (" ..." if spoken and spoken.interrupts else ""))
        if spoken:
            self._print(spoken.start, "user", spoken.text)

    def _print(self, start: float, who: Who, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(_line(clock(start), who, text))
        else:
            print(f"[{clock(start)}] {who:<5}  {text}", flush=True)

    def _show_now(self, record: FrameRecord) -> None:
        if not self._console.is_terminal or record.index % 2:
            return
        meters = Text.assemble(
            ("user ", "dim"), (_meter(record.user_db), _STYLES["user"]),
            ("  model ", "dim"), (_meter(record.model_db), _STYLES["model"]),
            (f"  {record.step_ms:.1f} of 80 ms", "dim"),
        )  # fmt: skip
        parts: list[RenderableType] = [_line(clock(self._start), "model", self._text)] if self._text else []
        self._live.update(Group(*parts, _line(clock(record.time), None, meters)), refresh=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        self._live.stop()


def _line(time: str, who: Who | None, text: str | Text) -> Table:
    """Wrapped under itself."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(no_wrap=True, style="dim")
    line.add_column(no_wrap=True, min_width=5, style=_STYLES[who] if who else "")
    line.add_column(overflow="fold")
    line.add_row(time, who or "", text if isinstance(text, Text) else Text(text))
    return line


def _meter(db: float) -> str:
    filled = round(_BAR * min(1.0, max(0.0, (db - _QUIETEST) / (_LOUDEST - _QUIETEST))))
    return "|" * filled + "." * (_BAR - filled)
