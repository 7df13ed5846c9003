"""An hour of conversation: the delay stays bounded, frames are neither lost nor repeated, memory does not grow."""

import gc
import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi.audio.capture import Capture
from pymoshi.audio.playout import Playout
from pymoshi.conversation.events import FrameRecord, Notice, State, StateChanged
from realtime.virtual import FRAME, Call, EchoingModel, Microphone, Samples, Speaker, VirtualClock, places, ramp

HOUR = 3600.0
COMPUTE = 0.04  # s a frame
EVERY = 24_000  # samples from one beep to the next


def beeps(first: int, n: int) -> Samples:
    """A beep of 20 ms, 1 kHz, every second; between them silence."""
    place = np.arange(first, first + n)
    phase = place % EVERY
    return np.where(phase < FRAME // 4, 0.5 * np.sin(2 * np.pi * phase / 24), 0.0).astype(np.float32)


@dataclass
class BeepClock:
    """Listens at the speaker for beeps, and keeps when each began."""

    rate: int = 24_000
    times: list[float] = field(default_factory=list)
    _quiet: int = 10**9

    def listen(self, time: float, block: Samples) -> None:
        loud = np.flatnonzero(np.abs(block) > 0.1)
        if loud.size == 0:
            self._quiet += block.size
            return
        if self._quiet + loud[0] > self.rate // 4:
            self.times.append(time + float(loud[0]) / self.rate)
        self._quiet = int(block.size - 1 - loud[-1])


@dataclass
class Continuity:
    """Watches what the model hears: `ramp`, without a gap or a repetition but for what was shed."""

    expected: int | None = None
    """The place of the next sample; None at the start and after a frame of silence."""
    starts: int = 0
    shed: int = 0
    wrong: int = 0
    frames: int = 0
    worst_queue_ms: float = 0.0
    worst_backlog_ms: float = 0.0

    def watch(self, record: FrameRecord) -> None:
        shed = round(record.shed_ms * 24)
        if not record.heard.any():
            self.expected = None
        else:
            found = places(record.heard)
            begin = 120 if shed or self.expected is None else 0  # there 5 ms pass over from the sound before the gap
            if self.expected is None:
                self.expected = int(found[-1]) - (FRAME - 1) - shed
                self.starts += 1
            wanted = (np.arange(FRAME) + self.expected + shed) % 2**20
            self.wrong += bool((found[begin:] != wanted[begin:]).any())
            self.expected += shed + FRAME
        self.shed += shed
        self.frames += 1
        assert record.index == self.frames - 1
        self.worst_queue_ms = max(self.worst_queue_ms, record.queued_ms)
        self.worst_backlog_ms = max(self.worst_backlog_ms, record.backlog_ms)


def make_call(rate: int = 24_000, seed: int = 1, jitter: float = 0.0) -> tuple[Call, np.random.Generator]:
    """A call whose model computes 40 ms a frame, and up to `jitter` longer."""
    clock, rng = VirtualClock(), np.random.default_rng(seed)
    longer = rng.random(4096) * jitter
    model = EchoingModel(clock, lambda k: COMPUTE + float(longer[k % longer.size]))
    return Call(clock, model, Capture(rate, clock=clock), Playout(rate)), rng


def delays_of(clock: BeepClock, ppm_in: float) -> NDArray[np.float64]:
    """From each beep's beginning at the microphone to its beginning at the speaker, s."""
    sent = np.arange(HOUR + 2) / (1 + ppm_in * 1e-6)
    heard = np.array(clock.times)
    nearest = np.searchsorted(sent, heard) - 1
    return np.asarray(heard - sent[nearest])


@pytest.mark.parametrize(("ppm_in", "ppm_out"), [(200.0, -200.0), (-200.0, 200.0)])
def test_clocks_that_differ_neither_add_delay_nor_break_the_sound(ppm_in: float, ppm_out: float) -> None:
    minutes = 10 * 60.0  # in which they part by 240 ms
    call, rng = make_call(jitter=0.004)
    late = rng.random(4096) * 0.004
    listener = BeepClock()
    Microphone(call.clock, call.capture, beeps, 240, ppm_in, lambda k: float(late[k % 4096])).start()
    Speaker(call.clock, call.playout, listener.listen, 240, ppm_out, lambda k: float(late[-k % 4096])).start()
    call.run(minutes)

    stats, delays = call.loop.stats, delays_of(listener, ppm_in)
    assert stats.frames == pytest.approx(minutes * 12.5, rel=3e-4)
    assert (stats.shed_ms, stats.late, stats.overruns) == (0.0, 0, 0)
    assert stats.underruns <= 2  # while it learns
    assert minutes - 3 <= len(delays) <= minutes + 1  # every beep was heard, once
    settled = delays[60:]
    assert settled.max() < 0.08 + COMPUTE + 0.06
    assert settled.max() - settled.min() < 0.03


def test_an_hour_of_everything_at_once_loses_only_what_the_policy_says() -> None:
    """Jitter, stalls of the computer, bursts of the driver, clocks that differ, devices that go and come back."""
    call, rng = make_call(jitter=0.01)
    stalls = {int(k): float(rng.uniform(0.1, 1.2)) for k in rng.integers(100, 44_000, 60)}
    usual = call.model.cost
    call.model.cost = lambda k: usual(k) + stalls.get(k, 0.0)
    bursts = {int(k): float(rng.uniform(0.03, 0.2)) for k in rng.integers(100, 170_000, 400)}
    watch, listener = Continuity(), BeepClock()
    call.watch = watch.watch
    stepped: list[float] = []

    def answer(k: int, heard: Samples) -> Samples:
        """A beep now and then, in the middle of a frame."""
        if k % 25:
            return np.zeros(FRAME, np.float32)
        stepped.append(call.clock.now())
        return np.roll(beeps(0, FRAME), FRAME // 2)

    call.model.answer = answer
    away_in, away_out = (1000.0, 1030.0), (2000.0, 2060.0)
    delayed = lambda k: bursts.get(k, 0.0)  # noqa: E731
    Microphone(call.clock, call.capture, ramp, ppm=200, delay=delayed, unplugged=away_in).start()
    Speaker(call.clock, call.playout, listener.listen, ppm=-200, delay=delayed, unplugged=away_out).start()
    call.run(HOUR)

    stats = call.loop.stats
    assert (watch.wrong, watch.starts) == (0, 2)  # the second where the microphone came back
    assert watch.shed == pytest.approx(stats.shed_ms * 24)
    assert 0 < watch.shed < sum(stalls.values()) * 24_000
    heard = watch.frames * 80 + stats.shed_ms
    assert heard == pytest.approx(HOUR * 1000 * 1.0002, abs=1500)
    assert stats.lost_ms == pytest.approx(29_500, abs=200)
    assert watch.worst_backlog_ms <= 3 * 80
    assert watch.worst_queue_ms <= 80 + 600  # while nobody listened
    assert stats.overruns == 0
    # Every beep but those of the minute without a speaker, each once, and none that had grown old.
    said, played = np.array(stepped), np.array(listener.times)
    assert len(played) == pytest.approx(len(said) - 30, abs=5)
    delays = played - said[np.searchsorted(said, played) - 1]
    assert delays.min() > 0.0
    assert delays.max() < 0.04 + 0.4
    assert np.median(delays) < 0.04 + 0.11  # a driver that holds 200 ms back now and then needs a longer queue


def test_after_a_stall_the_delay_goes_back_to_what_it_was() -> None:
    call, _ = make_call()
    call.model.cost = lambda k: COMPUTE + (0.23 if k == 400 else 0.0)
    listener = BeepClock()
    Microphone(call.clock, call.capture, beeps).start()
    Speaker(call.clock, call.playout, listener.listen).start()
    call.run(60.0)

    delays = delays_of(listener, 0.0)
    assert delays[25] == pytest.approx(COMPUTE + 0.1, abs=0.025)
    assert delays[-1] == pytest.approx(delays[25], abs=0.025)


def test_devices_that_come_back_find_the_conversation_as_quick_as_before() -> None:
    call, _ = make_call()
    listener = BeepClock()
    Microphone(call.clock, call.capture, beeps, unplugged=(50.0, 80.0)).start()
    Speaker(call.clock, call.playout, listener.listen, unplugged=(100.0, 130.0)).start()
    call.run(200.0)

    delays = delays_of(listener, 0.0)
    assert call.loop.stats.frames == pytest.approx(200 * 12.5, abs=10)  # silence stood in, at the same pace
    assert call.loop.stats.lost_ms == pytest.approx(29_500, abs=200)
    assert delays[-50:].max() < 0.08 + COMPUTE + 0.06
    lost = [event for event in call.of(StateChanged) if event.state is State.DEVICE_LOST]
    assert [event.time for event in lost] == [pytest.approx(50, abs=1)]
    assert len(listener.times) == pytest.approx(200 - 30 - 30, abs=3)


def test_a_machine_that_is_too_slow_is_told_so_and_its_delay_does_not_grow() -> None:
    call, _ = make_call()
    call.model.cost = lambda _: 0.1
    watch = Continuity()
    call.watch = watch.watch
    Microphone(call.clock, call.capture, ramp).start()
    Speaker(call.clock, call.playout, lambda *_: None).start()
    call.run(150.0)

    assert watch.wrong == 0
    assert watch.frames == pytest.approx(1500, abs=5)
    assert watch.worst_backlog_ms <= 240
    assert call.loop.stats.shed_ms == pytest.approx(30_000, abs=300)
    notices = call.of(Notice)
    assert "10.0 of the 12.5 frames" in notices[0].text
    assert notices[0].time == pytest.approx(5, abs=0.5)
    assert len(notices) == 1500 // 375  # every 30 s of conversation
    assert call.loop.state is State.TOO_SLOW


def test_memory_stays_as_it_is_however_long_it_takes() -> None:
    call, _ = make_call(jitter=0.03)
    Microphone(call.clock, call.capture, beeps, block=960, ppm=100).start()
    Speaker(call.clock, call.playout, lambda *_: None, block=960, ppm=-100).start()
    held: list[int] = []

    def measure() -> None:
        call.events.clear()  # whoever iterates would have taken them
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        call.clock.at(call.clock.now() + 20, measure)

    call.clock.at(20, measure)
    tracemalloc.start()
    try:
        call.run(240)
    finally:
        tracemalloc.stop()
    assert len(held) >= 11
    assert max(held[3:]) - min(held[3:]) < 50_000  # bytes; a frame's sound alone is 7,680
