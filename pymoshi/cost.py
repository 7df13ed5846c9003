"""What a frame of 80 ms costs: bytes to go through, operations, memory.

From a model's hyper-parameters alone (`cost`, for predictions), or from the tensors that its files really hold
(`reads`, for measurements). One frame at a time, every weight that a frame needs takes part in one multiplication: a
frame takes as long as the memory takes to bring its weights, and the keys and values of the past, to the processor.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from pymoshi.hub.config import is_personaplex
from pymoshi.hub.storage import lm_type, row_bytes, stored_bytes
from pymoshi.hub.tensors import Tensor, depformer_hidden_of, hidden_of, lm_tensors

FRAME_SECONDS: Final = 0.08
_SOURCE: Final = "bf16"  # of the published checkpoints

# Nodes of the engine's graph that compute: see vendor/moshi.cpp/src/lm.
_LAYER_OPERATIONS: Final = 16
_SAMPLING_OPERATIONS: Final = 7

_LOOKED_UP: Final = re.compile(r"(?:depformer_)?(?:text_emb|emb\.\d+)\.weight").fullmatch
"""Embeddings: of these a frame takes a row."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a language model with its weights stored in one way."""

    read: Mapping[str, int]
    """Bytes of weights that a frame goes through, by the type they are stored in ("q4_k", "f32", ...)."""
    resident: int
    """Bytes of all weights that are loaded."""
    kv_per_frame: int
    """Bytes of keys and values that each frame leaves for those after it."""
    context: int
    """Frames that are remembered."""
    operations: int

    @property
    def kv(self) -> int:
        """Bytes of keys and values once the memory is full: taken, and gone through by every frame."""
        return self.kv_per_frame * self.context


def depformer_steps(config: Mapping[str, Any]) -> int:
    """Steps that are computed: PersonaPlex's predictions of its user's codes are of no use to anybody."""
    dep_q = int(config["dep_q"])
    return min(dep_q, int(config["n_q"]) // 2) if is_personaplex(config) else dep_q


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of a language model as it is stored."""

    name: str
    """As published: without `lm.`."""
    kind: str
    """ "q4_k", "f32", ..."""
    n_bytes: int
    row_bytes: int


def cost(config: Mapping[str, Any], quantize: str, *, kv_type: str = "f16") -> Cost:
    """config: as in a published config.json. quantize: as in `pymoshi convert`."""
    steps = depformer_steps(config)
    schedule = config.get("depformer_weights_per_step_schedule") or list(range(int(config["dep_q"])))
    tensors = lm_tensors(config, hidden_of(config), depformer_hidden_of(config) if config["dep_q"] else 0)
    read, resident = reads((_stored(tensor, quantize) for tensor in tensors), schedule, steps)
    return Cost(
        read=read,
        resident=resident,
        kv_per_frame=2 * config["num_layers"] * row_bytes(kv_type, config["dim"]),
        context=config["context"],
        operations=_operations(config, steps),
    )


def reads(weights: Iterable[Weight], schedule: Sequence[int], steps: int) -> tuple[dict[str, int], int]:
    """Bytes that a frame goes through, by type, and bytes of the tensors that it needs at all.

    schedule: the set of weights that each step of the depformer uses. steps: those that are computed.
    """
    sets = Counter(schedule[:steps])
    read, resident = Counter[str](), 0
    for weight in weights:
        uses = _uses(weight.name, sets, steps)
        resident += weight.n_bytes if uses else 0
        read[weight.kind] += weight.row_bytes * bool(uses) if _LOOKED_UP(weight.name) else weight.n_bytes * uses
    return dict(read), resident


def _stored(tensor: Tensor, quantize: str) -> Weight:
    kind = lm_type(tensor, quantize, _SOURCE)
    return Weight(tensor.name, kind, stored_bytes(tensor, kind), row_bytes(kind, tensor.shape[-1]))


def _uses(name: str, sets: Mapping[int, int], steps: int) -> int:
    """How often a frame uses a tensor; those that it never uses are not loaded."""
    if match := re.match(r"depformer_emb\.(\d+)\.", name):
        return int(int(match[1]) < steps - 1)
    if match := re.match(r"linears\.(\d+)\.", name):
        return int(int(match[1]) < steps)
    if match := re.match(r"depformer_in\.(\d+)\.|depformer\.layers\.\d+\.(?:self_attn\.\w+|gating)\.(\d+)\.", name):
        return sets.get(int(match[1] or match[2]), 0)
    if name.startswith("depformer.layers."):
        return steps
    return int(steps > 0) if name.startswith("depformer") else 1


def _operations(config: Mapping[str, Any], steps: int) -> int:
    embeddings = 2 * (int(config["n_q"]) + 1)
    head = 3 + _SAMPLING_OPERATIONS
    step = 4 + _LAYER_OPERATIONS * int(config.get("depformer_num_layers") or 0) + _SAMPLING_OPERATIONS
    return embeddings + _LAYER_OPERATIONS * int(config["num_layers"]) + head + steps * step


def codec_work(config: Mapping[str, Any]) -> int:
    """Multiplications of a frame in the codec's convolutions and transformers, both directions.

    It relates codecs of different widths to each other.
    """
    seanet, transformer = config["seanet"], config["transformer"]
    rate = round(FRAME_SECONDS * config["sample_rate"])
    work, width, samples = 0, int(seanet["n_filters"]), rate
    ends = seanet["kernel_size"] * seanet["channels"] * width * samples
    for ratio in reversed(seanet["ratios"]):
        narrow = width // seanet["compress"]
        block = (seanet["residual_kernel_size"] + 1) * width * narrow * samples
        samples //= ratio
        work += 2 * (block + 2 * ratio * width * 2 * width * samples)  # down on one way, up on the other
        width *= 2
    inner = (seanet["last_kernel_size"] + seanet["kernel_size"]) * width * seanet["dimension"] * samples
    layer = 4 * transformer["d_model"] ** 2 + 2 * transformer["d_model"] * transformer["dim_feedforward"]
    return int(work + 2 * ends + inner + 2 * transformer["num_layers"] * layer * samples)


def codec_bytes(tensors: list[Tensor]) -> int:
    """Memory of a codec's weights in f32, in which most are computed with."""
    return sum(4 * prod(tensor.shape) for tensor in tensors)
