"""Which tensors a model of given hyper-parameters consists of: the list that `convert` checks and `synth` invents.

Names are those of the published checkpoints with one attention projection a depformer step (`in_projs.{i}.weight`);
shapes are PyTorch's, slowest axis first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any


class Role(Enum):
    """What a tensor is used for, which decides the type that it is stored in."""

    LINEAR = "linear"  # the right-hand side of a matrix product: quantised
    EMBEDDING = "embedding"  # rows are looked up: quantised, in a type whose rows can be fetched
    NORM = "norm"  # always f32
    BIAS = "bias"  # of a convolution: always f32, stored [C, 1]
    CONV = "conv"  # a convolution's kernel, or a 1x1 one: f16 in the existing files
    WIDE = "wide"  # the codec's matrices and transposed convolutions, in f32 in the existing files
    CODEBOOK = "codebook"  # always f32: codes are decided by small differences
    KEPT = "kept"  # small heads and conditioners: the type of the source


@dataclass(frozen=True)
class Tensor:
    """Name (without `lm.` or `mimi.`), shape (PyTorch order) and role of one tensor."""

    name: str
    shape: tuple[int, ...]
    role: Role


def gated_hidden(dim: int, feed_forward: int) -> int:
    """Width of a gated feed-forward layer: two thirds of the nominal one, Kyutai's rounding."""
    return (21 * dim) // 8 if feed_forward == 4 * dim else (2 * feed_forward) // 3


def depformer_sets(config: Mapping[str, Any]) -> int:
    """How many sets of depformer weights there are: one a codebook unless a schedule shares them."""
    schedule: list[int] | None = config.get("depformer_weights_per_step_schedule")
    return max(schedule) + 1 if schedule else int(config["dep_q"])


def hidden_of(config: Mapping[str, Any]) -> int:
    """Gated width of the temporal transformer's layers."""
    return gated_hidden(config["dim"], int(config["hidden_scale"] * config["dim"]))


def depformer_hidden_of(config: Mapping[str, Any]) -> int:
    """Gated width of the depformer's layers."""
    dim: int = config["depformer_dim"]
    return gated_hidden(dim, config.get("depformer_dim_feedforward") or int(config["hidden_scale"] * dim))


def lm_tensors(config: Mapping[str, Any], hidden: int, depformer_hidden: int) -> Iterator[Tensor]:
    """The language model's tensors. The widths are separate, as real files may contradict their `hidden_scale`."""
    dim, n_q, dep_q, card = config["dim"], config["n_q"], config["dep_q"], config["card"]
    text_card = config["text_card"]
    for k in range(n_q):
        yield Tensor(f"emb.{k}.weight", (card + 1, dim), Role.EMBEDDING)
    yield from _text_embedding("text_emb", text_card, dim, dim, config)
    for layer in range(config["num_layers"]):
        name = f"transformer.layers.{layer}"
        key_value = dim // (config.get("kv_repeat") or 1)
        yield Tensor(f"{name}.norm1.alpha", (1, 1, dim), Role.NORM)
        yield Tensor(f"{name}.self_attn.in_projs.0.weight", (dim + 2 * key_value, dim), Role.LINEAR)
        yield Tensor(f"{name}.self_attn.out_projs.0.weight", (dim, dim), Role.LINEAR)
        if config.get("cross_attention"):
            yield Tensor(f"{name}.norm_cross.weight", (dim,), Role.NORM)
            yield Tensor(f"{name}.norm_cross.bias", (dim,), Role.NORM)
            yield Tensor(f"{name}.cross_attention.in_projs.0.weight", (3 * dim, dim), Role.LINEAR)
            yield Tensor(f"{name}.cross_attention.out_projs.0.weight", (dim, dim), Role.LINEAR)
        yield Tensor(f"{name}.norm2.alpha", (1, 1, dim), Role.NORM)
        yield Tensor(f"{name}.gating.linear_in.weight", (2 * hidden, dim), Role.LINEAR)
        yield Tensor(f"{name}.gating.linear_out.weight", (dim, hidden), Role.LINEAR)
    yield Tensor("out_norm.alpha", (1, 1, dim), Role.NORM)
    yield Tensor("text_linear.weight", (config.get("text_card_out") or text_card, dim), Role.LINEAR)
    for head in range(config.get("extra_heads_num_heads") or 0):
        yield Tensor(f"extra_heads.{head}.weight", (config.get("extra_heads_dim") or 6, dim), Role.KEPT)
    if dep_q:
        yield from _depformer(config, depformer_hidden)


def _depformer(config: Mapping[str, Any], hidden: int) -> Iterator[Tensor]:
    dim, dep_q, card, sets = config["depformer_dim"], config["dep_q"], config["card"], depformer_sets(config)
    rank = config.get("depformer_low_rank_embeddings") or 0
    for k in range(sets):
        yield Tensor(f"depformer_in.{k}.weight", (dim, config["dim"]), Role.LINEAR)
    yield from _text_embedding("depformer_text_emb", config["text_card"], rank or dim, dim, config)
    if rank:
        yield Tensor("depformer_text_emb.low_rank.weight", (dim, rank), Role.LINEAR)
    for k in range(dep_q - 1):
        yield Tensor(f"depformer_emb.{k}.weight", (card + 1, rank or dim), Role.EMBEDDING)
        if rank:
            yield Tensor(f"depformer_emb.{k}.low_rank.weight", (dim, rank), Role.LINEAR)
    for layer in range(config["depformer_num_layers"]):
        name = f"depformer.layers.{layer}"
        yield Tensor(f"{name}.norm1.alpha", (1, 1, dim), Role.NORM)
        yield Tensor(f"{name}.norm2.alpha", (1, 1, dim), Role.NORM)
        for k in range(sets):
            yield Tensor(f"{name}.self_attn.in_projs.{k}.weight", (3 * dim, dim), Role.LINEAR)
            yield Tensor(f"{name}.self_attn.out_projs.{k}.weight", (dim, dim), Role.LINEAR)
            yield Tensor(f"{name}.gating.{k}.linear_in.weight", (2 * hidden, dim), Role.LINEAR)
            yield Tensor(f"{name}.gating.{k}.linear_out.weight", (dim, hidden), Role.LINEAR)
    for k in range(dep_q):
        yield Tensor(f"linears.{k}.weight", (card, dim), Role.LINEAR)


