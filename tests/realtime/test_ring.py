"""The ring between two threads: everything once, in order, never more than fits."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pymoshi.audio.ring import Ring

Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(["write", "read", "skip"]), st.integers(0, 40)), max_size=60)


@given(st.integers(1, 32), steps)
def test_what_was_written_comes_out_in_order_and_what_does_not_fit_is_refused(capacity: int, todo: list[Step]) -> None:
    ring, model, place = Ring(capacity), list[float](), 0
    for what, n in todo:
        match what:
            case "write":
                block = np.arange(place, place + n, dtype=np.float32)
                taken = ring.write(block)
                assert taken == min(n, capacity - len(model))
                model += block[:taken].tolist()
                place += taken
            case "read":
                assert ring.read(n).tolist() == model[:n]
                model = model[n:]
            case _:
                assert ring.skip(n) == min(n, len(model))
                model = model[n:]
        assert (ring.available, ring.free) == (len(model), capacity - len(model))


def test_two_threads_pass_a_signal_without_loss() -> None:
    ring, n = Ring(1000), 200_000
    signal = np.arange(n, dtype=np.float32)
    heard: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []

    def write() -> None:
        at = 0
        while at < n:
            at += ring.write(signal[at : at + 333])

    writer = threading.Thread(target=write)
    writer.start()
    while sum(block.size for block in heard) < n:
        heard.append(ring.read(257))
    writer.join()
    assert np.array_equal(np.concatenate(heard), signal)
