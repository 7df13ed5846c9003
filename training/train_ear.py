"""The codec's ear, for longer: the encoder learns to tell a speaking user from everything else, by codes that stay.

What a code sounds like is settled by then, and the decoder learns it at the same time: codebooks and their output
projections are not touched, and the assistant's own voice must go on to be heard as it was. What the codes of a user
keep of the room does not matter any more; they are asked whether the user speaks, and for the speech without the room.
Every crop is heard once: of those that are heard again, the encoder learns the mixture by heart.
"""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import codec
from training.crops import OwnVoice, fresh_users
from training.means import Means
from training.scenes import pool_of

USERS, OWN = 10, 2  # crops in a batch
RATE_OF_LEARNING = 1.2e-3


class Heads(nn.Module):
    """What the latents are asked for; not part of the model. The last channel tells whether somebody speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Sequential(nn.Conv1d(codec.WIDTH, 128, 1), nn.GELU(), nn.Conv1d(128, codec.COARSE + 1, 1))
        self.first = nn.Conv1d(codec.CODE_WIDTH, 1, 1)


def _quantised(model: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(latents after all codebooks, after the first alone, how far the codebooks are)"""
    parts, apart = [], torch.zeros(())
    for quantizer in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
        projected = quantizer.input_proj(z)
        with torch.no_grad():
            exact = quantizer.vq.decode(quantizer.vq.encode(projected))
        apart = apart + functional.mse_loss(projected, exact)
        parts.append((quantizer, projected + (exact - projected).detach()))
    return sum((quantizer.output_proj(x) for quantizer, x in parts), torch.zeros(())), parts[0][1], apart


def _latents(model: Any, sound: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return codec.latents(model, sound).float()


def _losses(model: Any, heads: Heads, z: Tensor, speech: Tensor, clean: Tensor) -> dict[str, Tensor]:
    latents, first, apart = _quantised(model, z)
    told, flags = heads.all(latents), heads.first(first)[:, 0]
    return {
        "speech": functional.binary_cross_entropy_with_logits(told[:, -1], speech),
        "first": functional.binary_cross_entropy_with_logits(flags, speech),
        "clean": (told[:, :-1] - clean).abs().mean(),
        "apart": apart,
        "wrong": ((told[:, -1] > 0) != (speech > 0.5)).float().mean(),
        "wrong, first": ((flags > 0) != (speech > 0.5)).float().mean(),
    }


def _projected(model: Any, z: Tensor) -> Tensor:
    return torch.cat([model.quantizer.rvq_first.input_proj(z), model.quantizer.rvq_rest.input_proj(z)], 1)


def _own_voice(model: Any, teacher: Any, z: Tensor, sound: Tensor) -> Tensor:
    """How differently the assistant is heard."""
    with torch.no_grad():
        wanted = _projected(teacher, _latents(teacher, sound))
    return functional.mse_loss(_projected(model, z), wanted)


def train(target: Path, source: Path, people: Path, sounds: Path, lines: Path, steps: int, seed: int = 0) -> None:
    """Writes the codec of `source` with a better encoder."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    pool, voice = pool_of(people, sounds), OwnVoice(lines)
    model, heads = codec.load(source), Heads()
    teacher = copy.deepcopy(model)
    model.encoder.compile()
    teacher.encoder.compile()
    listening = [model.encoder, model.encoder_transformer, model.downsample]
    inputs = [model.quantizer.rvq_first.input_proj, model.quantizer.rvq_rest.input_proj]
    learning = [weight for part in (*listening, *inputs, heads) for weight in part.parameters()]
    optimiser = torch.optim.AdamW(learning, RATE_OF_LEARNING, betas=(0.9, 0.99), weight_decay=1e-3)
    means = Means(every=100)
    for step in range(steps):
        rate = RATE_OF_LEARNING * min(1, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        sound, speech, clean = fresh_users(pool, draw, USERS)
        own = voice.crops(draw, OWN)
        z = _latents(model, torch.cat([sound, own]))
        losses = _losses(model, heads, z[:USERS], speech, clean)
        losses["own"] = _own_voice(model, teacher, z[USERS:], own)
        loss = losses["speech"] + losses["first"] + 0.3 * losses["clean"] + losses["apart"] + 2 * losses["own"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        means.add(losses)
    torch.save(codec.weights(model), target)
