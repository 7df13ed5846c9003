"""Models of other shapes than any published one, against plain numpy (reference.py): what config.json can say is
computed as it says, not as in the models that happen to be published."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import pymoshi
from pymoshi.hub.convert import convert

from .compare import SLACK, worst
from .reference import NONE, ZERO, LanguageModel, Moshi, PersonaPlex, Step

CLOSE = 1e-4 * SLACK
FRAMES = 30
PROMPT = 70  # more than the engine computes at once

SMALL: dict[str, Any] = {
    "model_type": "moshi", "dim": 32, "num_heads": 2, "num_layers": 2, "hidden_scale": 4.125, "context": 64,
    "max_period": 10000, "norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope", "causal": True,
    "text_card": 48, "existing_text_padding_id": 3, "card": 40, "n_q": 4, "dep_q": 2, "delays": [0, 0, 1, 0, 1],
    "depformer_dim": 16, "depformer_num_heads": 2, "depformer_num_layers": 2, "depformer_dim_feedforward": 66,
    "depformer_gating": "silu", "depformer_pos_emb": "none",
}  # fmt: skip
FORK: dict[str, Any] = {
    "model_type": "personaplex", "dep_q": 4, "silence_tokens": [1, 2], "sine_tokens": [3, 4],
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A model that differs from SMALL."""

    differs: dict[str, Any] = field(default_factory=dict)
    embedding: float = 0.5
    """How large embeddings are."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the session."""

    @property
    def config(self) -> dict[str, Any]:
        return SMALL | self.differs

    @property
    def is_fork(self) -> bool:
        return bool(self.config["model_type"] == "personaplex")

    def reference(self, weights: dict[str, NDArray[np.float32]]) -> Moshi | PersonaPlex:
        context = self.options.get("context", self.config["context"])
        model = LanguageModel(weights, self.config, context, legacy=self.options.get("window") == "legacy")
        return PersonaPlex(model) if self.is_fork else Moshi(model)

    @property
    def n_user(self) -> int:
        config = self.config
        return int(config["n_q"] // 2 if self.is_fork else config["n_q"] - config["dep_q"])

    @property
    def steps(self) -> int:
        """Depformer steps whose result is used."""
        return int(min(self.config["dep_q"], self.config["n_q"] - self.n_user))


VARIANTS = {
    "four of six codebooks, mixed delays": Variant({"n_q": 6, "dep_q": 4, "delays": [1, 0, 3, 1, 2, 3, 0]}),
    "text behind the audio": Variant({"delays": [2, 0, 1, 0, 1]}),
    "no delay at all": Variant({"delays": [0] * 5}),
    "shared weight sets": Variant(
        {
            "n_q": 7,
            "dep_q": 5,
            "delays": [0, 0, 1, 1, 1, 1, 0, 1],
            "depformer_weights_per_step_schedule": [0, 1, 1, 2, 1],
        }
    ),
    "shared weight sets, low-rank embeddings": Variant(
        {"dep_q": 3, "depformer_weights_per_step_schedule": [0, 1, 1], "depformer_low_rank_embeddings": 4}
    ),
    "low-rank embeddings": Variant({"depformer_low_rank_embeddings": 8}),
    "rms_norm on small activations": Variant({"norm": "rms_norm"}, embedding=1e-3),
    "rms_norm_f32 on small activations": Variant({"norm": "rms_norm_f32"}, embedding=1e-3),
    "positions of a longer period": Variant({"max_period": 100000}),
    "positions of a short period": Variant({"max_period": 50.5}),
    "one layer each": Variant({"num_layers": 1, "depformer_num_layers": 1}),
    "one head each": Variant({"num_heads": 1, "depformer_num_heads": 1}),
    "three heads of ten": Variant({"dim": 30, "num_heads": 3, "depformer_dim": 18, "depformer_num_heads": 3}),
    "one codebook each": Variant({"n_q": 2, "dep_q": 1, "delays": [0, 1, 0]}),
    "odd numbers of codebooks": Variant({"n_q": 5, "dep_q": 3, "delays": [0, 0, 1, 1, 0, 1]}),
    "nobody to listen to": Variant({"n_q": 3, "dep_q": 3, "delays": [0, 0, 2, 2]}),
    "nothing to say": Variant({"model_type": "stt", "n_q": 3, "dep_q": 0, "delays": [0, 0, 0, 0]}),
    "nothing to say, delays": Variant({"model_type": "stt", "n_q": 3, "dep_q": 0, "delays": [2, 0, 1, 0]}),
    "fewer texts said than heard": Variant({"text_card_out": 29}),
    "a ring that is full": Variant(options={"context": 8}),
    "a ring that is full, one key fewer": Variant(options={"context": 8, "window": "legacy"}),
    "plain attention": Variant(options={"context": 8, "flash": False}),
    "fork": Variant(FORK),
    "fork, three codebooks each": Variant(
        FORK
        | {"n_q": 6, "dep_q": 6, "delays": [0, 1, 0, 2, 1, 2, 0]}
        | {"silence_tokens": [1, 2, 3], "sine_tokens": [4, 5, 6]},
        options={"context": 9, "window": "legacy"},
    ),
    "fork, late text, low-rank embeddings": Variant(
        FORK | {"delays": [3, 0, 1, 2, 0], "depformer_low_rank_embeddings": 4}
    ),
}


def checkpoint(variant: Variant) -> dict[str, NDArray[np.float32]]:
    """Random weights under the published names."""
    config, rng = variant.config, np.random.default_rng(5)
    dim, dep, dep_q = config["dim"], config["depformer_dim"], config["dep_q"]
    schedule = config.get("depformer_weights_per_step_schedule") or range(dep_q)
    sets = max(schedule, default=-1) + 1
    rank = config.get("depformer_low_rank_embeddings", 0)
    tensors: dict[str, NDArray[np.float32]] = {}

    def matrix(name: str, rows: int, columns: int, scale: float = 1) -> None:
        spread = scale / np.sqrt(columns)
        tensors[name] = (spread * rng.standard_normal((rows, columns))).astype(np.float32)

    def norm(name: str, width: int) -> None:
        tensors[name] = rng.uniform(0.5, 1.5, (1, 1, width)).astype(np.float32)

    def table(name: str, rows: int, width: int) -> None:
        tensors[f"{name}.weight"] = (variant.embedding * rng.standard_normal((rows, width))).astype(np.float32)

    def layer(name: str, width: int, count: int, hidden: int, gatings: list[str]) -> None:
        matrix(f"{name}.self_attn.in_proj_weight", 3 * width * count, width)
        matrix(f"{name}.self_attn.out_proj.weight", width * count, width, variant.embedding)
        for gating in gatings:
            matrix(f"{name}.{gating}.linear_in.weight", 2 * hidden, width)
            matrix(f"{name}.{gating}.linear_out.weight", width, hidden, variant.embedding)
        for which in ("norm1", "norm2"):
            norm(f"{name}.{which}.alpha", width)

    for k in range(config["n_q"]):
        table(f"emb.{k}", config["card"] + 1, dim)
    table("text_emb", config["text_card"] + 1, dim)
    for index in range(config["num_layers"]):
        layer(f"transformer.layers.{index}", dim, 1, int(config["hidden_scale"] * dim) * 2 // 3, ["gating"])
    norm("out_norm.alpha", dim)
    matrix("text_linear.weight", config.get("text_card_out", config["text_card"]), dim)
    for w in range(sets):
        matrix(f"depformer_in.{w}.weight", dep, dim, variant.embedding)
    for k in range(dep_q):
        name, rows = ("depformer_text_emb", "text_card") if k == 0 else (f"depformer_emb.{k - 1}", "card")
        table(name, config[rows] + 1, rank or dep)
        if rank:
            matrix(f"{name}.low_rank.weight", dep, rank, 2)
        matrix(f"linears.{k}.weight", config["card"], dep)
    for index in range(config["depformer_num_layers"] if dep_q else 0):
        gatings = [f"gating.{w}" for w in range(sets)]
        layer(f"depformer.layers.{index}", dep, sets, config["depformer_dim_feedforward"] * 2 // 3, gatings)
    return tensors


@dataclass
class Pair:
    """The same model twice: by the engine, and by the reference."""

    variant: Variant
    session: pymoshi.Session
    reference: Moshi | PersonaPlex

    def check(self, expected: Step) -> None:
        assert list(self.session.tap("lm_input").astype(int)) == expected.fed
        assert worst(self.session.tap("transformer_out"), expected.hidden) < CLOSE
        assert worst(self.session.tap("text_logits"), expected.text_logits) < CLOSE
        if self.variant.steps:
            logits = self.session.tap("depformer_logits").reshape(self.variant.steps, -1)
            assert worst(logits, np.array(expected.depformer_logits)[: self.variant.steps]) < CLOSE

    def converse(self, frames: int) -> list[list[int] | None]:
        """What is said to random user codes, by both."""
        rng, config = np.random.default_rng(3), self.variant.config
        silent = [NONE] * (1 + config["n_q"] - self.variant.n_user)
        said = []
        for _ in range(frames):
            heard = rng.integers(0, config["card"], self.variant.n_user).astype(np.int32)
            expected = self.reference.step([*silent, *heard.tolist()])
            found = self.session.step_codes(heard)
            said.append(None if found is None else [found[0], *found[1].tolist()])
            assert said[-1] == expected.out
            if expected.fed:
                self.check(expected)
        return said

    def prompt(self, tokens: NDArray[np.int32]) -> None:
        """tokens: [n, 1 + n_q], everything given."""
        self.session._native.prefill(tokens, None, None)
        steps = [step for step in map(self.reference.step, tokens.tolist()) if step.fed]
        fed = self.session.tap("lm_input").astype(int).reshape(len(steps), -1)
        hidden = self.session.tap("transformer_out").reshape(len(steps), -1)
        np.testing.assert_array_equal(fed, [step.fed for step in steps])
        assert worst(hidden, np.array([step.hidden for step in steps])) < CLOSE

    def random_prompt(self, frames: int) -> NDArray[np.int32]:
        rng, config = np.random.default_rng(4), self.variant.config
        text = rng.integers(0, config["text_card"], (frames, 1))
        return np.hstack([text, rng.integers(0, config["card"], (frames, config["n_q"]))]).astype(np.int32)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture(scope="module")
def loaded(
    variant: Variant, device: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[pymoshi.Model, dict[str, NDArray[np.float32]]]]:
    folder: Path = tmp_path_factory.mktemp("variant")
    weights = checkpoint(variant)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(variant.config))
    with pymoshi.load(convert(folder, folder / "converted", quantize="f32"), device=device, threads=1) as model:
        yield model, weights


Loaded = tuple[pymoshi.Model, dict[str, NDArray[np.float32]]]


@pytest.fixture
def pair(variant: Variant, loaded: Loaded) -> Iterator[Pair]:
    model, weights = loaded
    options: dict[str, Any] = {
        "temperature": 0,
        "text_temperature": 0,
        "kv_type": "f32",
        "taps": True,
    } | variant.options
    with model.session(**options) as session:
        session._native.reset(0)  # a PersonaPlex session without any prompt
        yield Pair(variant, session, variant.reference(weights))


def test_every_step_is_the_reference_s(pair: Pair) -> None:
    said = pair.converse(FRAMES)
    assert len({tuple(frame) for frame in said if frame is not None}) > FRAMES // 2  # it is no constant that agrees


def test_a_prompt_and_what_follows_are_the_reference_s(pair: Pair) -> None:
    pair.prompt(pair.random_prompt(PROMPT))
    pair.converse(10)


def test_what_follows_a_prompt_does_not_depend_on_what_is_kept_of_it(pair: Pair, loaded: Loaded) -> None:
    tokens, heard = pair.random_prompt(PROMPT), np.zeros((12, pair.variant.n_user), np.int32)
    pair.prompt(tokens)
    options: dict[str, Any] = {"temperature": 0, "text_temperature": 0, "kv_type": "f32"} | pair.variant.options
    with loaded[0].session(**options) as hasty:  # without taps the engine leaves out what nobody will ask for
        hasty._native.reset(0)
        hasty._native.prefill(tokens, None, None)
        for codes in heard:
            expected, found = pair.session.step_codes(codes), hasty.step_codes(codes)
            assert repr(found) == repr(expected)


def test_a_prompt_in_two_parts_is_the_same_prompt(pair: Pair) -> None:
    tokens = pair.random_prompt(20)
    pair.prompt(tokens[:7])
    pair.prompt(tokens[7:])
    pair.converse(5)


def test_a_conversation_is_told_how_it_went_on_only_where_that_leaves_no_gap(pair: Pair) -> None:
    pair.converse(12)
    if pair.variant.is_fork:  # what is given comes late in the delayed streams, whose next tokens nobody has chosen
        with pytest.raises(pymoshi.InputError, match="not given"):
            pair.session._native.prefill(pair.random_prompt(9), None, None)
    else:
        pair.prompt(pair.random_prompt(9))
    pair.converse(12)


def test_zero_tokens_contribute_nothing(pair: Pair) -> None:
    tokens = pair.random_prompt(12)
    tokens[np.random.default_rng(1).random(tokens.shape) < 0.3] = ZERO
    tokens[6] = ZERO  # of every stream
    tokens[-1, 1:] = ZERO  # what is delayed of these is fed to the first frames of the conversation
    pair.prompt(tokens)
    pair.converse(8)
