"""What is drawn: by the temperature and top-k of its own stream, with the model's probabilities, as the seed says."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi import Model, Session

STEPS = 200
STREAMS = 9  # text, then the model's eight codebooks


class Draws:
    """Every token that was drawn in a conversation, and the logits that it was drawn from."""

    def __init__(self, session: Session, steps: int = STEPS) -> None:
        rng = np.random.default_rng(8)
        self.tokens: list[NDArray[np.int64]] = []  # [9] per step
        self.logits: list[list[NDArray[np.float64]]] = []  # 9 rows per step
        for step in range(steps + 1):
            session.step_codes(rng.integers(0, 128, 8))
            if step >= 2:  # once the delays are full, a step is fed what the step before drew
                self.tokens.append(session.tap("lm_input")[:STREAMS].astype(int))
            text, audio = session.tap("text_logits"), session.tap("depformer_logits")
            self.logits.append([text.astype(float), *audio.reshape(8, -1).astype(float)])
        self.logits = self.logits[1:-1]

    def of(self, streams: slice) -> Iterator[tuple[int, NDArray[np.float64]]]:
        for tokens, logits in zip(self.tokens, self.logits, strict=True):
            yield from zip(tokens[streams].tolist(), logits[streams], strict=True)


TEXT, AUDIO = slice(0, 1), slice(1, STREAMS)


def draws(model: Model, **options: Any) -> Draws:
    with model.session(**({"seed": 21, "taps": True} | options)) as session:
        return Draws(session)


def rank(token: int, logits: NDArray[np.float64]) -> int:
    """0 for the best."""
    return int((logits > logits[token]).sum())


@pytest.mark.parametrize(("greedy", "free"), [(TEXT, AUDIO), (AUDIO, TEXT)], ids=["text", "audio"])
def test_a_temperature_of_0_stills_its_own_stream_only(model: Model, greedy: slice, free: slice) -> None:
    cold = {"text_temperature" if greedy is TEXT else "temperature": 0}
    found = draws(model, **({"temperature": 3, "text_temperature": 3} | cold), top_k=0, text_top_k=0)
    assert {rank(*draw) for draw in found.of(greedy)} == {0}
    assert len({rank(*draw) for draw in found.of(free)}) > 20


@pytest.mark.parametrize(("top_k", "text_top_k"), [(3, 0), (0, 3), (5, 2), (127, 399), (128, 400), (1000, 1000)])
def test_a_top_k_bounds_its_own_stream_only(model: Model, top_k: int, text_top_k: int) -> None:
    found = draws(model, temperature=50, text_temperature=50, top_k=top_k, text_top_k=text_top_k)
    for streams, k, card in ((AUDIO, top_k, 128), (TEXT, text_top_k, 400)):
        ranks = {rank(*draw) for draw in found.of(streams)}
        bound = min(k, card) if k else card
        assert max(ranks) < bound
        assert len(ranks) > min(bound, STEPS) / 3  # hot enough that all of the allowed are drawn, more or less


def test_settings_that_change_in_between_hold_from_the_next_frame_on(model: Model) -> None:
    with model.session(seed=2, temperature=50, text_temperature=50, top_k=0, text_top_k=0, taps=True) as session:
        assert len({rank(*draw) for draw in Draws(session, 50).of(TEXT)}) > 20
        session.set_sampling(text_top_k=4)
        narrowed = Draws(session, 50)
        session.set_sampling(temperature=0)
        stilled = Draws(session, 50)
    assert {rank(*draw) for draw in narrowed.of(TEXT)} == {0, 1, 2, 3}
    assert len({rank(*draw) for draw in narrowed.of(AUDIO)}) > 100
    assert {rank(*draw) for draw in stilled.of(TEXT)} == {0, 1, 2, 3}
    assert {rank(*draw) for draw in stilled.of(AUDIO)} == {0}


@pytest.mark.parametrize("options", [{"top_k": 0, "text_top_k": 0}, {"top_k": 20, "text_top_k": 20}], ids=["all", "20"])
@pytest.mark.parametrize(
    ("name", "streams"), [("text_temperature", TEXT), ("temperature", AUDIO)], ids=["text", "audio"]
)
@pytest.mark.parametrize("temperature", [0.3, 0.8, 2.0])
def test_tokens_are_drawn_with_the_probabilities_of_the_model(
    model: Model, name: str, streams: slice, temperature: float, options: dict[str, int]
) -> None:
    surplus = variance = 0.0  # how much more probable the drawn tokens are than what is drawn should be on average
    for token, logits in draws(model, **{name: temperature}, **options).of(streams):
        kept = np.sort(logits)[::-1][: options["top_k"] or None]
        weights = np.exp((kept - kept[0]) / temperature)
        p = weights / weights.sum()
        mean = (p * p).sum()
        surplus += np.exp((logits[token] - kept[0]) / temperature) / weights.sum() - mean
        variance += (p**3).sum() - mean**2
    assert abs(surplus) < 4 * np.sqrt(variance)


def test_streams_and_frames_draw_independently(model: Model) -> None:
    found = draws(model, temperature=100, text_temperature=100, top_k=0, text_top_k=0)  # nearly even
    audio = np.array(found.tokens)[:, AUDIO]
    assert all(len(set(column)) > 60 for column in audio.T)  # of 128, in 200 draws
    assert all((audio[:, i] == audio[:, j]).mean() < 0.06 for i in range(8) for j in range(i))
    assert (audio[1:] == audio[:-1]).mean() < 0.06


def test_each_seed_is_another_conversation(model: Model) -> None:
    def tokens(seed: int) -> bytes:
        with model.session(seed=seed, taps=True) as session:
            return np.array(Draws(session, 12).tokens).tobytes()

    seeds = [0, 1, 2, 3, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1]
    assert len({tokens(seed) for seed in seeds}) == len(seeds)
    assert tokens(1 << 63) == tokens(1 << 63)
