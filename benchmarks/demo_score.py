"""What is counted in a conversation with the demo model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import numpy as np
from demo_users import AUDIBLE, FRAME_SECONDS, Turn
from demo_voices import HOP, RATE, Samples, rms

from pymoshi.transcript import Word

GREETED_WITHIN: Final = 2.0  # seconds, all of them
ANSWERED_WITHIN: Final = 1.5
STOPPED_WITHIN: Final = 0.6
_COLLISION: Final = 0.32  # both began at once: the model had not heard the user yet
_OCCASION: Final = 2.5  # after a turn, in which to speak is an answer
_GAP: Final = 0.9  # between two things that the model says; between its sentences are pauses of up to 0.8 s
_SHORTEST: Final = 0.15


@dataclass(frozen=True, slots=True)
class Span:
    """When the model was heard: a frame can be played when it is computed, 80 ms after its input began."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Line:
    """Of the script."""

    id: str
    kind: str
    """ "greeting", "cycle", "resume", "nudge", ..."""
    text: str

    @property
    def words(self) -> list[str]:
        return plain(self.text)


@dataclass(frozen=True, slots=True)
class Said:
    """A line that the model wrote down, or a word that is in none."""

    line: Line | None
    start: float
    end: float
    complete: bool


@dataclass
class Trace:
    """A conversation, as far as the scores need it."""

    seconds: float
    turns: list[Turn]
    spans: list[Span]
    said: list[Said]


@dataclass
class Score:
    """Counts, to be added up over conversations; the lists are seconds."""

    conversations: int = 0
    seconds: float = 0.0
    to_greet: int = 0
    greeted: int = 0
    to_answer: int = 0
    answers: list[float] = field(default_factory=list)
    """How long after each turn that was answered in time."""
    interruptions: int = 0
    stops: list[float] = field(default_factory=list)
    """How long after the user began to interrupt the model was silent, of those that it obeyed within 2 s."""
    user_seconds: float = 0.0
    false_while_user: int = 0
    """Starts while the user speaks, but not at the same time as it."""
    alone_seconds: float = 0.0
    false_alone: int = 0
    """Lines without an occasion (a turn, another line; greeting and nudge need none), and sounds without a line."""
    nudges: int = 0
    lines: int = 0
    lines_right: int = 0
    """Word by word as in the script, or as much of it as the user let it say."""

    def add(self, other: "Score") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def as_json(self) -> dict[str, Any]:
        """The figures, rates included."""
        stopped = sum(stop <= STOPPED_WITHIN for stop in self.stops)
        return {
            "conversations": self.conversations,
            "minutes": round(self.seconds / 60, 2),
            "greeted": _rate(self.greeted, self.to_greet),
            "answered": _rate(len(self.answers), self.to_answer) | _quantiles(self.answers),
            "stopped": _rate(stopped, self.interruptions) | _quantiles(self.stops),
            "false_starts_while_the_user_speaks": _per_minute(self.false_while_user, self.user_seconds),
            "false_starts_otherwise": _per_minute(self.false_alone, self.alone_seconds),
            "nudges": self.nudges,
            "lines_as_in_the_script": _rate(self.lines_right, self.lines),
        }


def _rate(count: int, of: int) -> dict[str, Any]:
    return {"count": count, "of": of, "percent": round(100 * count / of, 1) if of else None}


def _per_minute(count: int, seconds: float) -> dict[str, Any]:
    return {
        "count": count,
        "minutes": round(seconds / 60, 2),
        "per_minute": round(60 * count / seconds, 3) if seconds else None,
    }


def _quantiles(values: Sequence[float]) -> dict[str, Any]:
    median, p90 = np.quantile(values, [0.5, 0.9]) if values else (None, None)
    return {"median_s": median and round(float(median), 3), "p90_s": p90 and round(float(p90), 3)}


def score(trace: Trace) -> Score:
    """The counts of one conversation."""
    found = Score(conversations=1, seconds=trace.seconds)
    _greeting(trace, found)
    for turn, following in zip_longest(trace.turns, trace.turns[1:]):
        found.user_seconds += max(0.0, min(turn.end, trace.seconds) - turn.start)
        _interruption(trace, turn, found)
        _answer(trace, turn, following, found)
    found.alone_seconds = trace.seconds - found.user_seconds
    found.false_while_user = sum(
        turn.start + _COLLISION < span.start < turn.end for span in trace.spans for turn in trace.turns
    )
    found.false_alone = sum(
        not _has_occasion(trace, said, before) for said, before in zip(trace.said, [None, *trace.said], strict=False)
    )
    found.false_alone += sum(not _is_written(trace, span) for span in trace.spans)
    found.lines = len(trace.said)
    found.lines_right = sum(_is_right(trace, said) for said in trace.said)
    found.nudges = sum(said.line is not None and said.line.kind == "nudge" for said in trace.said)
    return found


