"""How each model of the catalog would run on a machine that has been measured, and which one to take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pymoshi.cost import FRAME_SECONDS, Cost, codec_bytes, cost
from pymoshi.hub.catalog import Catalog, CatalogModel, Variant
from pymoshi.hub.config import MIMI_24KHZ, MOSHI_7B
from pymoshi.hub.storage import LM_TYPES
from pymoshi.hub.tensors import mimi_tensors

FRAME_MS: Final = 1000 * FRAME_SECONDS
SAFE_MS: Final = 0.9 * FRAME_MS
"""What a frame may take: some of the 80 ms belong to the sound card, the terminal and other programs."""

KV: Final = "kv"
"""Among the types of weights: the keys and values of the past. On a CPU attention takes several times as long as a
product of as many bytes."""

_SCRATCH: Final = 200_000_000  # bytes: graphs, codec state, inputs
_ACCURATE_ENOUGH: Final = ("q8_0", "q4_k", "bf16", "f16")
"""By preference where several run: q8_0 is as good as bf16 to the ear, q4_k is a little less."""

# What the published config.json files say that the catalog has no need of.
_STT: Final[dict[str, Any]] = {
    "dim": 2048,
    "n_q": 32,
    "dep_q": 0,
    "card": 2048,
    "hidden_scale": 4.125,
    "model_type": "stt",
}
_PUBLISHED: Final[dict[str, dict[str, Any]]] = {
    "stt-1b": _STT | {"num_layers": 16, "num_heads": 16, "text_card": 8000, "context": 750},
    "stt-2.6b": _STT | {"num_layers": 48, "num_heads": 32, "text_card": 4000, "context": 375},
}


class Verdict(StrEnum):
    """How a model would run."""

    REAL_TIME = "real time"
    AT_FIRST = "real time at first"
    """Until the memory of the conversation has grown; with a shorter one (`--context`) it stays so."""
    TOO_SLOW = "too slow"
    NO_MEMORY = "not enough memory"
    UNSUPPORTED = "not computed yet"


@dataclass(frozen=True, slots=True)
class Speed:
    """A device, measured."""

    bandwidth: Mapping[str, float]
    """Bytes of weights per second, by type as `pymoshi convert` names it, "f16" at least; "kv": keys and values."""
    op_seconds: float
    encode_ms: float
    decode_ms: float
    """Of the full-size codec."""

    def seconds(self, n_bytes: int, kind: str) -> float:
        """How long the device takes to get through weights of that type."""
        return n_bytes / self.bandwidth.get(kind, self.bandwidth["f16"])


@dataclass(frozen=True, slots=True)
class Prediction:
    """How one variant of a model would run."""

    model: str
    variant: str
    kind: str
    """Type of the weights, e.g. "q4_k"."""
    converses: bool
    """False for models that only listen."""
    verdict: Verdict
    download: int
    """Bytes; the original weights for a variant that is converted here."""
    memory: int
    """Bytes, with the conversation's memory full; 0 where nothing is known."""
    first_ms: float
    """A frame at the beginning of a conversation, all included."""
    full_ms: float
    """A frame once the model's memory is full."""
    real_time_seconds: float
    """Of conversation, until frames take longer than is safe; inf if they never do."""
    context: int
    """Frames that may be remembered without frames ever taking longer than is safe."""

    @property
    def spec(self) -> str:
        """What `pymoshi pull` takes."""
        return f"{self.model}:{self.variant}"

    @property
    def frames_per_second(self) -> float:
        """At the beginning of a conversation; 12.5 are needed. 0 where nothing is known."""
        return 1000 / self.first_ms if self.first_ms else 0.0


def predict_all(catalog: Catalog, speed: Speed, free_memory: int) -> list[Prediction]:
    """Every variant of every model, in the catalog's order. free_memory: of the device, in bytes; 0 if unknown."""
    return [
        predict(model, variant, speed, free_memory)
        for model in catalog.models.values()
        for variant in model.variants.values()
    ]


