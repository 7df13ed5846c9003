"""The Moshi language model against the reference: 60 greedy steps, past the end of a ring of 24 (MODELS.md 2)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi.hub.convert import convert
from pymoshi.session import KvType

from .compare import HIDDEN, LOGITS, worst

Goldens = dict[str, NDArray[Any]]
STEPS = 60


@pytest.fixture(scope="module")
def golden(goldens: Callable[[str], Goldens]) -> Goldens:
    return goldens("moshi")


@pytest.fixture(scope="module", params=["f32", "bf16"])
def folder(request: pytest.FixtureRequest, fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(fixtures / "moshi", tmp_path_factory.mktemp("moshi"), quantize=request.param)


@pytest.fixture(scope="module")
def run(folder: Path, device: str, golden: Goldens) -> dict[str, list[Any]]:
    """The 60 steps with everything that the goldens hold."""
    kept: dict[str, list[Any]] = {
        name: [] for name in ("lm_input", "transformer_out", "text_logits", "depformer_logits", "out")
    }
    with (
        pymoshi.load(folder, device=device) as model,
        model.session(temperature=0, text_temperature=0, kv_type="f32", taps=True) as session,
    ):
        for step in range(STEPS):
            out = session.step_codes(golden["user_tokens"][0, :, step].astype(np.int32))
            kept["out"].append([-2] * 9 if out is None else [out[0], *out[1]])
            for name in ("lm_input", "transformer_out", "text_logits", "depformer_logits"):
                kept[name].append(session.tap(name))
    return kept


def test_the_model_is_fed_what_the_reference_feeds_it(run: dict[str, list[Any]], golden: Goldens) -> None:
    np.testing.assert_array_equal(np.array(run["lm_input"]), golden["step_input_tokens"])


def test_hidden_states_are_the_reference_s(run: dict[str, list[Any]], golden: Goldens) -> None:
    assert worst(run["transformer_out"], golden["transformer_out"]) < HIDDEN


def test_text_logits_are_the_reference_s(run: dict[str, list[Any]], golden: Goldens) -> None:
    assert worst(run["text_logits"], golden["text_logits"]) < LOGITS


def test_depformer_logits_are_the_reference_s(run: dict[str, list[Any]], golden: Goldens) -> None:
    assert worst(np.array(run["depformer_logits"]).reshape(STEPS, 8, 128), golden["depformer_logits"]) < LOGITS


def test_every_token_is_the_reference_s(run: dict[str, list[Any]], golden: Goldens) -> None:
    np.testing.assert_array_equal(np.array(run["out"]), golden["lmgen_out"])


@pytest.mark.parametrize(("kv_type", "close"), [("f16", 5e-3), ("bf16", 5e-2)])
def test_a_smaller_cache_type_keeps_hidden_states_close(
    folder: Path, device: str, golden: Goldens, kv_type: KvType, close: float
) -> None:
    with (
        pymoshi.load(folder, device=device) as model,
        model.session(temperature=0, text_temperature=0, kv_type=kv_type, taps=True) as session,
    ):
        for step in range(24):
            session.step_codes(golden["user_tokens"][0, :, step].astype(np.int32))
            assert worst(session.tap("transformer_out"), golden["transformer_out"][step]) < close
