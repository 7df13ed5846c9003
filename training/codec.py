"""The small Mimi: its shape, how it starts, and the spectral distances that it learns from."""

import copy
import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.audio import RATE

WIDTH, CARD, CODEBOOKS, CODE_WIDTH = 128, 256, 8, 32
COARSE = 24  # mel bands

CONFIG: dict[str, Any] = {
    "sample_rate": RATE,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": WIDTH,
        "causal": True,
        "n_filters": 16,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "quantizer": {
        "dimension": CODE_WIDTH,
        "n_q": CODEBOOKS,
        "bins": CARD,
        "input_dimension": WIDTH,
        "output_dimension": WIDTH,
    },
    "transformer": {
        "d_model": WIDTH,
        "num_heads": 4,
        "num_layers": 2,
        "causal": True,
        "layer_scale": 0.1,
        "context": 50,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 256,
        "input_dimension": WIDTH,
        "output_dimensions": [WIDTH],
    },
}


def build() -> Any:
    """The reference package's Mimi in this shape, freshly initialised."""
    from moshi.models import loaders

    model = loaders.get_mimi(None, copy.deepcopy(CONFIG), num_codebooks=CODEBOOKS)
    _initialise(model)
    return model


def load(path: Path) -> Any:
    model = build()
    model.load_state_dict(torch.load(path))
    return model.eval()


def weights(model: Any) -> dict[str, Tensor]:
    """As `load` wants them: under the names that they have without torch.compile."""
    return {name.replace("_orig_mod.", ""): value for name, value in model.state_dict().items()}


@torch.no_grad()
def _initialise(model: Any) -> None:
    """Unit gain through the ELU stack: PyTorch's default shrinks the signal so much that nothing learns."""
    for name, weight in model.named_parameters():
        if weight.dim() == 3 and "quantizer" not in name:
            if name.startswith("upsample"):
                inputs = 2
            elif "convtr" in name:
                inputs = weight.shape[0] * 2
            else:
                inputs = weight.shape[1] * weight.shape[2]
            weight.normal_(0, (0.7 if ".block.3" in name else 1.1) / math.sqrt(inputs))
        elif name.endswith("bias") and weight.dim() == 1 and "norm" not in name:
            weight.zero_()
    model.decoder.model[-1].conv.conv.weight.mul_(0.1)
    model.encoder.model[0].conv.conv.weight.mul_(8.0)  # speech has an RMS near 0.08


def latents(model: Any, sound: Tensor) -> Tensor:
    """[B, 1, samples] -> [B, WIDTH, frames], before the quantiser."""
    return model._to_framerate(model.encoder_transformer(model.encoder(sound))[0])


def embedded(model: Any, codes: Tensor) -> Tensor:
    """[B, CODEBOOKS, frames] -> [B, WIDTH, frames], after the quantiser; gradients reach its output projections."""
    first, rest = model.quantizer.rvq_first, model.quantizer.rvq_rest
    with torch.no_grad():
        a = first.vq.decode(codes[:, :1].transpose(0, 1))
        b = rest.vq.decode(codes[:, 1:].transpose(0, 1))
    return first.output_proj(a) + rest.output_proj(b)


def sounded(model: Any, embedding: Tensor) -> Tensor:
    """[B, WIDTH, frames] -> [B, samples]"""
    return model.decoder(model.decoder_transformer(model.upsample(embedding))[0])[:, 0]


@cache
def mel_bank(n_fft: int, bands: int) -> Tensor:
    """[bands, n_fft / 2 + 1] triangles, evenly spaced in mel."""
    frequencies = torch.linspace(0, RATE / 2, n_fft // 2 + 1)
    mels = torch.linspace(0, 2595 * math.log10(1 + RATE / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


@cache
def _window(n: int) -> Tensor:
    return torch.hann_window(n)


def spectrum(sound: Tensor, n_fft: int, hop: int) -> Tensor:
    """[B, samples] -> complex [B, n_fft / 2 + 1, T]"""
    return torch.stft(sound, n_fft, hop, n_fft, _window(n_fft), center=True, pad_mode="constant", return_complex=True)


def log_mels(sound: Tensor, n_fft: int, hop: int, bands: int) -> Tensor:
    """[B, samples] -> [B, bands, T]"""
    size = spectrum(sound, n_fft, hop).abs()[..., : sound.shape[-1] // hop]
    return torch.log(mel_bank(n_fft, bands) @ size + 1e-2)


def coarse_mels(sound: Tensor) -> Tensor:
    """[B, samples] -> [B, COARSE, frames]: what somebody said, roughly."""
    return functional.avg_pool1d(log_mels(sound, 2048, 640, COARSE), 3)


Scales = tuple[tuple[int, int, int], ...]
SCALES: Scales = ((2048, 512, 80), (1024, 256, 64), (512, 128, 40), (256, 64, 20))  # window, hop, mel bands
WITH_PHASE = (1024, 512)
PHASE_BELOW = 4000.0  # Hz: above it nobody hears phase, and no small network learns it


def distance(made: Tensor, wanted: Tensor, scales: Scales = SCALES) -> dict[str, Tensor]:
    """[B, samples] twice -> log-mel and magnitude L1 over several scales, and the complex distance of the low end."""
    mel = magnitude = phase = torch.zeros(())
    for n_fft, hop, bands in scales:
        a, b = spectrum(made, n_fft, hop), spectrum(wanted, n_fft, hop)
        size_a, size_b = (torch.sqrt(x.real**2 + x.imag**2 + 1e-9) for x in (a, b))
        floor = math.sqrt(n_fft) * 2e-3
        bank = mel_bank(n_fft, bands)
        mel = mel + (torch.log(bank @ size_a + floor) - torch.log(bank @ size_b + floor)).abs().mean()
        magnitude = magnitude + (size_a - size_b).abs().mean() / (size_b.mean() + floor / 2)
        if n_fft in WITH_PHASE:
            low = int(PHASE_BELOW / RATE * n_fft)
            apart = a[:, :low] - b[:, :low]
            phase = phase + torch.sqrt(apart.real**2 + apart.imag**2 + 1e-9).mean() / (size_b[:, :low].mean() + floor)
    n_phase = sum(n_fft in WITH_PHASE for n_fft, _, _ in scales)
    return {"mel": mel / len(scales), "magnitude": magnitude / len(scales), "phase": phase / max(1, n_phase)}


def with_ear(voice: dict[str, Tensor], ear: dict[str, Tensor]) -> dict[str, Tensor]:
    """One codec of two with the same codebooks: the first one's decoder, and the encoder of the second."""
    hears = ("encoder", "downsample")
    return {name: ear[name] if name.startswith(hears) or "input_proj" in name else voice[name] for name in voice}


class Decoder(nn.Module):
    """The parts of a codec that make sound from codes: what learns once the codes are fixed."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def learning(self) -> list[nn.Parameter]:
        parts = (self.model.decoder, self.model.decoder_transformer, self.model.upsample)
        projections = [p for name, p in self.model.quantizer.named_parameters() if "output_proj" in name]
        return [p for part in parts for p in part.parameters()] + projections

    def forward(self, codes: Tensor) -> Tensor:
        return sounded(self.model, embedded(self.model, codes))
