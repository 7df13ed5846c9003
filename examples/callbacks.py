"""React to what happens in a conversation: a log of who spoke when.  python callbacks.py [FILE]

Without a file it listens to the microphone. Ctrl-C ends.
"""

import sys

import pymoshi
from pymoshi.audio.signals import ArraySink, FileSource
from pymoshi.conversation import FrameDone, Notice, SpeechEnded, SpeechStarted, StateChanged, TextPiece

steps: list[float] = []  # milliseconds


def on_start(event: SpeechStarted) -> None:
    print(f"{event.time:7.2f} s  the {event.who} begins to speak")


def on_end(event: SpeechEnded) -> None:
    print(f"{event.time:7.2f} s  the {event.who} has spoken for {event.seconds:.1f} s")


def on_frame(event: FrameDone) -> None:
    steps.append(event.record.step_ms)


source = FileSource(sys.argv[1]) if len(sys.argv) > 1 else None  # None: the microphone
sink = ArraySink() if source else None  # None: the speaker

with pymoshi.Conversation("demo", seed=7, source=source, sink=sink) as conversation:
    conversation.on(SpeechStarted, on_start)
    conversation.on(SpeechEnded, on_end)
    conversation.on(FrameDone, on_frame)
    conversation.on(TextPiece, lambda event: print(f"{event.time:7.2f} s  {event.text.strip()!r}"))
    conversation.on(StateChanged, lambda event: print(f"{event.time:7.2f} s  now {event.state}"))
    conversation.on(Notice, lambda event: print(f"{event.time:7.2f} s  {event.level}: {event.text}"))
    conversation.wait()  # callbacks are called here, in this thread

print(f"the slowest of {len(steps)} frames took {max(steps):.1f} of 80 ms")
