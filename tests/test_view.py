"""What a person sees of a conversation: on a terminal of any size, as lines, as JSON."""

import io
import json
import logging
from collections.abc import Iterable
from dataclasses import replace

import pytest
from rich.console import Console

from frames import made_up_record
from pymoshi.cli.console import say
from pymoshi.cli.view import Picture
from pymoshi.cli.view_json import JsonView, as_json
from pymoshi.cli.view_lines import LineView
from pymoshi.cli.view_screen import ScreenView, render
from pymoshi.conversation import LoopStats
from pymoshi.conversation.events import (
    Ended,
    Event,
    FrameDone,
    Notice,
    Progress,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TextPiece,
)


def frame(index: int, *, text: str = "", user_db: float = -20) -> FrameDone:
    record = replace(made_up_record(index), text=text, user_db=user_db)
    return FrameDone(record.time, record)


CONVERSATION: list[Event] = [
    StateChanged(0, State.LOADING),
    Progress(0, "loading", 0.5),
    StateChanged(0, State.PRIMING),
    StateChanged(0, State.LISTENING),
    *(frame(index) for index in range(9)),
    TextPiece(0.72, " Hel"),
    frame(9, text=" Hel"),
    TextPiece(0.8, "lo there."),
    frame(10, text="lo there."),
    SpeechStarted(1.0, "model"),
    SpeechEnded(1.5, "model", 0.5),
    SpeechStarted(2.0, "user"),
    SpeechEnded(3.5, "user", 1.5),
    *(frame(index) for index in range(11, 60)),
    TextPiece(4.8, " And again."),
    Notice(4.8, "warning", "the microphone came back"),
]


def picture_of(events: Iterable[Event], **fields: object) -> Picture:
    picture = Picture(title="demo on cpu", **fields)  # type: ignore[arg-type]
    for event in events:
        picture.take(event)
    return picture


def screen(picture: Picture, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None, force_terminal=False)
    console.print(render(picture, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 12), (200, 60), (20, 5), (10, 1)])
def test_picture_fills_the_terminal_and_no_more(width: int, height: int) -> None:
    lines = screen(picture_of(CONVERSATION, context=3000), width, height)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_everything_promised_is_on_the_terminal(width: int, height: int) -> None:
    picture = picture_of(CONVERSATION, context=300, primed=90, keeping=("recording",), keys=True)
    picture.count(LoopStats(late=1, shed_ms=80, underruns=2, overruns=1, xruns=7))
    shown = "\n".join(screen(picture, width, height))
    for words in (
        "demo on cpu", "00:04.7", "listening", "-20 dB", "-30 dB", "62 of 80 ms", "encode 12", "model 38", "decode 11",
        "memory 50 %", "late 1", "left out 0.1 s", "gaps 2", "overruns 1", "xruns 7", "recording", "Hello there.",
        "you spoke 1.5 s", "And again.", "the microphone came back", "m mute", "i interrupt", "+ - volume", "q quit",
        "volume 100 %",
    ):  # fmt: skip
        assert words in shown, words


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_name_on_the_terminal(state: State) -> None:
    shown = "\n".join(screen(picture_of([StateChanged(0, state, "why it is so")])))
    assert "why it is so" in shown
    assert {"priming": "preparing"}.get(state, state.replace("_", " ")) in shown


def test_loading_shows_how_far_it_is() -> None:
    assert "45 %" in "\n".join(screen(picture_of([StateChanged(0, State.LOADING), Progress(0, "loading", 0.45)])))


def test_push_to_talk_says_how_it_works() -> None:
    picture = picture_of([StateChanged(0, State.MUTED)], push_to_talk=True, keys=True)
    shown = "\n".join(screen(picture))
    assert "press space and speak; press it again when you are done" in shown
    assert "space talk/done" in shown


