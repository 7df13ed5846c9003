"""The language model of MODELS.md 2 and 3.2 in plain numpy, double precision, one position at a time.

It is written to be compared with the text, not to be fast: tests use it for models that no golden fixture covers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]  # named as in the published checkpoints
Config = Mapping[str, Any]

NONE, ZERO = -2, -1  # nothing known; a token that contributes a zero vector


def rms_norm(x: Vector, alpha: Vector, eps: float) -> Vector:
    scale: Vector = alpha.reshape(-1) / np.sqrt(np.mean(x * x) + eps)
    return x * scale


def rotate(x: Vector, position: int, max_period: float) -> Vector:
    """RoPE on interleaved pairs, each a complex number. x: [heads, head_dim]."""
    half = x.shape[1] // 2
    angles = position * max_period ** (-np.arange(half) / half)
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def attend(query: Vector, keys: Sequence[Vector], values: Sequence[Vector]) -> Vector:
    """query, each key and each value: [heads, head_dim]."""
    scores = np.einsum("hd,nhd->hn", query, np.stack(keys)) / np.sqrt(query.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    heard: Vector = np.einsum("hn,nhd->hd", weights / weights.sum(axis=1, keepdims=True), np.stack(values))
    return heard.reshape(-1)


def gated(x: Vector, linear_in: Vector, linear_out: Vector) -> Vector:
    u, v = np.split(linear_in @ x, 2)
    silu: Vector = u / (1 + np.exp(-u))
    return linear_out @ (silu * v)


@dataclass
class LanguageModel:
    weights: Weights
    config: Config
    context: int
    legacy: bool = False  # the window of NVIDIA's fork (3.1): a full ring hides its oldest key
    keys: list[list[Vector]] = field(default_factory=list)  # of all positions, by layer
    values: list[list[Vector]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = [[] for _ in range(self.config["num_layers"])]
        self.values = [[] for _ in range(self.config["num_layers"])]
        self.eps = {"rms_norm_f32": 1e-8, "rms_norm": 1e-5}[self.config["norm"]]

    def oldest(self, position: int, capacity: int) -> int:
        """The first position that a query sees in a ring of that capacity. It always sees itself."""
        return min(position, max(0, position + 1 - capacity + self.legacy))

    def weight(self, name: str) -> Vector:
        return self.weights[name].astype(np.float64)

    def block(self, name: str, index: int, rows: int) -> Vector:
        """One of the row blocks that a packed projection consists of."""
        return self.weight(name)[index * rows : (index + 1) * rows]

    def embedding(self, name: str, token: int) -> Vector:
        table = self.weight(f"{name}.weight")
        row = np.zeros(table.shape[1]) if token == ZERO else table[token]
        low_rank = f"{name}.low_rank.weight"
        return self.weight(low_rank) @ row if low_rank in self.weights else row

    def embed(self, tokens: Sequence[int]) -> Vector:
        """tokens: [1 + n_q], text first."""
        audio = [self.embedding(f"emb.{k}", token) for k, token in enumerate(tokens[1:])]
        return sum(audio, start=self.embedding("text_emb", tokens[0]))

    def temporal(self, x: Vector) -> tuple[Vector, Vector]:
        """The next position: hidden state after the output norm, text logits."""
        heads, period = self.config["num_heads"], self.config["max_period"]
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            name = f"transformer.layers.{layer}"
            y = rms_norm(x, self.weight(f"{name}.norm1.alpha"), self.eps)
            q, k, v = (self.weight(f"{name}.self_attn.in_proj_weight") @ y).reshape(3, heads, -1)
            position = len(keys)
            keys.append(rotate(k, position, period))
            values.append(v)
            seen = slice(self.oldest(position, self.context), None)
            heard = attend(rotate(q, position, period), keys[seen], values[seen])
            x = x + self.weight(f"{name}.self_attn.out_proj.weight") @ heard
            y = rms_norm(x, self.weight(f"{name}.norm2.alpha"), self.eps)
            x = x + gated(
                y, self.weight(f"{name}.gating.linear_in.weight"), self.weight(f"{name}.gating.linear_out.weight")
            )
        hidden = rms_norm(x, self.weight("out_norm.alpha"), self.eps)
        return hidden, self.weight("text_linear.weight") @ hidden

    def depformer(self, hidden: Vector, fed: Sequence[int], steps: int) -> tuple[list[int], list[Vector]]:
        """The best token of each step, and the logits.

        fed: [1 + steps]: the text token, then what is fed of each step's token; NONE for the token itself.
        """
        dim, heads = self.config["depformer_dim"], self.config["depformer_num_heads"]
        layers = range(self.config["depformer_num_layers"])
        schedule = self.config.get("depformer_weights_per_step_schedule") or list(range(self.config["dep_q"]))
        keys: list[list[Vector]] = [[] for _ in layers]
        values: list[list[Vector]] = [[] for _ in layers]
        tokens: list[int] = []
        logits: list[Vector] = []
        for step in range(steps):
            w = schedule[step]
            table = "depformer_text_emb" if step == 0 else f"depformer_emb.{step - 1}"
            token = fed[step] if fed[step] != NONE else tokens[-1]
            x = self.weight(f"depformer_in.{w}.weight") @ hidden + self.embedding(table, token)
            for layer in layers:
                name = f"depformer.layers.{layer}"
                y = rms_norm(x, self.weight(f"{name}.norm1.alpha"), self.eps)
                q, k, v = (self.block(f"{name}.self_attn.in_proj_weight", w, 3 * dim) @ y).reshape(3, heads, -1)
                keys[layer].append(k)
                values[layer].append(v)
                seen = slice(self.oldest(step, self.config["dep_q"]), None)
                heard = attend(q, keys[layer][seen], values[layer][seen])
                x = x + self.block(f"{name}.self_attn.out_proj.weight", w, dim) @ heard
                y = rms_norm(x, self.weight(f"{name}.norm2.alpha"), self.eps)
                gate = f"{name}.gating.{w}"
                x = x + gated(y, self.weight(f"{gate}.linear_in.weight"), self.weight(f"{gate}.linear_out.weight"))
            logits.append(self.weight(f"linears.{step}.weight") @ x)
            tokens.append(int(logits[-1].argmax()))
        return tokens, logits


@dataclass
class Step:
    """What one call brought. Nothing but `out` if the model did not run."""

    out: list[int] | None = None  # aligned text and audio tokens
    fed: list[int] = field(default_factory=list)
    hidden: Vector = field(default_factory=lambda: np.zeros(0))
    text_logits: Vector = field(default_factory=lambda: np.zeros(0))
    depformer_logits: list[Vector] = field(default_factory=list)


class Streams:
    """The delayed token streams of one conversation: text, then n_q of audio."""

    def __init__(self, model: LanguageModel, extra_columns: int) -> None:
        self.model, config = model, model.config
        self.delays = config["delays"]
        self.initial = [config["text_card"]] + [config["card"]] * config["n_q"]
        self.columns = max(self.delays) + extra_columns
        self.tokens = np.full((1 + config["n_q"], self.columns), NONE)
        self.offset = 0

    def put(self, stream: int, time: int, token: int) -> None:
        self.tokens[stream, time % self.columns] = token

    def at(self, stream: int, time: int) -> int:
        return int(self.tokens[stream, time % self.columns])

    def aligned(self, newest: int, streams: int) -> list[int] | None:
        oldest = newest - max(self.delays)
        return None if oldest <= 0 else [self.at(k, oldest + self.delays[k]) for k in range(streams)]


class Moshi(Streams):
    """A conversation by Kyutai's rules (2.6)."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model, 2)

    def step(self, given: Sequence[int]) -> Step:
        """given: [1 + n_q]; those of the text and of the model's audio replace what is sampled, NONE does not."""
        model, spoken = self.model, 1 + self.model.config["dep_q"]
        for k in range(spoken, len(given)):
            self.put(k, self.offset + self.delays[k], given[k])
        fed = [self.initial[k] if self.offset <= self.delays[k] else self.at(k, self.offset) for k in range(len(given))]
        hidden, text_logits = model.temporal(model.embed(fed))
        text = int(text_logits.argmax()) if given[0] == NONE else given[0]
        sampled, logits = model.depformer(hidden, [text, *given[1:spoken]], spoken - 1)
        self.offset += 1
        for k, token in enumerate([text, *sampled]):
            self.put(k, self.offset, token if given[k] == NONE else given[k])
        return Step(self.aligned(self.offset, spoken), fed, hidden, text_logits, logits)


