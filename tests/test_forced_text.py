"""Text tokens can be forced: what a program wants said takes the place of what the model would have written."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Frame, InputError, Model, Session, StateError, Tokenizer, forced_text

Speech = NDArray[np.float32]
SENTENCE = "Let us talk about the weather, shall we? I like rain."


@pytest.fixture(scope="module")
def tokenizer(fixtures: Path) -> Tokenizer:
    return Tokenizer(fixtures / "personaplex" / "tokenizer.model")


def converse(session: Session, pcm: Speech, forced: Callable[[int], int | None] = lambda _: None) -> list[Frame]:
    frames = []
    for index, heard in enumerate(pcm[: pcm.size // 1920 * 1920].reshape(-1, 1920)[:20]):
        session.force_text(forced(index))
        frames.append(session.step(heard))
    return frames


def texts(frames: list[Frame]) -> list[int | None]:
    return [frame.text_token for frame in frames]


def test_forced_tokens_are_what_the_model_says_it_says(session: Session, speech: Speech) -> None:
    said = texts(converse(session, speech, lambda index: 100 + index))
    assert said == [None, *range(100, 119)]  # one frame of delay


def test_personaplex_says_forced_tokens_too(plex: Model, speech: Speech) -> None:
    with plex.session(seed=7) as session:
        said = texts(converse(session, speech, lambda index: 100 + index))
    known = [token for token in said if token is not None]
    assert known[-10:] == list(range(known[-1] - 9, known[-1] + 1))
    assert known[-1] in (117, 118)


def test_nothing_changes_before_the_first_forced_frame(model: Model, speech: Speech) -> None:
    with model.session(seed=7) as free, model.session(seed=7) as forced:
        untouched = converse(free, speech)
        frames = converse(forced, speech, lambda index: 42 if index == 10 else None)
    for one, other in zip(untouched[:10], frames[:10], strict=True):
        assert np.array_equal(one.audio, other.audio)
        assert one.text_token == other.text_token
    assert frames[11].text_token == 42
    assert any(not np.array_equal(one.audio, other.audio) for one, other in zip(untouched, frames, strict=True))


def test_forcing_what_would_have_been_sampled_changes_nothing(model: Model, speech: Speech) -> None:
    with model.session(seed=7) as free, model.session(seed=7) as forced:
        untouched = converse(free, speech)
        frames = converse(forced, speech, lambda index: untouched[index + 1].text_token if index < 19 else None)
    assert texts(frames) == texts(untouched)
    assert all(np.array_equal(one.audio, other.audio) for one, other in zip(untouched, frames, strict=True))


def test_token_that_waits_is_in_snapshots_and_forks(model: Model, speech: Speech) -> None:
    with model.session(seed=7) as session:
        session.step(speech[:1920])
        session.force_text(77)
        with session.fork() as twin:
            for one in (session, twin):
                one.step(speech[1920:3840])
                assert one.step(speech[3840:5760]).text_token == 77


def test_token_can_be_taken_back(model: Model, speech: Speech) -> None:
    with model.session(seed=7) as free, model.session(seed=7) as session:
        session.force_text(77)
        session.force_text(None)
        assert texts(converse(session, speech)) == texts(converse(free, speech))


@pytest.mark.parametrize("token", [-1, -2, 400, 2**40, 1.5, "hello", True])
def test_tokens_that_the_model_lacks_are_refused(session: Session, token: int) -> None:
    with pytest.raises(InputError, match="token"):
        session.force_text(token)


def test_closed_session_takes_no_token(model: Model) -> None:
    session = model.session(seed=7)
    session.close()
    with pytest.raises(StateError, match="closed"):
        session.force_text(3)


def test_monologue_says_the_text_and_nothing_else(tokenizer: Tokenizer) -> None:
    tokens = forced_text.monologue(tokenizer, SENTENCE)
    assert tokenizer.decode(tokens).strip() == SENTENCE
    assert [token for token in tokens if token not in (0, 3)] == tokenizer.encode(SENTENCE)


def test_pieces_of_a_word_stand_together_and_words_are_announced(tokenizer: Tokenizer) -> None:
    tokens = forced_text.monologue(tokenizer, SENTENCE)
    assert tokens[0] == forced_text.END_OF_PADDING
    for before, token in pairwise(tokens):
        begins_a_word = tokenizer.piece(token).startswith("\N{LOWER ONE EIGHTH BLOCK}")
        if token not in (0, 3):
            assert begins_a_word or before not in (0, 3), "a word was torn apart"
        if begins_a_word:
            assert before != 3, "a word came out of the padding unannounced"
        assert before != 0 or begins_a_word, "something was announced that did not come"


def test_monologue_is_paced_like_speech(tokenizer: Tokenizer) -> None:
    tokens = forced_text.monologue(tokenizer, "They went to the market because the weather was so nice today")
    words_per_minute = 12 / (len(tokens) * 0.08 / 60)
    assert 120 < words_per_minute < 220


def test_faster_speech_takes_fewer_frames_and_never_loses_a_piece(tokenizer: Tokenizer) -> None:
    slow, usual, fast = (forced_text.monologue(tokenizer, SENTENCE, speed=speed) for speed in (0.5, 1, 4))
    assert len(slow) > len(usual) > len(fast)
    assert tokenizer.decode(fast) == tokenizer.decode(slow)


def test_a_sentence_ends_with_a_pause(tokenizer: Tokenizer) -> None:
    assert len(forced_text.monologue(tokenizer, "Rain.")) > len(forced_text.monologue(tokenizer, "Rain")) + 3


def test_models_own_padding_is_used(tokenizer: Tokenizer) -> None:
    tokens = forced_text.monologue(tokenizer, "Hello there", padding=9)
    assert 9 in tokens
    assert 3 not in tokens
    assert forced_text.silence(4, padding=9) == [9, 9, 9, 9]


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_nothing_to_say_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InputError, match="nothing to say"):
        forced_text.monologue(tokenizer, text)


@pytest.mark.parametrize("speed", [0, -1, 5, float("nan"), "fast"])
def test_speeds_that_cannot_be_are_refused(tokenizer: Tokenizer, speed: float) -> None:
    with pytest.raises(InputError, match="speed"):
        forced_text.monologue(tokenizer, SENTENCE, speed=speed)


def test_characters_outside_of_the_vocabulary_do_not_end_the_padding() -> None:
    with pymoshi.load("demo") as demo:
        assert demo.tokenizer is not None
        tokens = forced_text.monologue(demo.tokenizer, "hello \N{SNOWMAN} hello")
        assert demo.tokenizer.decode(tokens).split() == ["hello", "hello"]
        with pytest.raises(InputError, match="nothing to say"):
            forced_text.monologue(demo.tokenizer, "\N{SNOWMAN}")


def test_the_demo_can_be_made_to_say_a_sentence() -> None:
    with pymoshi.load("demo", threads=1) as demo, demo.session(seed=1) as session:
        assert demo.tokenizer is not None
        quiet = np.zeros(demo.frame_size, np.float32)
        said = ""
        for token in [*forced_text.monologue(demo.tokenizer, "As I was saying."), *forced_text.silence(2)]:
            session.force_text(token)
            said += session.step(quiet).text
        assert said.strip() == "As I was saying."
