"""Threads, sessions and codec streams that share a model, and a model that is closed under them."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from behaviour.spoken import said
from pymoshi import Model


@pytest.fixture
def uninterrupted() -> Iterator[None]:
    """Python threads change only where one waits, or a call into C lets go of the interpreter."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(usual)


def lets_others_run(call: Callable[[], object]) -> bool:
    """Whether another thread gets to run during `call`, tried a few times as the machine may be busy."""
    for _ in range(20):
        ready, started, done = (threading.Event() for _ in range(3))

        def other(
            ready: threading.Event = ready, started: threading.Event = started, done: threading.Event = done
        ) -> None:
            ready.set()
            started.wait()
            done.set()

        thread = threading.Thread(target=other)
        thread.start()
        ready.wait()
        started.set()
        call()
        ran = done.is_set()
        thread.join()
        if ran:
            return True
    return False


@pytest.mark.usefixtures("uninterrupted")
def test_python_runs_on_while_the_engine_computes(model: Model, speech: NDArray[np.float32]) -> None:
    # Below the public functions, whose numpy calls let go of the interpreter, too.
    codes = np.empty((32, 50), np.int32)
    audio = np.empty(1920, np.float32)
    prompt = np.ones((500, 17), np.int32)
    with model.mimi.stream(32) as stream, model.session() as session:
        assert lets_others_run(lambda: stream._native.encode(speech, codes))
        assert lets_others_run(lambda: stream._native.decode(codes, speech.copy()))
        assert lets_others_run(lambda: session._native.prefill(prompt, None, None))
        assert lets_others_run(lambda: [session._native.step(speech[:1920], audio) for _ in range(10)])
    assert not lets_others_run(lambda: sum(range(100_000)))  # or the test would show nothing


def test_a_conversation_and_a_codec_stream_on_two_threads_do_not_mix(model: Model, speech: NDArray[np.float32]) -> None:
    frames = speech.reshape(-1, 1920)
    with model.session(seed=3) as session:
        expected = said(session, frames)
    codes = model.mimi.encode(speech)
    wrong: list[str] = []

    def encode() -> None:
        for _ in range(4):
            if not np.array_equal(model.mimi.encode(speech), codes):
                wrong.append("encoding")

    def converse() -> None:
        for _ in range(2):
            with model.session(seed=3) as session:
                if said(session, frames) != expected:
                    wrong.append("conversation")

    threads = [threading.Thread(target=work) for work in (encode, converse, converse)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_one_session_may_wander_from_thread_to_thread(model: Model, speech: NDArray[np.float32]) -> None:
    frames = speech.reshape(-1, 1920)[:12]
    with model.session(seed=3) as session:
        expected = said(session, frames)
    found: list[object] = []
    with model.session(seed=3) as session:
        for pcm in frames:
            thread = threading.Thread(target=lambda pcm=pcm: found.extend(said(session, [pcm])))
            thread.start()
            thread.join()
    assert found == expected


def test_closing_the_model_ends_no_conversation(
    moshi_folder: Path, device: str, model: Model, speech: NDArray[np.float32]
) -> None:
    frames = speech.reshape(-1, 1920)
    with model.session(seed=3) as undisturbed:
        expected = said(undisturbed, frames)
    short_lived = pymoshi.load(moshi_folder, device=device, threads=1)
    session, stream = short_lived.session(seed=3), short_lived.mimi.stream()
    with session, stream:
        found = said(session, frames[:10])
        short_lived.close()
        found += said(session, frames[10:20])
        moment = session.snapshot()
        said(session, frames[:5])
        session.restore(moment)
        assert found + said(session, frames[20:]) == expected
        session.reset()
        assert said(session, frames[:10]) == expected[:10]
        np.testing.assert_array_equal(stream.encode(speech), model.mimi.encode(speech))


def test_a_closed_model_begins_nothing_new(moshi_folder: Path, device: str) -> None:
    model = pymoshi.load(moshi_folder, device=device, threads=1)
    with model.session() as session:
        model.close()
        for begin in (model.session, model.mimi.stream, session.fork):
            with pytest.raises(pymoshi.StateError, match="closed"):
                begin()
        session.step(np.zeros(1920, np.float32))
