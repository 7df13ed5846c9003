"""`pymoshi talk` with microphone and speaker: a live conversation."""

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from pymoshi.cli.console import offer, say
from pymoshi.cli.keys import Keys
from pymoshi.cli.stopper import Stopper
from pymoshi.cli.talk_keeping import kept_files
from pymoshi.cli.talk_minutes import Minutes, measured
from pymoshi.cli.talk_options import TalkOptions, tell_of_missing_text
from pymoshi.cli.talk_ports import Ports, named_files, open_ports
from pymoshi.cli.view import Picture, View
from pymoshi.cli.view_json import JsonView
from pymoshi.cli.view_lines import LineView
from pymoshi.cli.view_screen import ScreenView
from pymoshi.conversation import Conversation, Ended, Event, FrameDone, Notice, Progress, State, StateChanged
from pymoshi.dialogue import Turn
from pymoshi.errors import InputError
from pymoshi.transcript import clock

DEMO_REMARK: Final = "This demonstration model reacts to when you speak, not to what you say."
_VOLUME_STEP: Final = 0.1
_LOUDEST: Final = 2.0  # by keys; --volume goes further


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What a live conversation takes besides `TalkOptions`."""

    input_device: str | None = None
    """Index, name or part of it; "file:PATH" or "null" in its place; None: the remembered or the usual one."""
    output_device: str | None = None
    echo_cancel: bool = True
    plain: bool = False
    push_to_talk: bool = False
    volume: float = 1.0


def talk_live(asked: TalkOptions, live: LiveOptions) -> None:
    """Converses until somebody ends it. Raises PymoshiError; typer.Exit after a signal."""
    asked.role.check()
    asked.outputs.check(named_files(live.input_device), named_files(live.output_device))
    if live.push_to_talk and not Keys(lambda key: None).available:
        raise InputError("--push-to-talk needs a terminal to press space in; without one leave it out.")
    offer(asked.model.name)
    with Stopper() as stopper, ExitStack() as stack:
        ports = open_ports(live.input_device, live.output_device, echo_cancel=live.echo_cancel)
        stack.callback(ports.close)
        picture = Picture(push_to_talk=live.push_to_talk, muted=live.push_to_talk, volume=live.volume)
        minutes = Minutes(source=ports.source_name, target=ports.sink_name)
        view = _choose_view(asked, live, picture)
        controls = _Controls(picture, stopper)
        try:
            with view, Keys(controls.press) as keys:
                picture.keys = keys.available
                _converse(asked, live, ports, _Stage(stopper, view, controls, minutes))
        finally:
            minutes.write(asked.outputs)
            if isinstance(view, ScreenView):
                _leave_on_screen(minutes.dialogue.turns)
            _sum_up(asked, minutes)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What surrounds a conversation on the command line."""

    stopper: Stopper
    view: View
    controls: "_Controls"
    minutes: Minutes


def _converse(asked: TalkOptions, live: LiveOptions, ports: Ports, stage: _Stage) -> None:
    view, minutes, picture = stage.view, stage.minutes, stage.controls.picture
    with ExitStack() as stack:
        view.handle(StateChanged(0.0, State.LOADING, asked.model.name))
        show = stage.stopper.watching(lambda fraction: view.handle(Progress(0.0, "loading", fraction)))
        with measured(minutes.stats):
            model = stack.enter_context(asked.model.load(show))
        role = asked.choose_role(model)
        tell_of_missing_text(model, asked.outputs)
        picture.title = " · ".join(part for part in (model.name, role.voice_name, model.info.device) if part)
        kept = kept_files(asked.outputs, role)
        picture.keeping = tuple(file.name for file in kept)
        conversation = Conversation(
            model,
            voice=role.voice,
            prompt=role.prompt,
            source=ports.source,
            sink=ports.sink,
            muted=live.push_to_talk,
            volume=live.volume,
            observers=[minutes, *kept],
            **asked.session,
        )
        minutes.meet(role)
        stage.stopper.on_stop(conversation.stop)
        stage.controls.conversation = conversation
        with conversation:
            for event in conversation:
                _take(event, stage, demo=model.name == "demo")
                if isinstance(event, Ended):
                    minutes.complete = True


def _take(event: Event, stage: _Stage, *, demo: bool) -> None:
    view, minutes, picture = stage.view, stage.minutes, stage.controls.picture
    minutes.hear(event)
    conversation = stage.controls.conversation
    if isinstance(event, FrameDone) and conversation is not None:
        picture.count(conversation.stats)
    if isinstance(event, FrameDone) and not picture.context:
        picture.context, picture.primed = minutes.context, minutes.primed
        if isinstance(view, JsonView):
            view.begin(minutes.details)
        if demo:
            view.handle(Notice(0.0, "info", DEMO_REMARK))
    view.handle(event)


def _choose_view(asked: TalkOptions, live: LiveOptions, picture: Picture) -> View:
    if asked.json:
        return JsonView(picture)
    able = sys.platform == "win32" or os.environ.get("TERM", "") not in ("", "dumb")
    able = able and sys.stdout.isatty() and sys.stdout.encoding.lower().startswith("utf")
    return ScreenView(picture) if able and not live.plain else LineView(picture)


class _Controls:
    """What keys do. They come from a thread of their own."""

    def __init__(self, picture: Picture, stopper: Stopper) -> None:
        self.picture = picture
        self.conversation: Conversation | None = None
        self._stopper = stopper

    def press(self, key: str) -> None:
        """Keys without a meaning have none."""
        if key in "qQ":
            self._stopper.stop()
        conversation = self.conversation
        if conversation is None:
            return
        match key:
            case "m" | "M" | " ":
                self._toggle_mute(conversation)
            case "i" | "I" | "x" | "X":
                conversation.interrupt()
            case "+" | "=":
                self._change_volume(conversation, _VOLUME_STEP)
            case "-" | "_":
                self._change_volume(conversation, -_VOLUME_STEP)

    def _toggle_mute(self, conversation: Conversation) -> None:
        if conversation.muted:
            conversation.unmute()
        else:
            conversation.mute()
        self.picture.muted = conversation.muted

    def _change_volume(self, conversation: Conversation, step: float) -> None:
        most = max(_LOUDEST, conversation.volume)
        conversation.volume = round(min(most, max(0.0, conversation.volume + step)), 2)
        self.picture.volume = conversation.volume


def _leave_on_screen(turns: list[Turn]) -> None:
    """The picture is gone with the conversation; what was said stays where one can scroll back to it."""
    for turn in turns:
        print(f"[{clock(turn.start)}] {turn.text or f'(you spoke {turn.end - turn.start:.1f} s)'}", flush=True)


def _sum_up(asked: TalkOptions, minutes: Minutes) -> None:
    stats, outputs = minutes.stats, asked.outputs
    if not minutes.begun:
        return
    if stats.lm_ms:
        steps = stats.encode_ms, stats.lm_ms, stats.decode_ms
        mean = sum(sum(span) for span in steps) / max(1, len(stats.lm_ms))
        say(
            f"{clock(stats.audio_seconds)} of conversation, seed {minutes.details['seed']}, {mean:.0f} of 80 ms a "
            f"frame, {stats.late} late, {stats.shed_ms / 1000:.1f} s left out, {stats.underruns} gaps"
        )
    named = {
        "Recording": outputs.record,
        "Transcript": outputs.transcript,
        "Text": outputs.output_text,
        "Replay": outputs.replay,
    }
    for name, path in named.items():
        if path is not None and path.exists():
            say(f"{name}: {path}")
