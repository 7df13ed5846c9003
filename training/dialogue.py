"""The rules of the demo's conversation, and dialogues that follow them: what the language model learns.

A line is always the same codes, silence is one column of codes, so a dialogue is pasted together from the codes of the
lines. The next line is a function of the last one, which the model can still see.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.audio import FRAME, Mask, Sound
from training.script import CYCLE, FIRST, LONG_LINE, NUDGE_LINES, RESUME_LINE, WELCOME
from training.vocabulary import EPAD, PAD

Codes = NDArray[np.int64]
Random = np.random.Generator

# All in frames of 80 ms.
GREET_AFTER = 6
ANSWER_AFTER = 8  # silent frames that end the user's turn
SHORTEST_TURN = 2  # speaking frames; less is a cough
LONG_TURN = 90  # speaking frames
CUT_WINDOW, CUT_COUNT = 4, 2  # so many speaking frames of so many end a line
NUDGE_AFTER = (75, 110)  # silent frames
FORGET_AFTER = 14  # silent frames after which a cough is forgotten
# How often, and at most how many frames, it reacts late. From an assistant that is always in time a model learns that
# what was not reacted to at once was nothing: it would talk on, or stay silent, for good. The model sees it being late,
# and is told in each of these frames what should have been done (`Dialogue.due`).
LATE, MOST_LATE = 0.4, 10


@dataclass(frozen=True)
class Assets:
    """The lines as the model must produce them."""

    codes: list[Codes]
    """[CODEBOOKS, frames] of each line."""
    texts: list[Codes]
    """[frames] of each line: pieces where a word begins, EPAD before a word after a pause, else PAD."""
    sounds: list[Sound]
    """[frames * FRAME] of each line."""
    silence: Codes
    """[CODEBOOKS]"""


@dataclass
class Dialogue:
    """The assistant's side of a conversation."""

    text: Codes
    """[T]"""
    codes: Codes
    """[CODEBOOKS, T]"""
    due: Codes
    """[2, T]: text and first codebook of an assistant that does now what this one will do late; else, the same."""
    said: list[tuple[int, int, int]] = field(default_factory=list)
    """(first frame, line, frames of it that were said)"""


