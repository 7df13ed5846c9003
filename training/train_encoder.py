"""First stage: the codec's ear. Encoder and quantiser learn to keep what was said and whether somebody speaks.

The codes must tell speech from music and noise, and hold enough for a decoder. Both are asked of small heads that read
the quantised latents: log-mels at 10 ms from all codebooks; coarse log-mels and a speech flag from the first alone.
No sound is made here, which is why it takes minutes; the decoder follows in its own stage, on codes that stay.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import codec
from training.audio import HOP, HOPS
from training.codec import COARSE
from training.crops import Crops, OwnVoice
from training.means import Means

log = logging.getLogger("training")

BATCH, LINES_IN_BATCH = 12, 3
UNQUANTISED = 0.2  # of the steps, before the codebooks are placed among the latents
BANDS = 40
RATE_OF_LEARNING = 1.5e-3


class Heads(nn.Module):
    """What the latents are asked for in training; not part of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv1d(codec.WIDTH, 256, 1), nn.GELU(), nn.Conv1d(256, HOPS * BANDS, 1))
        self.coarse = nn.Conv1d(codec.CODE_WIDTH, COARSE + 1, 1)


def _quantised(model: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(latents after all codebooks, after the first alone, commitment)"""
    first, rest = model.quantizer.rvq_first, model.quantizer.rvq_rest
    a, b = first(z, 12.5), rest(z, 12.5)
    with torch.no_grad():
        exact = first.vq.decode(a.codes.transpose(0, 1))
    projected = first.input_proj(z)
    return a.x + b.x, projected + (exact - projected).detach(), a.penalty + b.penalty


def _unquantised(model: Any, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first, rest = model.quantizer.rvq_first, model.quantizer.rvq_rest
    projected = first.input_proj(z)
    return first.output_proj(projected) + rest.output_proj(rest.input_proj(z)), projected, torch.zeros(())


@torch.no_grad()
def _place_codebooks(model: Any, latents: Tensor) -> None:
    """k-means of what the encoder makes now, residual after residual."""
    from moshi.quantization.core_vq import _run_kmeans

    for quantizer in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
        residual = quantizer.input_proj(latents).transpose(1, 2).reshape(-1, codec.CODE_WIDTH)
        for layer in quantizer.vq.layers:
            book = layer._codebook
            centres, counts = _run_kmeans(residual, codec.CARD, 15)
            usage = counts.float() * 160 / len(residual)
            book.cluster_usage.copy_(usage)
            book.embedding_sum.copy_(centres * usage[:, None])
            book._initialized.fill_(1)
            book._embedding = None
            residual = residual - book.decode(book.encode(residual))


def _batch(data: Crops, voice: OwnVoice, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """float [BATCH, 1, samples], and speech flags [BATCH, frames]; NaN where nobody told."""
    users, speech = data.users(draw, BATCH - LINES_IN_BATCH)
    own = voice.crops(draw, LINES_IN_BATCH)
    return torch.cat([users, own]), torch.cat([speech, torch.full((LINES_IN_BATCH, speech.shape[1]), math.nan)])


def _losses(model: Any, heads: Heads, sound: Tensor, speech: Tensor, quantise: bool) -> dict[str, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        z = codec.latents(model, sound)
    latents, first, commitment = (_quantised if quantise else _unquantised)(model, z.float())
    fine = heads.fine(latents)  # [B, HOPS * BANDS, FRAMES]
    fine = fine.unflatten(1, (BANDS, HOPS)).transpose(2, 3).flatten(2)  # [B, BANDS, FRAMES * HOPS]
    coarse = heads.coarse(first)
    flags = coarse[:, COARSE]
    known = ~speech.isnan()
    return {
        "mel": (fine - codec.log_mels(sound[:, 0], 1024, HOP, BANDS)).abs().mean(),
        "coarse": (coarse[:, :COARSE] - codec.coarse_mels(sound[:, 0])).abs().mean(),
        "speech": functional.binary_cross_entropy_with_logits(flags[known], speech[known]),
        "commitment": commitment,
        "wrong": ((flags > 0)[known] != (speech > 0.5)[known]).float().mean(),
    }


def train(target: Path, crops: Path, lines: Path, steps: int, seed: int = 0) -> None:
    """Writes the codec with a trained encoder and quantiser, and an untrained decoder."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    data, voice = Crops(crops), OwnVoice(lines)
    model, heads = codec.build().train(), Heads()
    model.encoder.compile()
    learning = [
        *model.encoder.parameters(),
        *model.encoder_transformer.parameters(),
        *model.downsample.parameters(),
        *model.quantizer.parameters(),
        *heads.parameters(),
    ]
    optimiser = torch.optim.AdamW(learning, RATE_OF_LEARNING, betas=(0.8, 0.99), weight_decay=1e-3)
    means = Means(every=100)
    for step in range(steps):
        if step == int(steps * UNQUANTISED):
            with torch.no_grad():
                _place_codebooks(
                    model, torch.cat([codec.latents(model, _batch(data, voice, draw)[0]) for _ in range(40)])
                )
        quantise = step >= int(steps * UNQUANTISED)
        rate = RATE_OF_LEARNING * min(1, (step + 1) / 100) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = _losses(model, heads, *_batch(data, voice, draw), quantise)
        loss = losses["mel"] + 0.3 * losses["coarse"] + 0.6 * losses["speech"] + losses["commitment"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        means.add(losses)
    torch.save(codec.weights(model), target)
    model.eval()
    with torch.no_grad():
        tried = [_losses(model, heads, sound, speech, True) for sound, speech in data.held_out()]
    log.info("held out: %s", {name: round(float(np.mean([float(one[name]) for one in tried])), 4) for name in tried[0]})
