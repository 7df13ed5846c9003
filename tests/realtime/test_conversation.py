"""`Conversation`: a thread, a model, and everything that a program may do to them."""

import asyncio
import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi.audio import files
from pymoshi.audio.ports import Samples
from pymoshi.audio.signals import ArraySink, ArraySource, FileSink, FileSource, NullSink
from pymoshi.conversation import (
    Conversation,
    Ended,
    Event,
    FrameDone,
    FrameRecord,
    Progress,
    State,
    StateChanged,
    TextPiece,
)

FRAME = 1920


class Endless(ArraySource):
    """Silence, in real time or not, until the conversation is stopped."""

    def __init__(self, *, paced: bool = False) -> None:
        super().__init__(np.zeros(3600 * 24_000, np.float32), paced=paced)


def test_it_says_what_the_session_says(model: pymoshi.Model, speech: NDArray[np.float32]) -> None:
    with model.session(seed=7) as session:
        expected = [session.step(frame) for frame in speech.reshape(-1, FRAME)]
    sink = ArraySink()
    with Conversation(model, seed=7, source=ArraySource(speech), sink=sink) as conversation:
        events = list(conversation)
    records = [event.record for event in events if isinstance(event, FrameDone)]
    assert len(records) == len(expected)
    assert np.array_equal(sink.pcm, np.concatenate([frame.audio for frame in expected]))
    for record, frame in zip(records, expected, strict=True):
        assert (record.text, record.text_token) == (frame.text, frame.text_token)
        assert np.array_equal(record.user_codes, frame.user_codes)
    assert isinstance(events[-1], Ended) and events[-1].reason == "the input ended"
    assert conversation.state is State.ENDED
    assert conversation.events_left_out == 0


def test_a_model_that_is_named_is_loaded_and_given_back(moshi_folder: Path, speech: NDArray[np.float32]) -> None:
    source = ArraySource(speech[: 3 * FRAME])
    with Conversation(moshi_folder, threads=1, device="cpu", source=source, sink=NullSink()) as conversation:
        events = list(conversation)
    states = [event.state for event in events if isinstance(event, StateChanged)]
    states = [state for state in states if state is not State.SPEAKING]  # that is up to the tiny model
    assert states == [State.LOADING, State.PRIMING, State.LISTENING, State.STOPPING, State.ENDED]
    progress = [event.fraction for event in events if isinstance(event, Progress) and event.what == "loading"]
    assert progress == sorted(progress) and progress[-1] == 1.0
    assert conversation.session.model.closed


def test_conversations_share_one_model_and_do_not_disturb_each_other(
    model: pymoshi.Model, speech: NDArray[np.float32]
) -> None:
    sinks = [ArraySink() for _ in range(4)]
    conversations = [
        Conversation(model, seed=seed, source=ArraySource(speech[: 20 * FRAME]), sink=sink)
        for seed, sink in zip((1, 2, 1, 2), sinks, strict=True)
    ]
    for conversation in conversations:
        conversation.start()
    for conversation in conversations:
        conversation.wait()
        conversation.close()
    first, second, third, fourth = (sink.pcm for sink in sinks)
    assert np.array_equal(first, third) and np.array_equal(second, fourth)
    assert not np.array_equal(first, second)
    assert not model.closed


def test_a_session_goes_on_from_where_it_is(model: pymoshi.Model, speech: NDArray[np.float32]) -> None:
    with model.session(seed=3) as session:
        session.step(speech[:FRAME])
        with Conversation(session, source=ArraySource(speech[FRAME : 5 * FRAME]), sink=NullSink()) as conversation:
            conversation.wait()
        assert session.offset == 5
        assert not session.closed
        with pytest.raises(pymoshi.InputError, match="seed"):
            Conversation(session, seed=4)
    with pytest.raises(pymoshi.InputError, match="threads"):
        Conversation(model, threads=2)


def test_callbacks_are_called_by_whoever_waits(model: pymoshi.Model, speech: NDArray[np.float32]) -> None:
    told: list[tuple[Event, int]] = []
    conversation = Conversation(model, seed=7, source=ArraySource(speech), sink=NullSink())
    conversation.on(TextPiece, lambda event: told.append((event, threading.get_ident())))
    conversation.on(Ended, lambda event: told.append((event, threading.get_ident())))
    with conversation:
        conversation.wait()
    assert {thread for _, thread in told} == {threading.get_ident()}
    assert isinstance(told[-1][0], Ended)
    assert any(isinstance(event, TextPiece) for event, _ in told)


def test_the_async_twin_tells_the_same(model: pymoshi.Model, speech: NDArray[np.float32]) -> None:
    def talk() -> Conversation:
        return Conversation(model, seed=7, source=ArraySource(speech), sink=NullSink())

    async def listen() -> tuple[list[Event], int]:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        async with talk() as conversation:
            events = [event async for event in conversation]
        other.cancel()
        return events, turns

    events, turns = asyncio.run(listen())
    with talk() as conversation:
        expected = list(conversation)

    def text(events: list[Event]) -> list[TextPiece]:
        return [event for event in events if isinstance(event, TextPiece)]

    assert text(events) == text(expected) != []
    assert [type(event) for event in events] == [type(event) for event in expected]
    assert turns > 10  # the event loop was free meanwhile