def _text_embedding(name: str, text_card: int, width: int, out: int, config: Mapping[str, Any]) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", (text_card + 1, width), Role.EMBEDDING)
    if config.get("demux_second_stream"):
        yield Tensor(f"{name}.out1.weight", (out, width), Role.LINEAR)
        yield Tensor(f"{name}.out2.weight", (out, width), Role.LINEAR)


def mimi_tensors(config: Mapping[str, Any]) -> Iterator[Tensor]:
    """The codec's tensors, with codebooks already divided by their usage (`_codebook.embedding`)."""
    quantizer, latent = config["quantizer"], config["seanet"]["dimension"]
    yield from _seanet_encoder(config["seanet"])
    yield from _codec_transformer("encoder_transformer", config["transformer"])
    kernel = 2 * _resampling(config)
    yield Tensor("downsample.conv.conv.conv.weight", (latent, latent, kernel), Role.CONV)
    for part, levels in (("rvq_first", 1), ("rvq_rest", quantizer["n_q"] - 1)):
        name, width = f"quantizer.{part}", quantizer["dimension"]
        if levels:
            yield Tensor(f"{name}.input_proj.weight", (width, latent, 1), Role.CONV)
            yield Tensor(f"{name}.output_proj.weight", (latent, width, 1), Role.CONV)
        for level in range(levels):
            yield Tensor(f"{name}.vq.layers.{level}._codebook.embedding", (quantizer["bins"], width), Role.CODEBOOK)
    yield Tensor("upsample.convtr.convtr.convtr.weight", (latent, 1, kernel), Role.WIDE)
    yield from _codec_transformer("decoder_transformer", config["transformer"])
    yield from _seanet_decoder(config["seanet"])


def _resampling(config: Mapping[str, Any]) -> int:
    """Latents of the convolutions to one frame: 2 in the published codec (25 Hz to 12.5 Hz)."""
    latents: float = config["sample_rate"] / prod(config["seanet"]["ratios"])
    return max(1, round(latents / float(config["frame_rate"])))


def _codec_transformer(part: str, config: Mapping[str, Any]) -> Iterator[Tensor]:
    dim, wide = config["d_model"], config["dim_feedforward"]
    for layer in range(config["num_layers"]):
        name = f"{part}.transformer.layers.{layer}"
        for norm in ("norm1", "norm2"):
            yield Tensor(f"{name}.{norm}.weight", (dim,), Role.NORM)
            yield Tensor(f"{name}.{norm}.bias", (dim,), Role.NORM)
        yield Tensor(f"{name}.self_attn.in_projs.0.weight", (3 * dim, dim), Role.WIDE)
        yield Tensor(f"{name}.self_attn.out_projs.0.weight", (dim, dim), Role.WIDE)
        yield Tensor(f"{name}.linear1.weight", (wide, dim), Role.WIDE)
        yield Tensor(f"{name}.linear2.weight", (dim, wide), Role.WIDE)
        if config.get("layer_scale") is not None:
            yield Tensor(f"{name}.layer_scale_1.scale", (dim,), Role.NORM)
            yield Tensor(f"{name}.layer_scale_2.scale", (dim,), Role.NORM)


def _conv(name: str, channels_in: int, channels_out: int, kernel: int) -> Iterator[Tensor]:
    yield Tensor(f"{name}.conv.conv.weight", (channels_out, channels_in, kernel), Role.CONV)
    yield Tensor(f"{name}.conv.conv.bias", (channels_out,), Role.BIAS)


def _resblock(name: str, channels: int, config: Mapping[str, Any]) -> Iterator[Tensor]:
    narrow = channels // config["compress"]
    yield from _conv(f"{name}.block.1", channels, narrow, config["residual_kernel_size"])
    yield from _conv(f"{name}.block.3", narrow, channels, 1)


def _seanet_encoder(config: Mapping[str, Any]) -> Iterator[Tensor]:
    width = config["n_filters"]
    yield from _conv("encoder.model.0", config["channels"], width, config["kernel_size"])
    index = 1
    for ratio in reversed(config["ratios"]):
        yield from _resblock(f"encoder.model.{index}", width, config)
        yield from _conv(f"encoder.model.{index + 2}", width, 2 * width, 2 * ratio)  # index + 1 is the ELU
        width, index = 2 * width, index + 3
    yield from _conv(f"encoder.model.{index + 1}", width, config["dimension"], config["last_kernel_size"])


def _seanet_decoder(config: Mapping[str, Any]) -> Iterator[Tensor]:
    width = config["n_filters"] << len(config["ratios"])
    yield from _conv("decoder.model.0", config["dimension"], width, config["kernel_size"])
    index = 2
    for ratio in config["ratios"]:
        yield Tensor(f"decoder.model.{index}.convtr.convtr.weight", (width, width // 2, 2 * ratio), Role.WIDE)
        yield Tensor(f"decoder.model.{index}.convtr.convtr.bias", (width // 2,), Role.BIAS)
        yield from _resblock(f"decoder.model.{index + 1}", width // 2, config)
        width, index = width // 2, index + 3
    yield from _conv(f"decoder.model.{index}", width, config["channels"], config["last_kernel_size"])
