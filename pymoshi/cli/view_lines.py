"""The conversation as lines: what the model says on stdout, all else on stderr. For logs, pipes and screen readers."""

from typing import Self

from pymoshi.cli.console import say
from pymoshi.cli.view import Picture
from pymoshi.conversation.events import (
    Ended,
    Event,
    FrameDone,
    Notice,
    SpeechEnded,
    State,
    StateChanged,
    TextPiece,
)
from pymoshi.dialogue import printable
from pymoshi.transcript import Lines, clock

_UNSAID = (State.LISTENING, State.SPEAKING, State.STOPPING, State.ENDED)
"""The first two change with every turn, which the lines themselves tell of; the last event tells of the others."""


class LineView:
    """Prints a line when it is complete. A context manager."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._lines = Lines()
        self._keys_told = False

    def handle(self, event: Event) -> None:
        """The next event."""
        before = self.picture.state
        self.picture.take(event)
        match event:
            case TextPiece(time, text):
                self._print(self._lines.add(time, text))
            case FrameDone(time, record) if not record.text:
                self._print(self._lines.add(time, ""))
            case SpeechEnded(time, "user", seconds):
                say(f"[{clock(max(0.0, time - seconds))}] you spoke {seconds:.1f} s")
            case StateChanged(_, State.LISTENING, _) if self.picture.keys and not self._keys_told:
                self._keys_told = True
                say("Keys: m or space mutes, i interrupts, + and - change the volume, q ends.")
            case StateChanged(_, state, detail) if state not in _UNSAID and state is not before:
                what = f"{state.value.replace('_', ' ')}{': ' + printable(detail) if detail else ''}"
                say(f"[{clock(self.picture.time)}] {what}")
            case Notice(time, level, text):
                say(f"[{clock(time)}] {'warning: ' if level == 'warning' else ''}{printable(text)}")
            case Ended(time, reason):
                say(f"[{clock(time)}] ended: {printable(reason)}")

    def _print(self, line: str | None) -> None:
        if line is not None:
            print(line, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._print(self._lines.flush())
