"""Both sides with their times, and the files that show them."""

import json
import re
from pathlib import Path

import pytest

import pymoshi
from pymoshi.dialogue import Dialogue, Turn
from pymoshi.transcript_formats import as_json, as_srt, as_txt, as_vtt, write_transcript


@pytest.fixture
def dialogue() -> Dialogue:
    """The model greets, the user answers, the model begins again while the user still speaks."""
    talk = Dialogue()
    for index, piece in enumerate([" Hel", "lo", " there", "."]):
        talk.say(0.8 + index * 0.08, piece)
    talk.begin(0.8, "model")
    talk.end(1.3, "model")
    talk.begin(2.0, "user")
    talk.say(3600.0, " Yes")
    talk.end(3600.5, "user")
    return talk


def test_turns_of_both_sides_are_in_the_order_of_their_beginnings(dialogue: Dialogue) -> None:
    assert [(turn.who, round(turn.start, 2), round(turn.end, 2), turn.text) for turn in dialogue.turns] == [
        ("model", 0.8, 1.12, "Hello there."),
        ("user", 2.0, 3600.5, ""),
        ("model", 3600.0, 3600.08, "Yes"),
    ]


def test_speech_that_goes_on_ends_with_the_conversation() -> None:
    talk = Dialogue()
    talk.begin(1.0, "user")
    assert talk.spans("user") == []
    talk.pass_to(4.0)
    assert talk.turns == [Turn("user", 1.0, 4.0, "")]


def test_end_without_beginning_is_no_turn() -> None:
    talk = Dialogue()
    talk.end(1.0, "user")
    assert talk.turns == []


def test_long_speech_becomes_turns_of_subtitle_length_cut_before_words() -> None:
    talk = Dialogue()
    for index in range(400):
        talk.say(index * 0.08, " wo" if index % 4 == 0 else "rds" if index % 4 == 1 else "")
    assert len(talk.turns) > 4
    assert all(turn.text.startswith("wo") and turn.text.endswith("words") for turn in talk.turns)
    assert all(len(turn.text) <= 84 and turn.end - turn.start <= 7.2 for turn in talk.turns)
    assert sum(turn.text.count("words") for turn in talk.turns) == 100


def test_txt_has_a_line_a_turn(dialogue: Dialogue) -> None:
    assert as_txt(dialogue).splitlines() == [
        "[00:00.8 - 00:01.1] model: Hello there.",
        "[00:02.0 - 60:00.5] user: (speech)",
        "[60:00.0 - 60:00.1] model: Yes",
    ]


def test_srt_is_numbered_and_has_commas_in_its_times(dialogue: Dialogue) -> None:
    assert as_srt(dialogue).split("\n\n")[0] == "1\n00:00:00,800 --> 00:00:01,120\nmodel: Hello there."
    assert "3\n01:00:00,000 --> 01:00:00,080\nmodel: Yes\n" in as_srt(dialogue)


def test_vtt_has_its_header_and_voices(dialogue: Dialogue) -> None:
    text = as_vtt(dialogue)
    assert text.startswith("WEBVTT\n\n00:00:00.800 --> 00:00:01.120\n<v model>Hello there.\n\n")
    assert "\n\n00:00:02.000 --> 01:00:00.500\n<v user>(speech)\n" in text


def test_words_cannot_break_out_of_their_cue() -> None:
    talk = Dialogue()
    talk.say(0, " a\n\n2\n00:00:00,000 --> 00:01:00,000\n<b>&amp;\x1b[2J")
    for text in (as_srt(talk), as_vtt(talk)):
        assert len(re.findall("-->", text)) == 1
        assert "\x1b" not in text
    assert "<b>" not in as_vtt(talk)
    assert as_srt(talk).rstrip("\n").count("\n") == 2


def test_json_has_turns_spans_and_what_else_is_known(dialogue: Dialogue) -> None:
    content = json.loads(as_json(dialogue, {"seed": 3}))
    assert content["seed"] == 3
    assert content["turns"][0] == {"who": "model", "start": 0.8, "end": 1.12, "text": "Hello there."}
    assert content["speech"] == {"user": [[2.0, 3600.5]], "model": [[0.8, 1.3]]}


@pytest.mark.parametrize("suffix", [".txt", ".json", ".srt", ".vtt", ".VTT"])
def test_suffix_decides_the_format_and_nothing_else_is_left(suffix: str, dialogue: Dialogue, tmp_path: Path) -> None:
    path = tmp_path / f"talk{suffix}"
    write_transcript(path, dialogue, {})
    assert "Hello there." in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_conversation_without_a_word_is_a_whole_file_in_every_format() -> None:
    talk = Dialogue()
    assert as_txt(talk) == as_srt(talk) == ""
    assert as_vtt(talk) == "WEBVTT\n"
    assert json.loads(as_json(talk, {}))["turns"] == []


def test_unknown_suffix_is_refused(dialogue: Dialogue, tmp_path: Path) -> None:
    with pytest.raises(pymoshi.InputError, match=r"\.vtt: that decides"):
        write_transcript(tmp_path / "talk.doc", dialogue, {})


def test_transcript_that_cannot_be_written_says_so(dialogue: Dialogue, tmp_path: Path) -> None:
    with pytest.raises(pymoshi.PymoshiError, match=r"talk\.txt cannot be written"):
        write_transcript(tmp_path / "nowhere" / "talk.txt", dialogue, {})