def test_leaving_the_block_stops_it_and_closes_everything(model: pymoshi.Model, tmp_path: Path) -> None:
    class Watched(Endless):
        closed = False

        def close(self) -> None:
            self.closed = True

    source, sink = Watched(paced=True), FileSink(tmp_path / "said.wav")
    record = tmp_path / "both.wav"
    with Conversation(model, source=source, sink=sink, record=record) as conversation:
        for event in conversation:
            if isinstance(event, FrameDone) and event.record.index == 4:
                break
    assert source.closed
    assert conversation.state is State.ENDED
    n = conversation.stats.frames
    assert n >= 5
    assert files.read(record).size == files.read(tmp_path / "said.wav").size == n * FRAME
    assert not any(thread.name == "pymoshi-conversation" for thread in threading.enumerate())


def test_a_stop_from_anywhere_ends_it_in_order(model: pymoshi.Model) -> None:
    with Conversation(model, source=Endless(), sink=NullSink()) as conversation:
        conversation.on(FrameDone, lambda event: conversation.stop() if event.record.index == 3 else None)
        events = list(conversation)
    assert isinstance(events[-1], Ended) and events[-1].reason == "stopped"


def test_an_error_in_the_thread_reaches_who_listens(model: pymoshi.Model) -> None:
    class Broken(ArraySource):
        asked = threading.Event()

        def read(self, n: int, timeout: float) -> Samples | None:
            self.asked.set()
            raise OSError("no such caller")

    source = Broken(np.zeros(FRAME, np.float32))
    with (
        pytest.raises(pymoshi.AudioDeviceError, match="no such caller"),
        Conversation(model, source=source, sink=NullSink()) as conversation,
    ):
        for _ in conversation:
            pass
    source.asked.clear()
    with pytest.raises(pymoshi.AudioDeviceError), Conversation(model, source=source, sink=NullSink()):
        assert source.asked.wait(30)  # nobody listens: it is told at the end of the block


def test_a_model_that_is_not_there_is_told_like_anywhere_else(tmp_path: Path) -> None:
    source = ArraySource(np.zeros(FRAME, np.float32))
    with (
        pytest.raises(pymoshi.ModelNotFoundError),
        Conversation(tmp_path / "nothing", source=source, sink=NullSink()) as conversation,
    ):
        conversation.wait()


def test_a_recording_that_cannot_be_written_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    source = ArraySource(np.zeros(FRAME, np.float32))
    conversation = Conversation("no such model", source=source, sink=NullSink(), record=tmp_path / "no" / "x.wav")
    with pytest.raises(pymoshi.AudioFileError), conversation:
        conversation.wait()


def test_what_cannot_be_is_refused_at_once(model: pymoshi.Model) -> None:
    with pytest.raises(TypeError, match="tempo"):
        Conversation(model, tempo=3)  # type: ignore[call-arg]
    with pytest.raises(pymoshi.InputError, match="volume"):
        Conversation(model, volume=-1.0)
    conversation = Conversation(model, source=Endless(), sink=NullSink())
    with pytest.raises(pymoshi.StateError, match="no session"):
        _ = conversation.session
    with pytest.raises(pymoshi.StateError):
        conversation.say("Hello.")
    conversation.close()
    with conversation:
        pass
    with pytest.raises(pymoshi.StateError, match="once"):
        conversation.start()


def test_observers_see_the_session_every_frame_and_the_end(model: pymoshi.Model, speech: NDArray[np.float32]) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def begin(self, session: pymoshi.Session) -> None:
            self.calls.append(f"begin {session.offset}")

        def add(self, record: FrameRecord) -> None:
            self.calls.append(f"frame {record.index}")

        def close(self) -> None:
            self.calls.append("close")

    watcher = Watcher()
    source = ArraySource(speech[: 3 * FRAME])
    with Conversation(model, source=source, sink=NullSink(), observers=[watcher]) as conversation:
        conversation.wait()
    assert watcher.calls == ["begin 0", "frame 0", "frame 1", "frame 2", "close"]


def test_what_it_is_told_to_say_is_what_its_text_says(model: pymoshi.Model) -> None:
    text = ""
    with Conversation(model, seed=1, source=Endless(), sink=NullSink()) as conversation:
        for event in conversation:
            match event:
                case FrameDone(record=record) if record.index == 5:
                    conversation.say("this is what I say")
                case FrameDone(record=record) if record.forced_text is not None:
                    text += model.tokenizer.piece(record.forced_text) if model.tokenizer else ""
                case FrameDone(record=record) if record.index > 100:
                    break
    assert "I" in text and "say" in text


def test_a_conversation_that_is_over_leaves_no_memory_behind(model: pymoshi.Model) -> None:
    conversation = Conversation(model, source=ArraySource(np.zeros(FRAME, np.float32)), sink=NullSink())
    with conversation:
        conversation.wait()
    remembered = weakref.ref(conversation)
    del conversation
    gc.collect()
    assert remembered() is None


def test_files_are_sources_and_sinks(model: pymoshi.Model, tmp_path: Path, fixtures: Path) -> None:
    heard = fixtures / "mimi" / "input.wav"
    with Conversation(model, source=FileSource(heard, tail=0.4), sink=FileSink(tmp_path / "said.flac")) as conversation:
        conversation.wait()
    assert files.read(tmp_path / "said.flac").size == files.read(heard).size + 5 * FRAME
