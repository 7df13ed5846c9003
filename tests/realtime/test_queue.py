"""Events wait for a slow consumer without growing, and words wait longest."""

import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from frames import made_up_record
from pymoshi.conversation.events import Event, FrameDone, TextPiece
from pymoshi.conversation.queue import MOST_FRAMES, MOST_OTHERS, EventQueue

RECORD = made_up_record(0)


def drained(queue: EventQueue) -> list[Event]:
    events: list[Event] = []
    while (event := queue.poll()) is not None:
        events.append(event)
    return events


def test_events_come_out_in_the_order_in_which_they_happened() -> None:
    queue = EventQueue(lossless=False)
    events: list[Event] = [TextPiece(k, "a") if k % 3 else FrameDone(k, RECORD) for k in range(2 * MOST_FRAMES)]
    for event in events:
        queue.put(event)
    assert drained(queue) == events
    assert queue.left_out == 0


def test_a_slow_consumer_misses_frames_first_and_no_word() -> None:
    queue = EventQueue(lossless=False)
    for k in range(1000):
        queue.put(FrameDone(k, RECORD))
        queue.put(TextPiece(k, "word"))
    events = drained(queue)
    assert [event.time for event in events if isinstance(event, TextPiece)] == list(range(1000))
    assert [event.time for event in events if isinstance(event, FrameDone)] == list(range(1000 - MOST_FRAMES, 1000))
    assert queue.left_out == 1000 - MOST_FRAMES


def test_nobody_listening_costs_bounded_memory() -> None:
    queue = EventQueue(lossless=False)
    for k in range(MOST_OTHERS + 500):
        queue.put(TextPiece(k, "word"))
    assert queue.left_out == 500
    assert len(drained(queue)) == MOST_OTHERS


def test_without_a_clock_the_conversation_waits_for_its_listener() -> None:
    queue = EventQueue(lossless=True)

    def tell() -> None:
        for k in range(5 * MOST_FRAMES):
            queue.put(FrameDone(k, RECORD))
        queue.end()

    teller = threading.Thread(target=tell)
    teller.start()
    times = []
    while not queue.exhausted:
        if (event := queue.get(5.0)) is not None:
            times.append(event.time)
    teller.join()
    assert times == list(range(5 * MOST_FRAMES))
    assert queue.left_out == 0


def test_a_listener_that_leaves_does_not_hold_the_conversation_up() -> None:
    queue = EventQueue(lossless=True)

    def tell() -> None:
        for k in range(5 * MOST_FRAMES):
            queue.put(FrameDone(k, RECORD))

    teller = threading.Thread(target=tell)
    teller.start()
    queue.get(5.0)
    queue.release()
    teller.join(5.0)
    assert not teller.is_alive()


@pytest.mark.parametrize("lossless", [False, True])
def test_the_end_is_told_after_everything_else(lossless: bool) -> None:
    queue = EventQueue(lossless=lossless)
    queue.put(TextPiece(0.0, "last"))
    queue.end()
    queue.put(TextPiece(1.0, "too late"))
    assert not queue.exhausted
    assert drained(queue) == [TextPiece(0.0, "last")]
    assert queue.exhausted
    assert queue.get(5.0) is None


def interrupted(action: Callable[[], object], at: int) -> bool:
    """Strikes Ctrl-C before the `at`-th instruction that `action` executes. Returns whether it has so many."""
    left = at

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    gc.disable()  # what it calls is not the listener's, and swallows exceptions
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return False


@pytest.mark.parametrize("lossless", [False, True])
def test_a_listener_that_is_interrupted_anywhere_does_not_hold_the_conversation_up(lossless: bool) -> None:
    for at in range(1, 10_000):
        queue = EventQueue(lossless=lossless)

        def listen(queue: EventQueue = queue) -> None:
            queue.get(0.001)
            queue.put(TextPiece(0.0, "a"))
            queue.get(5.0)
            assert not queue.exhausted

        def tell(queue: EventQueue = queue) -> None:
            for k in range(2 * MOST_FRAMES):
                queue.put(FrameDone(k, RECORD))
            queue.end()

        struck = interrupted(listen, at)
        queue.release()
        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(10.0)
        assert not teller.is_alive(), f"interrupted at instruction {at}"
        if not struck:
            assert at > 100, "nothing was interrupted"
            return
    pytest.fail("the listener never came to its end")
