"""A language model without depformer, with extra heads: the speech-to-text layout (MODELS.md 5.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pymoshi
from pymoshi.hub.convert import convert

from .compare import HIDDEN, LOGITS, worst


def test_a_model_that_only_listens_gives_the_reference_s_text(
    fixtures: Path, tmp_path: Path, device: str, goldens: Callable[[str], dict[str, NDArray[Any]]]
) -> None:
    golden = goldens("stt")
    codes = golden["codes"][0].astype(np.int32)
    tokens = []
    with (
        pymoshi.load(convert(fixtures / "stt", tmp_path, quantize="f32"), device=device) as model,
        model.session(temperature=0, text_temperature=0, kv_type="f32", taps=True) as session,
    ):
        for i, step in enumerate([0, *range(codes.shape[1])]):  # the first frame is fed twice
            out = session.step_codes(codes[:, step])
            assert out is not None
            tokens.append(out[0])
            assert worst(session.tap("transformer_out"), golden["transformer_out"][i]) < HIDDEN
            assert worst(session.tap("text_logits"), golden["text_logits"][i]) < LOGITS
            assert worst(session.tap("extra_heads").reshape(4, 6), golden["extra_heads_softmax"][i]) < HIDDEN
    assert tokens == list(golden["out_tokens"])
