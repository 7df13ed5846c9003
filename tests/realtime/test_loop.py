"""The loop: what is asked of it happens in the next frame, and what fails does not take the conversation along."""

from collections.abc import Callable

import numpy as np
import pytest

from pymoshi.audio.capture import Capture
from pymoshi.audio.playout import Playout
from pymoshi.audio.ports import EndOfAudio, PortStats, Samples
from pymoshi.audio.signals import ArraySink, ArraySource
from pymoshi.conversation.controls import Controls
from pymoshi.conversation.events import (
    Event,
    FrameDone,
    FrameRecord,
    Notice,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TextPiece,
)
from pymoshi.conversation.loop import Loop, Observer
from pymoshi.errors import AudioDeviceError, AudioFileError
from realtime.virtual import FRAME, Call, EchoingModel, Microphone, Speaker, VirtualClock

PADDING = 3


class Talk:
    """A loop over arrays, as fast as it goes, with everything that came of it."""

    def __init__(self, sound: Samples, *, observers: tuple[Observer, ...] = (), controls: Controls | None = None):
        self.clock = VirtualClock()
        self.model = EchoingModel(self.clock)
        self.sink = ArraySink()
        self.controls = controls or Controls()
        self.events: list[Event] = []
        self.before: Callable[[int], None] = lambda _: None
        self.loop = Loop(
            self.model, ArraySource(sound), self.sink, self.take,
            controls=self.controls, observers=observers, clock=self.clock,
        )  # fmt: skip

    def take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, FrameDone):
            self.before(event.record.index + 1)

    @property
    def records(self) -> list[FrameRecord]:
        return [event.record for event in self.events if isinstance(event, FrameDone)]


def constant(frames: int, value: float = 0.25) -> Samples:
    return np.full(frames * FRAME, value, np.float32)


def test_everything_that_goes_in_is_stepped_once_and_comes_out() -> None:
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 10 * FRAME + 100).astype(np.float32)
    talk = Talk(sound)
    assert talk.loop.run() == "the input ended"
    assert np.array_equal(talk.sink.pcm[: sound.size], sound)
    assert talk.sink.pcm.size == 11 * FRAME  # the last frame filled up with silence
    assert [record.index for record in talk.records] == list(range(11))
    assert talk.loop.stats.frames == 11


def test_muting_gives_the_model_silence_within_milliseconds_and_lets_it_speak_on() -> None:
    talk = Talk(constant(6))
    talk.before = lambda k: setattr(talk.controls, "muted", k in (2, 3))
    talk.model.answer = lambda _, heard: np.full(FRAME, 0.1, np.float32)
    talk.loop.run()
    heard = [record.heard for record in talk.records]
    assert (heard[1] == 0.25).all()
    assert (heard[2][120:] == 0).all() and np.abs(np.diff(heard[2][:120])).max() < 0.01
    assert not heard[3].any()
    assert (heard[4][120:] == 0.25).all() and heard[4][0] < 0.01
    assert (talk.sink.pcm == np.float32(0.1)).all()
    states = [event.state for event in talk.events if isinstance(event, StateChanged)]
    assert states.count(State.MUTED) == 1


def test_volume_changes_what_is_played_and_not_what_is_recorded() -> None:
    talk = Talk(constant(4))
    talk.before = lambda k: setattr(talk.controls, "volume", 0.5 if k >= 2 else 1.0)
    talk.loop.run()
    played = talk.sink.pcm.reshape(-1, FRAME)
    assert (played[1] == 0.25).all()
    assert (played[2][120:] == 0.125).all() and np.abs(np.diff(played[2])).max() < 0.002
    assert (played[3] == 0.125).all()
    assert all((record.said == 0.25).all() for record in talk.records)


def test_too_much_volume_is_clipped() -> None:
    talk = Talk(constant(3, 0.5), controls=Controls(volume=4.0))
    talk.loop.run()
    assert talk.sink.pcm.max() == 1.0


