"""How far a conversation remembers."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi import Model

CONTEXT = 24  # of the tiny model
FRAMES = 60


def hidden(model: Model, frames: int = FRAMES, **options: Any) -> list[NDArray[np.float32]]:
    """The hidden states of a greedy conversation whose inputs do not depend on what the model says."""
    rng = np.random.default_rng(6)
    tokens = rng.integers(0, 128, (frames, 17)).astype(np.int32)
    with model.session(temperature=0, text_temperature=0, taps=True, **options) as session:
        found = []
        for row in tokens:
            session._native.prefill(row[np.newaxis], None, None)
            found.append(session.tap("transformer_out"))
    return found


def first_difference(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> int | None:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if not np.array_equal(a, b)), None)


@pytest.mark.parametrize("context", [8, 9, 13, 23])
def test_a_shorter_memory_is_noticed_when_it_is_full_and_not_before(model: Model, context: int) -> None:
    assert first_difference(hidden(model), hidden(model, context=context)) == context


def test_a_memory_of_the_models_own_length_is_the_default(model: Model) -> None:
    assert first_difference(hidden(model), hidden(model, context=CONTEXT)) is None
    with model.session(context=CONTEXT) as given, model.session() as default:
        assert given.context == default.context == CONTEXT


@pytest.mark.parametrize("context", [25, 300])
def test_a_longer_memory_remembers_longer(model: Model, context: int) -> None:
    assert first_difference(hidden(model, 320), hidden(model, 320, context=context)) == CONTEXT


def test_what_is_beyond_the_memory_has_no_influence(model: Model) -> None:
    """Not after any number of layers: each sees `context` frames, so all of them together a multiple."""
    rng, layers, context = np.random.default_rng(6), 3, 8
    later = rng.integers(0, 128, (300, 17)).astype(np.int32)
    ends = []
    for earlier in (rng.integers(0, 128, (40, 17)), rng.integers(0, 128, (40, 17))):
        with model.session(context=context, taps=True) as session:
            session._native.prefill(earlier.astype(np.int32), None, None)
            session._native.prefill(later, None, None)
            ends.append(session.tap("transformer_out").reshape(300, -1))
    differs = (ends[0] != ends[1]).any(axis=1)
    reach = layers * (context - 1) + 2  # and the delayed streams bring the last tokens one frame later
    assert differs[0]
    assert not differs[reach:].any()


@pytest.mark.parametrize("options", [{"window": "legacy"}, {"window": "full"}])
def test_windows_differ_only_in_what_a_full_memory_shows(model: Model, options: dict[str, Any]) -> None:
    difference = first_difference(hidden(model), hidden(model, **options))
    assert difference == (CONTEXT - 1 if options["window"] == "legacy" else None)


@pytest.mark.parametrize("context", [0, 1, 7, -5, 2**20 + 1, 2**40])
def test_a_memory_that_cannot_be_is_refused(model: Model, context: int) -> None:
    with pytest.raises(pymoshi.InputError, match="context"):
        model.session(context=context)
