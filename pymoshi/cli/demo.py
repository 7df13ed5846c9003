"""`pymoshi demo`: the bundled model converses with a bundled recording of a user. Nothing else is needed."""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Final

import typer

from pymoshi.audio import files
from pymoshi.audio.ports import AudioSink, PortStats, Samples, stats_of
from pymoshi.audio.signals import NullSink
from pymoshi.cli.console import say
from pymoshi.cli.demo_view import DemoView
from pymoshi.cli.output import check_outputs
from pymoshi.cli.stopper import Stopper
from pymoshi.conversation import Conversation, FrameDone, FrameRecord
from pymoshi.demo import RecordedUser
from pymoshi.errors import AudioDeviceError, InputError
from pymoshi.transcript import clock

DEFAULT_OUTPUT: Final = Path("pymoshi-demo.wav")

INTRODUCTION: Final = (
    "A demonstration: the small model that comes with pymoshi talks with a\n"
    "recorded user. It hears when somebody speaks, not what they say, and\n"
    "answers with lines that it knows by heart."
)
NEXT: Final = (
    "Next: pymoshi demo --live    the same with your own voice\n"
    "      pymoshi doctor         what this machine can run, before any download\n"
    "      pymoshi models         models that understand what you say"
)


def demo_command(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help=f"Stereo: user left, model right; .wav or .flac. (default: {DEFAULT_OUTPUT})"
        ),
    ] = None,
    play: Annotated[
        bool | None,
        typer.Option(
            "--play/--no-play",
            help="Let it be heard, in real time. (default: if there is a speaker, and stdout is a terminal)",
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Talk with it yourself: pymoshi talk --model demo, with its usual options.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another one makes it speak a little differently.")] = 7,
) -> None:
    """Show a conversation at once: no download, no GPU, no sound card.

    The bundled model talks with a recorded user, who waits for its turn, and interrupts once. Both sides appear as
    text on stdout; the conversation is written as a sound file, and played where that is possible.
    """
    if live:
        _talk_live(output, play, seed)
        return
    target = output or DEFAULT_OUTPUT
    check_outputs([], [target])
    files.check_writable(target)
    speaker = open_speaker(play)
    user = RecordedUser(paced=speaker is not None)
    room = Room(user, speaker or NullSink())
    say(INTRODUCTION + "\n")
    records: list[FrameRecord] = []
    started = time.perf_counter()
    conversation = Conversation("demo", source=user, sink=room, seed=seed, record=target, device="cpu")
    with Stopper() as stopper:
        with conversation, DemoView(user) as view:
            stopper.on_stop(conversation.stop)
            for event in conversation:
                view.handle(event)
                if isinstance(event, FrameDone):
                    records.append(event.record)
        if records:
            _summarise(target, records, time.perf_counter() - started, played=speaker is not None)


def _talk_live(output: Path | None, play: bool | None, seed: int) -> None:
    from pymoshi.cli.talk import talk_command

    if play is False:
        raise InputError("--live is a conversation; without sound there is none. Leave out --no-play.")
    talk_command(model="demo", record=output, seed=seed)


def open_speaker(play: bool | None) -> AudioSink | None:
    """The speaker, if it is to be used; None if there is none and nobody insists."""
    if play is False or (play is None and not sys.stdout.isatty()):
        return None
    from pymoshi.audio.stream import open_output  # here: only those who play need PortAudio

    try:
        return open_output()
    except AudioDeviceError as error:
        if play:
            raise
        say(f"Without sound: {error}")
        return None


class Room:
    """Where both are heard: a sink that plays the user beside the model, and lets the user hear the model."""

    def __init__(self, user: RecordedUser, speaker: AudioSink) -> None:
        self._user = user
        self._speaker = speaker

    def write(self, pcm: Samples) -> None:
        """The model's frame, for the user's frame that was read last."""
        self._user.listen(pcm)
        self._speaker.write(pcm + self._user.last)

    def queued(self) -> int:
        return self._speaker.queued()

    def clear(self) -> None:
        self._speaker.clear()

    def stats(self) -> PortStats:
        return stats_of(self._speaker)

    def close(self) -> None:
        self._speaker.close()


def _summarise(target: Path, records: list[FrameRecord], seconds: float, *, played: bool) -> None:
    steps = [record.step_ms for record in records]
    length = len(steps) * 0.08
    parts = ", ".join(
        f"{name} {median(getattr(record, stage) for record in records):.1f}"
        for name, stage in (("encoder", "encode_ms"), ("language model", "lm_ms"), ("decoder", "decode_ms"))
    )
    speed = (
        "" if played else f"{clock(length)} of conversation took {seconds:.1f} s: {length / seconds:.1f}x real time.\n"
    )
    say(
        f"\n{target} has the recording: left the user, right the model.\n{speed}"
        f"A frame of 80 ms took {median(steps):.1f} ms in the median, {max(steps):.1f} ms at most\n({parts}).\n\n{NEXT}"
    )
