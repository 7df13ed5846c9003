"""GGUF files that another engine wrote, without metadata, beside a config.json (GGUF_LAYOUTS.md): q8_0 and q4_K."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi

from .compare import worst

LOGITS = 2e-2
# That engine keeps keys and values in bf16, attends by matrix products and sums in the order of the plain kernels. Each
# of these moves activations by less than their own quantisation does, but enough to round a few of them otherwise, and
# the tokens of a model of random weights part some frames later.


@pytest.fixture(scope="module", params=["q8_0", "q4_k"])
def recorded(
    request: pytest.FixtureRequest, fixtures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """That engine's greedy run of 50 frames, and ours on the same file.

    On the CPU whatever the device under test is: the goldens hold the roundings of ggml's CPU kernels.
    """
    upstream, folder = fixtures / "upstream", tmp_path_factory.mktemp("upstream")
    file = shutil.copy(upstream / f"tiny-moshi-{request.param}.gguf", folder)
    shutil.copy(upstream / "tiny-moshi-config.json", folder / "config.json")
    runs = json.loads((upstream / "golden.json").read_text())["runs"]
    golden = next(run for run in runs if run["name"] == f"moshi-{request.param}")
    logits = np.fromfile(upstream / golden["text_logits_f32"], np.float32).reshape(golden["text_logits_shape"])
    ours: list[dict[str, Any]] = []
    with (
        pymoshi.load(file, device="cpu", repack=False) as model,
        model.session(temperature=0, text_temperature=0, kv_type="bf16", flash=False, taps=True) as session,
    ):
        for frame in golden["frames"]:
            out = session.step_codes(np.array(frame["user_in"], np.int32))
            ours.append(
                {"out": out, "lm_input": session.tap("lm_input").astype(int), "logits": session.tap("text_logits")}
            )
    return {"frames": golden["frames"], "logits": logits, "ours": ours}


def test_the_same_tokens_are_fed_and_returned(recorded: dict[str, Any]) -> None:
    for frame, ours in zip(recorded["frames"], recorded["ours"], strict=True):
        assert list(ours["lm_input"]) == frame["lm_input"], frame["i"]
        if frame["emitted"]:
            text, codes = ours["out"]
            assert (text, list(codes)) == (frame["text"], frame["audio"]), frame["i"]
        else:
            assert ours["out"] is None


def test_text_logits_agree_and_so_does_the_choice_where_it_is_clear(recorded: dict[str, Any]) -> None:
    logits: NDArray[np.float32] = recorded["logits"]
    for expected, ours in zip(logits, recorded["ours"], strict=True):
        assert worst(ours["logits"], expected) < LOGITS
        best, second = np.sort(expected)[::-1][:2]
        if best - second > LOGITS:
            assert ours["logits"].argmax() == expected.argmax()