def test_an_interrupted_model_pads_and_is_not_heard_until_it_is_quiet() -> None:
    talk = Talk(np.zeros(40 * FRAME, np.float32))
    talk.model.answer = lambda k, _: np.full(FRAME, 0.2 if k < 15 or k >= 25 else 0.0, np.float32)
    talk.before = lambda k: talk.controls.interrupt() if k == 10 else None
    talk.loop.run()
    # From the interruption on, until three frames of silence have followed its last word.
    assert talk.model.forced == [(k, PADDING) for k in range(10, 18)]
    assert [record.index for record in talk.records if record.silenced] == list(range(10, 18))
    played = talk.sink.pcm.reshape(-1, FRAME)
    assert (played[9] == np.float32(0.2)).all()
    assert not played[10][120:].any() and not played[11:25].any()
    assert (played[26] == np.float32(0.2)).all()
    assert not talk.records[12].played.any() and talk.records[12].said.any()


def test_an_interruption_ends_even_if_the_model_talks_on() -> None:
    talk = Talk(constant(60))
    talk.before = lambda k: talk.controls.interrupt() if k == 10 else None
    talk.loop.run()
    assert [record.index for record in talk.records if record.silenced] == list(range(10, 35))


def test_interrupting_drops_what_the_speaker_has_not_played() -> None:
    clock = VirtualClock()
    call = Call(clock, EchoingModel(clock, lambda _: 0.04), Capture(clock=clock), Playout())
    loud: list[tuple[float, bool]] = []
    Microphone(clock, call.capture, lambda _, n: np.full(n, 0.25, np.float32)).start()
    Speaker(clock, call.playout, lambda time, block: loud.append((time, bool(np.abs(block).max() > 1e-3)))).start()
    clock.at(2.0, call.controls.interrupt)
    call.run(3.0)
    last = max(time for time, sounds in loud if sounds and time < 2.8)  # later it may speak again
    assert last < 2.0 + 0.08 + 0.04 + 0.02  # the frame that was being heard, and then a block


def test_a_line_is_forced_token_by_token() -> None:
    talk = Talk(constant(8))
    talk.before = lambda k: talk.controls.say([5, 6, 3, 7], waits=False) if k == 2 else None
    talk.loop.run()
    assert talk.model.forced == [(2, 5), (3, 6), (4, 3), (5, 7)]
    assert [record.forced_text for record in talk.records] == [None, None, 5, 6, 3, 7, None, None]


def test_a_hint_waits_until_nobody_speaks() -> None:
    sound = np.concatenate([constant(10), np.zeros(20 * FRAME, np.float32)])
    sound[: 10 * FRAME] *= np.sign(np.sin(np.arange(10 * FRAME) / 5)).astype(np.float32)
    quiet = np.random.default_rng(1).standard_normal(2 * FRAME).astype(np.float32) * 1e-4
    talk = Talk(np.concatenate([quiet, sound]))
    talk.model.answer = lambda _, heard: np.zeros(FRAME, np.float32)
    talk.before = lambda k: talk.controls.say([5, 6], waits=True) if k == 6 else None
    talk.loop.run()
    ended = next(event for event in talk.events if isinstance(event, SpeechEnded))
    first = talk.model.forced[0][0]
    assert ended.time + 0.5 <= first * 0.08 <= ended.time + 0.7
    assert [token for _, token in talk.model.forced] == [5, 6]


def test_interrupting_forgets_what_was_to_be_said() -> None:
    talk = Talk(np.zeros(30 * FRAME, np.float32))

    def act(k: int) -> None:
        if k == 2:
            talk.controls.say([5] * 20, waits=False)
        if k == 6:
            talk.controls.interrupt()

    talk.before = act
    talk.loop.run()
    assert [token for _, token in talk.model.forced] == [5, 5, 5, 5, PADDING, PADDING, PADDING]


def test_words_speech_and_states_are_told_with_their_times() -> None:
    sound = np.zeros(50 * FRAME, np.float32)
    sound[10 * FRAME : 20 * FRAME] = 0.2
    talk = Talk(sound)
    talk.model.text = lambda k: " hello" if k == 12 else ""
    talk.model.answer = lambda _, heard: heard * np.float32(0.5)
    talk.loop.run()
    assert [event for event in talk.events if isinstance(event, TextPiece)] == [TextPiece(0.96, " hello")]
    spoken = [event for event in talk.events if isinstance(event, SpeechStarted | SpeechEnded)]
    assert SpeechStarted(0.8, "model") in spoken and SpeechEnded(1.6, "model", 0.8) in spoken
    assert SpeechStarted(0.8, "user") in spoken and SpeechEnded(1.6, "user", 0.8) in spoken
    states = [(event.time, event.state) for event in talk.events if isinstance(event, StateChanged)]
    assert states == [(0.0, State.LISTENING), (0.8, State.SPEAKING), (1.92, State.LISTENING)]