def _greeting(trace: Trace, found: Score) -> None:
    if trace.turns and trace.turns[0].start < GREETED_WITHIN:
        return  # who is spoken to answers instead
    found.to_greet += 1
    first = trace.said[0].line if trace.said else None
    in_time = bool(trace.spans) and trace.spans[0].start <= GREETED_WITHIN
    found.greeted += in_time and first is not None and first.kind == "greeting"


def _interruption(trace: Trace, turn: Turn, found: Score) -> None:
    for span in trace.spans:
        if span.start < turn.start - 0.25 and span.end > turn.start and turn.start + 2 < trace.seconds:
            found.interruptions += 1
            if span.end - turn.start <= 2:
                found.stops.append(span.end - turn.start)


def _answer(trace: Trace, turn: Turn, following: Turn | None, found: Score) -> None:
    until = turn.end + ANSWERED_WITHIN
    if until + _SHORTEST > trace.seconds or (following is not None and following.start < until):
        return  # the model had no time to answer
    found.to_answer += 1
    starts = [span.start for span in trace.spans if turn.end <= span.start <= until]
    if starts:
        found.answers.append(starts[0] - turn.end)


def _has_occasion(trace: Trace, said: Said, before: Said | None) -> bool:
    """Whether there is a reason to begin this line: a turn (to begin within it is counted elsewhere), a line before."""
    if any(turn.start <= said.start <= turn.end + _OCCASION for turn in trace.turns):
        return True
    if before is not None and said.start - before.end < _OCCASION:
        return said.line is not None
    match said.line:
        case Line(kind="greeting"):
            return said.start < _OCCASION
        case Line(kind="nudge"):
            return True
    return False


def _is_written(trace: Trace, span: Span) -> bool:
    """Whether the model's text has words for the sound."""
    return any(said.start - 0.5 < span.end and span.start < said.end + 1 for said in trace.said)


def _is_right(trace: Trace, said: Said) -> bool:
    if said.line is None:
        return False
    cut = any(said.start < turn.end and turn.start < said.end + 1 for turn in trace.turns)
    return said.complete or cut or said.end > trace.seconds - 1


def spans(said: Samples) -> list[Span]:
    """Where the model's voice is audible, short pauses included."""
    found: list[list[float]] = []
    for hop in np.flatnonzero(rms(said) > AUDIBLE):
        start = float(hop) * HOP / RATE + FRAME_SECONDS
        if found and start - found[-1][1] < _GAP:
            found[-1][1] = start + HOP / RATE
        else:
            found.append([start, start + HOP / RATE])
    return [Span(start, end) for start, end in found if end - start >= _SHORTEST]


def plain(text: str) -> list[str]:
    """Words as a recogniser writes them."""
    return [word for word in (re.sub(r"[^a-z']", "", part.lower()) for part in text.split()) if word]


class _Cut(NamedTuple):
    """The best way to cut the words from one of them on."""

    cost: tuple[int, int]
    """Words that fit no line, and lines."""
    line: Line | None = None
    n_words: int = 1
    complete: bool = False


def lines_said(words: Sequence[Word], script: Sequence[Line]) -> list[Said]:
    """The model's words, cut into lines of the script, or beginnings of lines, so that as few as can be are left over.

    A cut line and the next one may look like a third ("I heard you." "I can listen", and a line that begins with "I
    heard you. I am"), so a line does not simply take all words that it can.
    """
    spoken = [(word, part) for word in words for part in plain(word.text)]
    heard = [part for _, part in spoken]
    lines = [(line, line.words) for line in script]
    cuts = [_Cut((0, 0))]  # from the end to the front
    for at in reversed(range(len(heard))):
        choices = [_Cut(_after(cuts[-1], 1))]
        for line, text in lines:
            for n in range(1, _begun(text, heard[at:]) + 1):
                choices.append(_Cut(_after(cuts[-n], 0), line, n, text == heard[at : at + n]))
        cuts.append(min(choices, key=lambda cut: (cut.cost, -cut.n_words)))
    said: list[Said] = []
    at = 0
    while at < len(heard):
        _, line_said, n, complete = cuts[-1 - at]
        said.append(Said(line_said, spoken[at][0].start, spoken[at + n - 1][0].end, complete))
        at += n
    return said


def _after(rest: _Cut, left_over: int) -> tuple[int, int]:
    return rest.cost[0] + left_over, rest.cost[1] + 1


def _begun(line: Sequence[str], heard: Sequence[str]) -> int:
    """How many of the words may be a line's, of which the last one may be cut, too."""
    n = _common(line, heard)
    return n + 1 if 0 < n < min(len(line), len(heard)) and line[n].startswith(heard[n]) else n


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Words that both begin with."""
    pairs = list(zip(one, other, strict=False))
    return next((index for index, (a, b) in enumerate(pairs) if a != b), len(pairs))