class PersonaPlex(Streams):
    """A conversation by the rules of NVIDIA's fork (3.2): what is given is delayed with its stream."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model, 3)
        self.known = np.zeros(self.tokens.shape, bool)

    def step(self, given: Sequence[int]) -> Step:
        """given: [1 + n_q], NONE for what is not given."""
        model, n, columns = self.model, self.offset, self.columns
        for k, token in enumerate(given):
            if token != NONE:
                self.put(k, n + self.delays[k], token)
                self.known[k, (n + self.delays[k]) % columns] = True
            if n <= self.delays[k]:
                self.put(k, n, self.initial[k])
                self.known[k, n % columns] = True
        self.offset += 1
        if n == 0:
            return Step()
        fed = [self.at(k, n - 1) for k in range(len(given))]
        hidden, text_logits = model.temporal(model.embed(fed))
        known = self.known[:, n % columns].copy()
        used = [self.at(k, n) if known[k] else NONE for k in range(1 + model.config["dep_q"])]
        text = int(text_logits.argmax()) if used[0] == NONE else used[0]
        sampled, logits = model.depformer(hidden, [text, *used[1:]], model.config["dep_q"])
        self.known[:, (n - 1) % columns] = False
        for k, token in enumerate([text, *sampled]):
            if not known[k]:
                self.put(k, n, token)
        return Step(self.aligned(n, len(given)), fed, hidden, text_logits, logits)
