"""The small Moshi: its shape, in the reference package's words."""

import copy
from pathlib import Path
from typing import Any

import torch

from training import codec, vocabulary

STREAMS = 2 * codec.CODEBOOKS
DELAYS = [0, *([0] + [1] * (codec.CODEBOOKS - 1)) * 2]

CONFIG: dict[str, Any] = {
    "dim": 192,
    "text_card": vocabulary.SIZE,
    "existing_text_padding_id": vocabulary.PAD,
    "n_q": STREAMS,
    "dep_q": codec.CODEBOOKS,
    "card": codec.CARD,
    "num_heads": 6,
    "num_layers": 4,
    "hidden_scale": 3.0,
    "causal": True,
    "layer_scale": None,
    "context": 400,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 96,
    "depformer_dim_feedforward": 288,
    "depformer_num_heads": 3,
    "depformer_num_layers": 2,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": DELAYS,
}


def build() -> Any:
    """The reference package's LMModel in this shape, freshly initialised, f32."""
    from moshi.models import LMModel

    return LMModel(device="cpu", dtype=torch.float32, **copy.deepcopy(CONFIG))


def load(path: Path) -> Any:
    model = build()
    model.load_state_dict(torch.load(path))
    return model.eval()
