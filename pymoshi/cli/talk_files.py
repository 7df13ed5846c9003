"""`pymoshi talk --input FILE --output FILE`: a conversation between files, as fast as the machine computes."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as ProgressBar

from pymoshi.audio import files
from pymoshi.audio.ports import Samples
from pymoshi.audio.signals import ArraySource, NullSink
from pymoshi.cli.console import bar, offer, say, stderr
from pymoshi.cli.stopper import Stopper
from pymoshi.cli.talk_keeping import kept_files
from pymoshi.cli.talk_minutes import Minutes, measured
from pymoshi.cli.talk_options import TalkOptions, tell_of_missing_text
from pymoshi.cli.view import Picture, View
from pymoshi.cli.view_json import JsonView
from pymoshi.conversation import Conversation, Event, FrameDone, Progress
from pymoshi.transcript import Lines, clock


def talk_between_files(asked: TalkOptions, source: Path, target: Path) -> None:
    """Lets the model listen to a recording and records what it says. Raises PymoshiError, typer.Exit after a signal."""
    asked.role.check()
    asked.outputs.check([source], [target])
    files.check_writable(target)
    heard = files.read(source)
    offer(asked.model.name)
    minutes = Minutes(source=str(source), target=str(target))
    with Stopper() as stopper, ExitStack() as stack:
        with measured(minutes.stats), bar(f"Loading {asked.model.name}") as show:
            model = stack.enter_context(asked.model.load(stopper.watching(show)))
        role = asked.choose_role(model)
        tell_of_missing_text(model, asked.outputs)
        conversation = Conversation(
            model,
            voice=role.voice,
            prompt=role.prompt,
            source=ArraySource(heard),
            sink=_Reply(target, heard.size),
            observers=[minutes, *kept_files(asked.outputs, role)],
            **asked.session,
        )
        minutes.meet(role)
        stopper.on_stop(conversation.stop)
        view: View = JsonView(Picture()) if asked.json else _ReplyView(minutes, heard.size)
        stack.enter_context(view)
        try:
            with conversation:
                for event in conversation:
                    minutes.hear(event)
                    view.handle(event)
            minutes.complete = not stopper.requested
        finally:  # also after an error: what was said so far is worth keeping
            minutes.write(asked.outputs)
    seed = conversation.session.seed
    say(f"{target}: {clock(heard.size / files.SAMPLE_RATE)} of reply, seed {seed}, {minutes.stats.speed}")


class _Reply(NullSink):
    """A file that becomes exactly as long as the input, however the last frame was filled up."""

    def __init__(self, path: Path, length: int) -> None:
        self._path = path
        self._writer: files.AudioWriter | None = None  # a conversation that does not begin leaves no file
        self._length = length

    def write(self, pcm: Samples) -> None:
        if self._writer is None:
            self._writer = files.AudioWriter(self._path)
        self._writer.write(pcm[: self._length - self._writer.samples_written])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _ReplyView:
    """The text goes to stdout as it is said, with its time; how far it is to the terminal, if stderr is one."""

    def __init__(self, minutes: Minutes, length: int) -> None:
        self._minutes = minutes
        self._lines = Lines()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[line]}", markup=False),
        )
        self._bar = ProgressBar(
            *columns,
            console=stderr,
            transient=True,
            disable=not stderr.is_terminal,
            redirect_stderr=False,
            # Lines of text scroll above the bar where both are on one screen; elsewhere stdout must stay stdout.
            redirect_stdout=sys.stdout.isatty() and stderr.is_terminal,
        )
        self._length = length
        self._task = self._bar.add_task("Preparing voice and prompt", total=1.0, line="")

    def handle(self, event: Event) -> None:
        match event:
            case Progress(_, "priming", fraction):
                self._bar.update(self._task, completed=fraction)
            case FrameDone(time, record):
                _print(self._lines.add(time, record.text))
                self._bar.update(
                    self._task,
                    total=self._length / files.SAMPLE_RATE,
                    completed=time,
                    description=f"{clock(time)} {self._minutes.stats.speed}",
                    line=self._lines.current,
                )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        _print(self._lines.flush())
        self._bar.stop()


def _print(line: str | None) -> None:
    if line is not None:
        print(line, flush=True)
