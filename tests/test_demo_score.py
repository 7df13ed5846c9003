"""The scores of benchmarks/demo_behaviour.py count what they say they count."""

import numpy as np
import pytest
from demo_score import Line, Said, Span, Trace, lines_said, score, spans
from demo_users import Turn
from demo_words import edits

from pymoshi.transcript import Word

HELLO = Line("hello", "greeting", "Hello! How are you?")
FROG = Line("frog", "cycle", "Why did the frog talk so fast?")
SONG = Line("song", "cycle", "I know a song.")
THERE = Line("there", "nudge", "Are you still there?")
WHY = Line("why", "cycle", "Why did I know?")
SCRIPT = [HELLO, FROG, SONG, THERE]


def trace(turns: list[Turn] | None = None, said: list[Said] | None = None, seconds: float = 30.0) -> Trace:
    """The model's sound is where its text is."""
    said = said or []
    return Trace(seconds, turns or [], [Span(one.start, one.end) for one in said], said)


def words(text: str, start: float = 0.0) -> list[Word]:
    return [Word(word, start + 0.3 * k, start + 0.3 * k + 0.2) for k, word in enumerate(text.split())]


GREETING = Said(HELLO, 0.8, 2.0, True)


def test_a_greeting_counts_if_it_begins_within_two_seconds() -> None:
    assert score(trace(said=[GREETING])).greeted == 1
    assert score(trace(said=[Said(HELLO, 2.4, 4.0, True)])).greeted == 0
    assert score(trace(said=[Said(FROG, 0.8, 2.0, True)])).greeted == 0
    assert score(trace()).to_greet == 1


def test_who_is_spoken_to_at_once_need_not_greet() -> None:
    assert score(trace([Turn(0.4, 2.0)])).to_greet == 0


@pytest.mark.parametrize(("start", "answered"), [(8.7, 1), (9.49, 1), (9.6, 0), (7.5, 0)])
def test_an_answer_counts_if_it_begins_within_a_second_and_a_half(start: float, answered: int) -> None:
    found = score(trace([Turn(5.0, 8.0)], [GREETING, Said(FROG, start, start + 2, True)]))
    assert found.to_answer == 1
    assert len(found.answers) == answered


def test_a_turn_that_leaves_no_time_is_not_to_be_answered() -> None:
    assert score(trace([Turn(5.0, 8.0), Turn(8.5, 9.0)], [GREETING])).to_answer == 1
    assert score(trace([Turn(28.0, 29.0)], [GREETING])).to_answer == 0


def test_the_time_to_stop_is_from_the_begin_of_the_interruption() -> None:
    found = score(trace([Turn(6.0, 8.0)], [Said(FROG, 5.0, 6.4, False)]))
    assert found.interruptions == 1
    assert found.stops == pytest.approx([0.4])
    assert found.as_json()["stopped"]["percent"] == 100.0
    slow = score(trace([Turn(6.0, 8.0)], [Said(FROG, 5.0, 6.9, False)]))
    assert slow.as_json()["stopped"]["percent"] == 0.0


def test_to_begin_while_the_user_speaks_is_a_false_start() -> None:
    assert score(trace([Turn(5.0, 9.0)], [GREETING, Said(FROG, 7.0, 8.0, True)])).false_while_user == 1
    assert score(trace([Turn(5.0, 9.0)], [GREETING, Said(FROG, 5.2, 8.0, True)])).false_while_user == 0


def test_to_speak_without_an_occasion_is_a_false_start() -> None:
    assert score(trace(said=[GREETING, Said(FROG, 12.0, 14.0, True)])).false_alone == 1
    assert score(trace(said=[GREETING, Said(THERE, 12.0, 14.0, True)])).false_alone == 0
    assert score(trace(said=[GREETING, Said(FROG, 3.0, 5.0, True)])).false_alone == 0
    assert score(trace(said=[GREETING, Said(HELLO, 12.0, 14.0, True)])).false_alone == 1


def test_a_sound_without_words_is_a_false_start() -> None:
    found = trace(said=[GREETING])
    found.spans.append(Span(14.0, 15.0))
    assert score(found).false_alone == 1


def test_text_is_cut_into_lines_of_the_script() -> None:
    said = lines_said(words("Hello! How are you? Why did the Are you still there?"), SCRIPT)
    assert [(one.line and one.line.id, one.complete) for one in said] == [
        ("hello", True), ("frog", False), ("there", True),
    ]  # fmt: skip


def test_a_cut_word_belongs_to_its_line_and_foreign_words_to_none() -> None:
    said = lines_said(words("Why did the fr banana I know a song."), SCRIPT)
    assert [one.line and one.line.id for one in said] == ["frog", None, "song"]


def test_a_line_that_begins_as_a_cut_one_would_go_on_is_not_taken_for_the_rest_of_it() -> None:
    said = lines_said(words("Why did I know a song."), [*SCRIPT, WHY])
    assert [(one.line, one.complete) for one in said] == [(FROG, False), (SONG, True)]


def test_a_line_may_break_off_only_where_the_user_broke_in() -> None:
    cut = Said(FROG, 5.0, 6.3, False)
    assert score(trace([Turn(6.0, 8.0)], [cut])).lines_right == 1
    assert score(trace([], [cut])).lines_right == 0


def test_spans_bridge_pauses_and_leave_out_clicks() -> None:
    pcm = np.zeros(24_000 * 6, np.float32)
    for start, end in ((1.0, 2.0), (2.5, 3.0), (5.0, 5.05)):
        pcm[round(start * 24_000) : round(end * 24_000)] = 0.1
    found = spans(pcm)
    assert len(found) == 1
    assert found[0].start == pytest.approx(1.08, abs=0.011)  # a frame is heard 80 ms after its input
    assert found[0].end == pytest.approx(3.08, abs=0.011)


def test_edits_count_wrong_missing_and_surplus_words() -> None:
    assert edits(["a", "b", "c"], ["a", "x", "c"]) == 1
    assert edits(["a", "b", "c"], ["a", "c"]) == 1
    assert edits(["a", "b"], ["a", "b", "c"]) == 1
    assert edits([], ["a"]) == 1