class Assistant:
    """Plays the rules, frame by frame."""

    def __init__(self, assets: Assets, draw: Random, last: int, greet: bool) -> None:
        self._assets, self._draw = assets, draw
        self._last = last
        self._to_greet = greet
        self._line: int | None = None
        self._place = 0
        self._queue: list[int] = []
        self._unfinished: int | None = None
        self._resumed = False
        self._silent = 99
        self._quiet = 0
        self._turn = 0
        self._nudges = 0
        self._recent = [False] * CUT_WINDOW
        self._patience = ANSWER_AFTER + self._draw_delay()
        self._cut_in: int | None = None
        self.late = False
        """Whether it should have begun or stopped by now."""

    def _draw_delay(self) -> int:
        return int(self._draw.integers(1, MOST_LATE + 1)) if self._draw.random() < LATE else 0

    def hear(self, frame: int, speaks: bool) -> list[int]:
        """Takes the user's next frame; returns lines to begin with the next one, if any."""
        self._recent = [*self._recent[1:], speaks]
        self.late = False
        if speaks:
            self._silent = self._quiet = 0
            self._turn += 1
        else:
            self._silent += 1
            self._quiet += 1
        if self._silent == FORGET_AFTER and 0 < self._turn < SHORTEST_TURN:
            self._turn = 0
        if self._line is not None:
            return []
        return self._begin(frame)

    def _begin(self, frame: int) -> list[int]:
        due = self._turn >= SHORTEST_TURN and self._silent >= ANSWER_AFTER
        answer = due and self._silent >= self._patience
        self.late = due and not answer
        if self._to_greet:
            if not (answer or (frame >= GREET_AFTER and self._turn == 0)):
                return []
            self._to_greet = False
            lines = list(range(len(WELCOME)))
        elif answer:
            lines = self._answer()
        elif self._turn == 0 and self._nudges < 2 and self._quiet >= NUDGE_AFTER[self._nudges] and frame > 40:
            lines = [NUDGE_LINES[self._nudges]]
            self._nudges += 1
        else:
            return []
        if answer:
            self._nudges = 0
        self._turn = 0
        self._patience = ANSWER_AFTER + self._draw_delay()
        return lines

    def _answer(self) -> list[int]:
        if self._unfinished is not None:
            self._last, self._unfinished, self._resumed = self._unfinished, None, True
            return [RESUME_LINE, self._last]
        self._last = FIRST + (self._last + 1 - FIRST) % len(CYCLE)
        self._resumed = False
        return [LONG_LINE, self._last] if self._turn >= LONG_TURN else [self._last]

    def start(self, lines: list[int]) -> None:
        self._line, self._place, self._queue = lines[0], 0, lines[1:]
        self._cut_in = None

    @property
    def line(self) -> int | None:
        return self._line

    def interrupted(self) -> bool:
        """Whether the user has begun to speak into this line, which then ends. It is taken up again once."""
        if self._line is None:
            return False
        if self._cut_in is None and sum(self._recent) >= CUT_COUNT:
            self._cut_in = self._draw_delay()
        self.late = self._cut_in is not None and self._cut_in > 0
        if self._cut_in is None:
            return False
        if self._cut_in > 0:
            self._cut_in -= 1
            return False
        self._cut_in = None
        target = self._queue[-1] if self._queue else self._line
        left = len(self._assets.texts[self._line]) - self._place
        if FIRST <= target < FIRST + len(CYCLE) and (left > 4 or self._queue) and not self._resumed:
            self._unfinished = target
        self._line, self._queue = None, []
        return True

    def speak(self) -> tuple[int, Codes, bool]:
        """The line's next frame: (text token, [CODEBOOKS], whether another line begins with the frame after it)."""
        assert self._line is not None
        token = int(self._assets.texts[self._line][self._place])
        column = self._assets.codes[self._line][:, self._place]
        self._place += 1
        begins = False
        if self._place == len(self._assets.texts[self._line]):
            self._line = None
            self._quiet = 0
            if self._queue:
                self._line, self._queue, self._place, begins = self._queue[0], self._queue[1:], 0, True
        return token, column, begins


def play(speaks: Mask, assets: Assets, draw: Random, last: int = FIRST - 1, greet: bool = True) -> Dialogue:
    """The assistant's answer to a user who speaks in those frames. `last`: the line before the first answer."""
    n = len(speaks)
    made = Dialogue(np.full(n, PAD), np.repeat(assets.silence[:, None], n, 1), np.empty((2, n), np.int64))
    assistant = Assistant(assets, draw, last, greet)
    for frame in range(n):
        lines = assistant.hear(frame, bool(speaks[frame]))
        if assistant.line is not None:
            if not assistant.interrupted():
                said = made.said[-1]
                made.said[-1] = (said[0], said[1], said[2] + 1)
                made.text[frame], made.codes[:, frame], begins = assistant.speak()
                if begins and assistant.line is not None:
                    made.said.append((frame + 1, assistant.line, 0))
            due = (PAD, assets.silence[0])
        elif lines:
            made.text[frame] = EPAD  # one frame ahead of the line
            assistant.start(lines)
            made.said.append((frame + 1, lines[0], 0))
        else:
            due = (EPAD, assets.silence[0])
        made.due[:, frame] = due if assistant.late else (made.text[frame], made.codes[0, frame])
    return made


def sound_of(dialogue: Dialogue, assets: Assets) -> Sound:
    """What the assistant's loudspeaker plays, from the lines' original sound."""
    sound = np.zeros(len(dialogue.text) * FRAME + FRAME, np.float32)
    for frame, line, n in dialogue.said:
        part = assets.sounds[line][: n * FRAME]
        part = part[: len(sound) - frame * FRAME]
        sound[frame * FRAME : frame * FRAME + len(part)] += part
    return sound[: len(dialogue.text) * FRAME]