def test_pause_begins_a_new_line_and_the_last_lines_are_seen() -> None:
    events = [TextPiece(number * 2.0, f" line{number}") for number in range(50)]
    shown = "\n".join(screen(picture_of(events)))
    assert "line49" in shown
    assert "line40" in shown
    assert "line20" not in shown


def test_words_of_the_model_are_neither_markup_nor_commands() -> None:
    events: list[Event] = [
        TextPiece(0, " [bold red]not bold[/]"),
        TextPiece(0.08, " \x1b]0;title\x07 \x1b[2J\u202egnp"),
    ]
    events.append(Notice(0.1, "info", "a device named \x1b[31m[red]"))
    shown = "\n".join(screen(picture_of(events)))
    assert "[bold red]not bold[/]" in shown
    assert "[red]" in shown
    assert not any(letter in shown for letter in "\x1b\x07\u202e")


def test_words_of_wide_letters_stay_on_the_terminal() -> None:
    lines = screen(picture_of([TextPiece(0, " 您好" * 60)]), 40, 20)
    assert "".join(lines).count("您好") == 60


def test_meter_falls_slowly_and_rises_at_once() -> None:
    picture = picture_of([frame(0, user_db=-10), frame(1, user_db=-120)])
    assert picture.user_db == -12
    picture.take(frame(2, user_db=-5))
    assert picture.user_db == -5


def test_hour_of_conversation_keeps_only_what_can_be_seen() -> None:
    picture = picture_of(TextPiece(number * 1.5, " word") for number in range(3000))
    assert len(picture.entries) == 300


def test_screen_is_drawn_and_given_back() -> None:
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, color_system=None)
    with ScreenView(Picture(title="demo"), console) as view:
        for event in CONVERSATION:
            view.handle(event)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert written.startswith("\x1b[?1049h")
    assert "\x1b[?1049l" in written
    assert "listening" in written


def test_lines_are_the_models_words_and_the_rest_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with LineView(Picture()) as view:
        for event in CONVERSATION:
            view.handle(event)
        view.handle(StateChanged(4.8, State.DEVICE_LOST, "unplugged\x1b[2J"))
        view.handle(Ended(4.9, "stopped"))
    out, err = capsys.readouterr()
    assert out.splitlines() == ["[00:00.7] Hello there.", "[00:04.8] And again."]
    assert "[00:02.0] you spoke 1.5 s" in err
    assert "warning: the microphone came back" in err
    assert "device lost: unplugged" in err
    assert "listening" not in err
    assert "\x1b" not in err


def test_every_event_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonView(Picture()) as view:
        for event in [*CONVERSATION, Ended(4.8, "stopped")]:
            view.handle(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(CONVERSATION) + 1
    assert lines[0] == {"type": "state_changed", "time": 0, "state": "loading", "detail": ""}
    assert lines[-1] == {"type": "ended", "time": 4.8, "reason": "stopped"}
    assert {"type": "text_piece", "time": 0.72, "text": " Hel"} in lines


def test_frame_in_json_has_its_numbers_without_its_samples() -> None:
    content = json.loads(json.dumps(as_json(frame(3))))
    assert (content["type"], content["time"], content["index"], content["lm_ms"]) == ("frame_done", 0.24, 3, 38)
    assert content["codes"] == list(range(8))
    assert "heard" not in content
    assert "said" not in content


def test_messages_do_not_break_the_picture_and_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True, color_system=None)
    logger = logging.getLogger("pymoshi")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler()])  # not what other tests' commands have left
    with ScreenView(Picture(title="demo"), console) as view:
        say("It speaks with a voice of its own choosing.")
        assert view.picture.notice is not None
        assert view.picture.notice.text == "It speaks with a voice of its own choosing."
        logger.warning("the disk is slow")
        assert view.picture.notice.text == "the disk is slow"
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err.splitlines() == [
        "It speaks with a voice of its own choosing.",
        "the disk is slow",
    ]
    logger.warning("afterwards")
    assert capsys.readouterr().err == "afterwards\n"