def test_a_recording_that_fails_is_left_out_and_the_conversation_goes_on() -> None:
    class FullDisk:
        seen = 0

        def add(self, record: FrameRecord) -> None:
            self.seen += 1
            if self.seen == 3:
                raise AudioFileError("x.wav cannot be written: no space left on device.")

    class Counter:
        seen = 0

        def add(self, record: FrameRecord) -> None:
            self.seen += 1

    broken, other = FullDisk(), Counter()
    talk = Talk(constant(8), observers=(broken, other))
    assert talk.loop.run() == "the input ended"
    assert (broken.seen, other.seen) == (3, 8)
    (notice,) = [event for event in talk.events if isinstance(event, Notice)]
    assert notice.level == "warning" and "no space left" in notice.text


def test_a_source_of_ones_own_that_fails_is_a_typed_error() -> None:
    class Broken(ArraySource):
        def read(self, n: int, timeout: float) -> Samples | None:
            raise ConnectionResetError("the caller hung up")

    clock = VirtualClock()
    loop = Loop(EchoingModel(clock), Broken(constant(1)), ArraySink(), lambda _: None, clock=clock)
    with pytest.raises(AudioDeviceError, match="the caller hung up"):
        loop.run()


class Flaky:
    """A microphone that says itself that it is away, from 2 s to 4 s."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.given = 0.0

    @property
    def away(self) -> bool:
        return 2.0 <= self.clock.now() < 4.0

    def read(self, n: int, timeout: float) -> Samples | None:
        if self.clock.now() > 6.0:
            raise EndOfAudio
        if self.away:
            self.clock.sleep(timeout)
            return None
        self.clock.sleep(0.08)
        return np.full(n, 0.25, np.float32)

    def pending(self) -> int:
        return 0

    def skip(self, n: int) -> int:
        return 0

    def stats(self) -> PortStats:
        return PortStats(lost=self.away, detail="Lost it." if self.away else "It is back.")

    def close(self) -> None:
        pass


def test_a_lost_device_is_told_at_once_and_silence_goes_on_at_the_right_pace() -> None:
    clock = VirtualClock()
    events: list[Event] = []
    source = Flaky(clock)
    loop = Loop(EchoingModel(clock, lambda _: 0.0), source, ArraySink(), events.append, clock=clock)
    loop.run()
    assert loop.stats.frames == pytest.approx(6.0 * 12.5, abs=2)
    assert loop.stats.lost_ms == pytest.approx(2000, abs=100)
    changes = [(event.time, event.state, event.detail) for event in events if isinstance(event, StateChanged)]
    lost = next(change for change in changes if change[1] is State.DEVICE_LOST)
    back = changes[changes.index(lost) + 1]
    assert lost[0] == pytest.approx(2.0, abs=0.2) and lost[2] == "Lost it."
    assert back[0] == pytest.approx(4.0, abs=0.2)
    notices = [(event.level, event.text) for event in events if isinstance(event, Notice)]
    assert notices[-2:] == [("warning", "Lost it."), ("info", "It is back.")]


@pytest.mark.parametrize("waiting", [0.0, 10.0])
def test_what_was_said_while_loading_is_not_heard(waiting: float) -> None:
    clock = VirtualClock()
    call = Call(clock, EchoingModel(clock), Capture(clock=clock), Playout())
    Microphone(clock, call.capture, lambda first, n: np.full(n, first / 1e6, np.float32)).start()
    clock.sleep(waiting)
    records: list[FrameRecord] = []
    call.watch = records.append
    call.run(waiting + 1.0)
    assert records[0].heard[-1] >= min(waiting, 2.0) * 24_000 / 1e6 - 1e-6
    assert records[0].shed_ms == 0
    assert max(record.backlog_ms for record in records) <= 80


def test_a_stop_is_obeyed_at_once_while_nothing_comes() -> None:
    clock = VirtualClock()
    call = Call(clock, EchoingModel(clock), Capture(clock=clock), Playout())
    assert call.run(0.3) == "stopped"
    assert clock.now() == pytest.approx(0.4, abs=0.11)
