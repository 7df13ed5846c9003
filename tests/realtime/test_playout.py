"""Playout: no clicks, no growing queue, whatever the frames and the device do."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pymoshi.audio.playout import Playout
from realtime.virtual import FRAME

Samples = NDArray[np.float32]


def tone(seconds: float, frequency: float = 440.0, rate: int = 24_000) -> Samples:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pulled(playout: Playout, seconds: float, block: float = 0.01) -> Samples:
    """What the device plays in this time."""
    blocks = [np.empty(round(block * playout.rate), np.float32) for _ in range(round(seconds / block))]
    for out in blocks:
        playout.pull(out)
    return np.concatenate(blocks)


def frames_of(sound: Samples) -> list[Samples]:
    return [sound[at : at + FRAME] for at in range(0, sound.size - FRAME + 1, FRAME)]


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000, 96_000])
def test_a_tone_comes_out_clean_and_soon_at_any_rate(rate: int) -> None:
    playout = Playout(rate)
    played = []
    for frame in frames_of(tone(4.0)):
        playout.write(frame)
        played.append(pulled(playout, 0.08))
    sound = np.concatenate(played)
    begin = int(np.flatnonzero(np.abs(sound) > 0.01)[0])
    assert begin / rate < 0.03
    assert np.abs(np.diff(sound)).max() < 0.5 * 2 * np.pi * 440 / rate * 1.25  # no step that is not the tone's
    assert playout.stats().underruns == 0
    assert playout.queued() <= 0.03 * 24_000


def test_a_device_200_ppm_off_is_followed_without_a_click() -> None:
    playout = Playout(24_000)
    n, played = 0.0, []
    for frame in frames_of(tone(120.0)):
        playout.write(frame)
        n += 8 * (1 + 400e-6)  # blocks of 10 ms that the device takes meanwhile
        played.append(pulled(playout, 0.01 * int(n)))
        n -= int(n)
    sound = np.concatenate(played)[24_000:]
    assert playout.stats().underruns <= 1
    assert np.abs(np.diff(sound)).max() < 0.5 * 2 * np.pi * 440 / 24_000 * 1.1
    crossings = np.flatnonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    periods = np.diff(crossings[::44])  # of a tenth of a second
    assert np.abs(periods / np.median(periods) - 1).max() < 0.003  # its pitch: 5 cents


def test_an_underrun_fades_out_and_in_without_a_step() -> None:
    playout = Playout(48_000)
    sound = tone(2.0, 200.0)
    for frame in frames_of(sound[: 5 * FRAME]):
        playout.write(frame)
    gap = pulled(playout, 0.6)
    for frame in frames_of(sound[5 * FRAME : 10 * FRAME]):
        playout.write(frame)
    after = pulled(playout, 0.35)
    steps = np.abs(np.diff(np.concatenate([gap, after])))
    assert steps.max() < 3 * 0.5 * 2 * np.pi * 200 / 48_000
    silent = gap[-4800:]
    assert not silent.any()
    assert np.abs(after).max() > 0.45
    assert playout.stats().underruns == 1


def test_running_dry_at_the_end_is_no_underrun() -> None:
    playout = Playout(24_000)
    playout.write(tone(0.08))
    pulled(playout, 1.0)
    assert playout.stats().underruns == 0


def test_clearing_fades_out_at_once_and_drops_the_rest() -> None:
    playout = Playout(24_000)
    for frame in frames_of(tone(0.24, 200.0)):
        playout.write(frame)
    before = pulled(playout, 0.1)
    playout.clear()
    assert playout.queued() == 0
    after = pulled(playout, 0.2)
    assert np.abs(np.diff(np.concatenate([before, after]))).max() < 3 * 0.5 * 2 * np.pi * 200 / 24_000
    assert np.abs(after[:60]).max() > 0.1  # a fade, not a cut
    assert not after[240:].any()
    playout.write(tone(0.08))
    assert np.abs(pulled(playout, 0.1)).max() > 0.4  # what comes then is heard
    assert playout.stats().underruns == 0


def test_what_piles_up_is_taken_out_of_pauses_and_leaves_the_speech_whole() -> None:
    playout = Playout(24_000)
    speech = np.concatenate([tone(0.4), np.zeros(4 * FRAME, np.float32)] * 12)
    frames = frames_of(speech)
    for frame in frames[:3]:  # a stall has ended: three at once
        playout.write(frame)
    played = []
    for frame in frames[3:]:
        played.append(pulled(playout, 0.08))
        playout.write(frame)
    sound = np.concatenate(played)
    assert playout.stats().trimmed >= 0.1 * 24_000
    assert playout.queued() / 24_000 < 0.15
    loud = np.abs(sound) > 0.01
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    assert edges.size > 10
    # The zeros of a tone are no pauses; its ten parts of 0.4 s are as long as they were.
    padded = np.convolve(loud, np.ones(240), "same") > 0
    starts = np.flatnonzero(np.diff(padded.astype(int)) == 1)
    ends = np.flatnonzero(np.diff(padded.astype(int)) == -1)
    lengths = [(ends[ends > start][0] - start) / 24_000 for start in starts if (ends > start).any()]
    assert np.allclose(lengths, 0.41, atol=0.01)


def test_the_queue_is_bounded_even_in_endless_speech() -> None:
    playout = Playout(24_000)
    sound = tone(20.0)
    for frame in frames_of(sound[: 6 * FRAME]):
        playout.write(frame)
    played = []
    for frame in frames_of(sound[6 * FRAME :]):
        played.append(pulled(playout, 0.08))
        playout.write(frame)
    assert playout.queued() / 24_000 < 0.3
    assert np.abs(np.diff(np.concatenate(played))).max() < 0.1  # passed over, not cut


def test_nothing_old_is_played_when_a_device_comes_back() -> None:
    playout = Playout(24_000)
    for _ in range(200):  # 16 s during which nobody pulls
        playout.write(np.full(FRAME, 0.25, np.float32))
    for _ in range(10):
        playout.write(np.full(FRAME, 0.5, np.float32))
        sound = pulled(playout, 0.08)
    assert playout.queued() / 24_000 < 0.7
    assert sound.max() == pytest.approx(0.5, abs=0.01)
    assert sound[-1] == pytest.approx(0.5, abs=0.01)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("pull"), st.integers(1, 2400)),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([16_000, 24_000, 44_100]), moves)
def test_nothing_that_frames_and_devices_do_makes_a_click_or_a_long_queue(
    rate: int, todo: list[tuple[str, int]]
) -> None:
    playout, sound, played = Playout(rate), iter(frames_of(tone(30.0, 100.0))), [np.zeros(2, np.float32)]
    for what, n in todo:
        match what:
            case "write":
                for _ in range(n):
                    playout.write(next(sound))
            case "pull":
                out = np.full(n, np.nan, np.float32)
                playout.pull(out)
                played.append(out)
            case _:
                playout.clear()
        assert 0 <= playout.queued() < 0.8 * 24_000
    everything = np.concatenate(played)
    assert np.isfinite(everything).all()
    assert np.abs(everything).max() < 0.6
    # The tone's own steps, a jump of the tone passed over in 10 ms, and a fade within 5 ms, all at once.
    assert np.abs(np.diff(everything)).max() < 0.5 * 2 * np.pi * 100 / rate + 1.0 / (0.005 * rate) * 1.6


def test_a_device_and_a_conversation_in_threads_of_their_own_make_no_click() -> None:
    playout, sound = Playout(24_000), frames_of(tone(8.0, 100.0))
    done = threading.Event()

    def write() -> None:
        for k, frame in enumerate(sound):
            while playout.queued() > 3 * FRAME:
                pass
            playout.write(frame)
            if k % 20 == 19:
                playout.clear()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    played = []
    while not done.is_set():
        out = np.empty(240, np.float32)
        playout.pull(out)
        played.append(out)
    writer.join()
    everything = np.concatenate(played)
    assert np.abs(everything).max() > 0.4
    assert np.abs(np.diff(everything)).max() < 0.5 * 2 * np.pi * 100 / 24_000 + 1.0 / (0.005 * 24_000) * 1.6
