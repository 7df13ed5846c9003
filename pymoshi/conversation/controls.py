"""What is asked of a running conversation, from any thread; the loop looks here before each frame."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from pymoshi.errors import StateError

_MOST_TOKENS: Final = 7_500  # ten minutes of forced text
LOUDEST: Final = 4.0


@dataclass(slots=True)
class _Line:
    """Text tokens that the model is to say, one a frame."""

    tokens: deque[int]
    waits: bool
    """Until nobody is speaking."""


class Controls:
    """The requests. Writers are any threads and signal handlers, hence no locks; the reader is the loop."""

    def __init__(self, *, muted: bool = False, volume: float = 1.0) -> None:
        self.muted = muted
        self.volume = volume
        self.stopping = False
        """Whether `stop` was called."""
        self._interrupted = False
        self._lines: deque[_Line] = deque()

    def stop(self) -> None:
        """The loop ends after the frame that it is at."""
        self.stopping = True

    def interrupt(self) -> None:
        """The model falls silent; what it was to say is forgotten."""
        self._lines.clear()
        self._interrupted = True

    def taken_interrupt(self) -> bool:
        """Whether somebody interrupted since this was asked last."""
        if not self._interrupted:
            return False
        self._interrupted = False
        return True

    def say(self, tokens: list[int], *, waits: bool) -> None:
        """Puts a line in front of the model. Raises StateError if ten minutes of text wait already."""
        if sum(len(line.tokens) for line in list(self._lines)) + len(tokens) > _MOST_TOKENS:
            raise StateError("Too much text waits to be said already; interrupt() forgets it.")
        self._lines.append(_Line(deque(tokens), waits))

    def next_token(self, *, quiet: bool) -> int | None:
        """The text token to force in this frame, if any; `quiet`: neither side is speaking."""
        try:
            line = self._lines[0]
            if line.waits and not quiet:
                return None
            line.waits = False
            token = line.tokens.popleft()
            if not line.tokens:
                self._lines.popleft()
            return token
        except IndexError:  # nothing there, or cleared by another thread meanwhile
            return None
