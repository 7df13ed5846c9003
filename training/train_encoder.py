"""First stage: the codec's ear. Encoder and quantiser learn to keep what was said and whether somebody speaks.

The codes must tell speech from music and noise, and hold enough for a decoder. Both are asked of small heads that read
the quantised latents: log-mels at 10 ms from all codebooks; coarse log-mels and a speech flag from the first alone.
No sound is made here, which is why it takes minutes; the decoder follows in its own stage, on codes that stay.
"""

import logging
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training import codec
from training.audio import FRAME, HOP, HOPS, as_int16, frames_of
from training.means import Means
from training.scenes import Pool, crop

log = logging.getLogger("training")

FRAMES = 24  # of a crop: 1.92 s, the reach of the encoder's attention
BATCH, LINES_IN_BATCH = 12, 3
UNQUANTISED = 0.2  # of the steps, before the codebooks are placed among the latents
BANDS, COARSE = 40, 24
RATE_OF_LEARNING = 1.5e-3


class Heads(nn.Module):
    """What the latents are asked for in training; not part of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv1d(codec.WIDTH, 256, 1), nn.GELU(), nn.Conv1d(256, HOPS * BANDS, 1))
        self.coarse = nn.Conv1d(codec.CODE_WIDTH, COARSE + 1, 1)


def render_crops(target: Path, people: Path, sounds: Path, count: int) -> None:
    """Writes crops.npz: int16 sounds [count, FRAMES * FRAME] and speech flags [count, FRAMES]."""
    jobs = [(people, sounds, seed, 100) for seed in range(count // 100)]
    with ProcessPoolExecutor(2) as pool:
        parts = list(pool.map(_render, jobs))
    np.savez(target, sounds=np.concatenate([a for a, _ in parts]), speech=np.concatenate([b for _, b in parts]))


def _render(job: tuple[Path, Path, int, int]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    people, sounds, seed, count = job
    draw = np.random.default_rng((1, seed))
    pool = Pool(people, sounds)
    made = [crop(FRAMES * FRAME, pool, draw) for _ in range(count)]
    return np.stack([as_int16(sound) for sound, _ in made]), np.stack([frames_of(mask) for _, mask in made])


class Crops:
    """Batches of users and of the assistant's own voice."""

    def __init__(self, crops: Path, lines: NDArray[np.float32]) -> None:
        content = np.load(crops)
        self._sounds, self._speech = content["sounds"], content["speech"]
        self.held_out = slice(len(self._sounds) - 200, None)
        self._lines = lines

    def batch(self, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """float [BATCH, 1, samples], and speech flags [BATCH, FRAMES]; NaN where nobody told."""
        chosen = draw.integers(0, self.held_out.start, BATCH - LINES_IN_BATCH)
        sounds = [self._sounds[i].astype(np.float32) / 32768 for i in chosen]
        speech = [self._speech[i].astype(np.float32) for i in chosen]
        for _ in range(LINES_IN_BATCH):
            start = int(draw.integers(0, len(self._lines) - FRAMES * FRAME))
            sounds.append(self._lines[start : start + FRAMES * FRAME])
            speech.append(np.full(FRAMES, np.nan, np.float32))
        return torch.tensor(np.stack(sounds))[:, None], torch.tensor(np.stack(speech))

    def held_out_batches(self) -> list[tuple[Tensor, Tensor]]:
        sounds = torch.tensor(self._sounds[self.held_out].astype(np.float32) / 32768)[:, None]
        speech = torch.tensor(self._speech[self.held_out].astype(np.float32))
        return list(zip(sounds.split(50), speech.split(50), strict=True))


def _log_mels(sound: Tensor, n_fft: int, hop: int, bands: int) -> Tensor:
    """[B, 1, samples] -> [B, bands, T]"""
    size = codec.spectrum(sound[:, 0], n_fft, hop).abs()[..., : sound.shape[-1] // hop]
    return torch.log(codec.mel_bank(n_fft, bands) @ size + 1e-2)


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


def _losses(model: Any, heads: Heads, sound: Tensor, speech: Tensor, quantise: bool) -> dict[str, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        z = codec.latents(model, sound)
    latents, first, commitment = (_quantised if quantise else _unquantised)(model, z.float())
    fine = heads.fine(latents)  # [B, HOPS * BANDS, FRAMES]
    fine = fine.unflatten(1, (BANDS, HOPS)).transpose(2, 3).flatten(2)  # [B, BANDS, FRAMES * HOPS]
    coarse = heads.coarse(first)
    flags = coarse[:, COARSE]
    known = ~speech.isnan()
    wanted = functional.avg_pool1d(_log_mels(sound, 2048, 640, COARSE), 3)
    return {
        "mel": (fine - _log_mels(sound, 1024, HOP, BANDS)).abs().mean(),
        "coarse": (coarse[:, :COARSE] - wanted).abs().mean(),
        "speech": functional.binary_cross_entropy_with_logits(flags[known], speech[known]),
        "commitment": commitment,
        "wrong": ((flags > 0)[known] != (speech > 0.5)[known]).float().mean(),
    }


def train(target: Path, crops: Path, lines: Path, steps: int, seed: int = 0) -> None:
    """Writes the codec with a trained encoder and quantiser, and an untrained decoder."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    content = np.load(lines)
    spoken = [np.pad(content[name], (12000, 12000)) for name in content if name.startswith("sound")]
    data = Crops(crops, np.concatenate(spoken))
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
                _place_codebooks(model, torch.cat([codec.latents(model, data.batch(draw)[0]) for _ in range(40)]))
        quantise = step >= int(steps * UNQUANTISED)
        rate = RATE_OF_LEARNING * min(1, (step + 1) / 100) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = _losses(model, heads, *data.batch(draw), quantise)
        loss = losses["mel"] + 0.3 * losses["coarse"] + 0.6 * losses["speech"] + losses["commitment"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        means.add(losses)
    torch.save(codec.weights(model), target)
    model.eval()
    with torch.no_grad():
        tried = [_losses(model, heads, *batch, True) for batch in data.held_out_batches()]
    log.info("held out: %s", {name: round(float(np.mean([float(one[name]) for one in tried])), 4) for name in tried[0]})
