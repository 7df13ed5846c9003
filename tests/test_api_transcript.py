"""Text pieces become words with times, and lines that people read."""

from pathlib import Path

import numpy as np
import pytest

from pymoshi import Frame, Tokenizer
from pymoshi.transcript import Lines, Transcript, clock


def frame(index: int, text: str, token: int | None = 3) -> Frame:
    silence = np.zeros(1920, np.float32)
    return Frame(silence, text, token, None, np.zeros(8, np.int32), index, 0.0, 0.0, 0.0)


def transcript_of(*pieces: str) -> Transcript:
    transcript = Transcript(None)
    for index, piece in enumerate(pieces):
        transcript.add(frame(index, piece))
    return transcript


def test_words_begin_with_a_space_and_end_with_their_last_piece() -> None:
    words = transcript_of("", " Hel", "lo", "", " there", ".").words
    assert [(word.text, word.start, word.end) for word in words] == [("Hello", 0.08, 0.24), ("there.", 0.32, 0.48)]


def test_space_of_its_own_begins_the_next_word() -> None:
    assert [word.text for word in transcript_of(" a", " ", "b", " ", "").words] == ["a", "b"]


def test_frames_are_named_as_nvidias_script_names_them(fixtures: Path) -> None:
    transcript = Transcript(Tokenizer(fixtures / "personaplex" / "tokenizer.model"))
    for index, token in enumerate([None, 3, 0, 314, 1, 2]):
        transcript.add(frame(index, "", token))
    assert transcript.as_json()["frames"] == [None, "PAD", "EPAD", " You", "BOS", "EOS"]


def test_line_ends_at_a_pause() -> None:
    lines = Lines()
    pieces = [" Hello", " there"] + [""] * 20 + [" Yes"]
    found = [line for i, piece in enumerate(pieces) if (line := lines.add(i * 0.08, piece))]
    assert found == ["[00:00.0] Hello there"]
    assert lines.flush() == "[00:01.8] Yes"
    assert lines.flush() is None


def test_line_holds_nothing_that_a_terminal_obeys() -> None:
    lines = Lines()
    lines.add(0, " Hi\x1b[2J\n\u2028there")
    assert lines.flush() == "[00:00.0] Hi [2J  there"


def test_line_that_gets_long_ends_before_a_word() -> None:
    lines = Lines(longest=20)
    found = [line for i in range(40) if (line := lines.add(i * 0.08, " word" if i % 2 else "s"))]
    assert len(found) > 5
    assert all(line.endswith("words") and len(line) <= 20 + len("[00:00.0] ") for line in found)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00.0"), (59.96, "01:00.0"), (61.25, "01:01.2"), (6000, "100:00.0")]
)
def test_clock_counts_minutes(seconds: float, text: str) -> None:
    assert clock(seconds) == text