def predict(model: CatalogModel, variant: Variant, speed: Speed, free_memory: int) -> Prediction:
    """One variant."""
    kind, config = kind_of(variant), config_of(model)
    if config is None:
        return Prediction(
            model.alias, variant.name, kind, converses=False, verdict=Verdict.UNSUPPORTED, memory=0, first_ms=0.0,
            full_ms=0.0, real_time_seconds=0.0, context=0, download=download_bytes(model, variant),
        )  # fmt: skip
    costs, converses = cost(config, kind), bool(config["dep_q"])
    first = frame_ms(costs, speed, remembered=0, decodes=converses)
    full = frame_ms(costs, speed, remembered=costs.context, decodes=converses)
    memory = costs.resident + costs.kv + codec_bytes(list(mimi_tensors(MIMI_24KHZ))) + _SCRATCH
    sustained = _sustained(first, full, costs.context)
    if free_memory and memory > free_memory:
        verdict = Verdict.NO_MEMORY
    elif full <= SAFE_MS:
        verdict = Verdict.REAL_TIME
    else:
        verdict = Verdict.AT_FIRST if first <= SAFE_MS else Verdict.TOO_SLOW
    return Prediction(
        model.alias,
        variant.name,
        kind,
        converses=converses,
        verdict=verdict,
        download=download_bytes(model, variant),
        memory=memory,
        first_ms=first,
        full_ms=full,
        real_time_seconds=float("inf") if full <= SAFE_MS else sustained * FRAME_SECONDS,
        context=sustained,
    )


def frame_ms(costs: Cost, speed: Speed, *, remembered: int, decodes: bool = True) -> float:
    """Milliseconds of a frame with that many before it. Attention that was not measured is as fast as f16 weights."""
    seconds = sum(speed.seconds(n_bytes, kind) for kind, n_bytes in costs.read.items())
    seconds += speed.seconds(costs.kv_per_frame * min(remembered, costs.context), KV)
    seconds += costs.operations * speed.op_seconds
    return 1000 * seconds + speed.encode_ms + (speed.decode_ms if decodes else 0.0)


def _sustained(first: float, full: float, context: int) -> int:
    """Frames of memory with which a frame takes `SAFE_MS`."""
    if full <= SAFE_MS:
        return context
    return max(0, int(context * (SAFE_MS - first) / (full - first))) if first < SAFE_MS else 0


def kind_of(variant: Variant) -> str:
    """The type of a variant's weights."""
    return variant.quantize or (variant.name if variant.name in LM_TYPES else "bf16")


def config_of(model: CatalogModel) -> Mapping[str, Any] | None:
    """Hyper-parameters of a model of the catalog; None for those that the engine does not compute."""
    if model.model_type == "tts":
        return None
    if model.alias in _PUBLISHED:
        return _PUBLISHED[model.alias]
    whole = (variant.config for variant in model.variants.values() if "dim" in variant.config)
    config = next(whole, None) or MOSHI_7B
    return {
        **config,
        "model_type": model.model_type,
        "dep_q": 16 if model.model_type == "personaplex" else config["dep_q"],
    }


def download_bytes(model: CatalogModel, variant: Variant) -> int:
    """What has to be fetched, roughly: the catalog does not know the size of every file."""
    largest = variant.n_bytes if variant.quantize is None else max(other.n_bytes for other in model.variants.values())
    return max(largest, sum(file.size or 0 for file in variant.files.values()))


def choose(predictions: Iterable[Prediction]) -> Prediction | None:
    """The one to take: the first of the catalog that converses in real time, as accurate as the machine can; else
    the one that comes closest. None if none fits into the memory."""
    able = [found for found in predictions if found.converses and found.verdict is not Verdict.NO_MEMORY]
    for wanted in (Verdict.REAL_TIME, Verdict.AT_FIRST):
        fitting = [found for found in able if found.verdict is wanted]
        if fitting:
            first = [found for found in fitting if found.model == fitting[0].model]
            return min(first, key=_preference if wanted is Verdict.REAL_TIME else lambda found: found.full_ms)
    return min(able, key=lambda found: found.full_ms, default=None)


def _preference(found: Prediction) -> int:
    return _ACCURATE_ENOUGH.index(found.kind) if found.kind in _ACCURATE_ENOUGH else len(_ACCURATE_ENOUGH)


def real_time(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Those with which a conversation is possible."""
    possible = (Verdict.REAL_TIME, Verdict.AT_FIRST)
    return [found for found in predictions if found.converses and found.verdict in possible]
