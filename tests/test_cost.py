"""What a frame costs follows from the published shapes, and what a machine can do follows from that and its speed."""

from dataclasses import replace
from math import inf

import pytest

from pymoshi.cost import codec_bytes, codec_work, cost
from pymoshi.doctor.prediction import (
    SAFE_MS,
    Prediction,
    Speed,
    Verdict,
    choose,
    config_of,
    download_bytes,
    frame_ms,
    kind_of,
    predict,
    predict_all,
    real_time,
)
from pymoshi.hub.catalog import load_catalog
from pymoshi.hub.config import MIMI_24KHZ, MOSHI_7B
from pymoshi.hub.tensors import mimi_tensors

PLEX_7B = MOSHI_7B | {"dep_q": 16, "model_type": "personaplex"}

# Of the published Moshi 7B, from its tensors' shapes.
PARAMETERS = 7_687_729_152
NORMS = 65 * 4096 + 12 * 1024
EMBEDDINGS = (16 * 2049 + 32001) * 4096 + (7 * 2049 + 32001) * 1024
ROWS = 17 * 4096 + 8 * 1024  # that a frame takes out of them
NORMS_READ = 65 * 4096 + 8 * 12 * 1024  # the depformer's, in every one of its eight steps
Q4_K = 144 / 256  # bytes a weight
Q4_0 = 18 / 32

FAST = Speed({"q4_k": 1e12, "q8_0": 1e12, "bf16": 1e12, "f16": 1e12}, op_seconds=1e-6, encode_ms=1, decode_ms=1)


def test_a_frame_goes_through_every_weight_once_and_takes_rows_of_embeddings() -> None:
    found = cost(MOSHI_7B, "bf16").read
    assert found == {"bf16": 2 * (PARAMETERS - NORMS - EMBEDDINGS + ROWS), "f32": 4 * NORMS_READ}


def test_quantised_weights_are_counted_in_the_types_they_are_stored_in() -> None:
    found = cost(MOSHI_7B, "q4_k").read
    assert found["q4_k"] == (PARAMETERS - NORMS - EMBEDDINGS) * Q4_K == 4_148_232_192
    assert found["q4_0"] == ROWS * Q4_0
    assert set(found) == {"q4_k", "q4_0", "f32"}


def test_memory_holds_every_weight() -> None:
    assert cost(MOSHI_7B, "bf16").resident == 2 * PARAMETERS + 2 * NORMS


def test_personaplex_costs_what_moshi_costs_for_half_of_its_steps_are_of_no_use() -> None:
    for quantize in ("q4_k", "q8_0", "bf16"):
        assert cost(PLEX_7B, quantize) == cost(MOSHI_7B, quantize)
    all_steps = MOSHI_7B | {"dep_q": 16, "model_type": "moshi"}
    norms = 4 * NORMS - 2 * NORMS  # in f32 here, in bf16 in the published file
    assert cost(all_steps, "bf16").resident == 2 * 8_371_408_896 + norms


def test_memory_of_the_conversation_is_keys_and_values_of_every_layer() -> None:
    found = cost(MOSHI_7B, "q4_k")
    assert found.kv_per_frame == 2 * 32 * 4096 * 2
    assert found.kv == 3000 * 524_288
    assert cost(MOSHI_7B, "q4_k", kv_type="q8_0").kv_per_frame == 2 * 32 * 4096 * 34 // 32


@pytest.mark.parametrize(("alias", "parameters"), [("stt-1b", 989_204_480), ("stt-2.6b", 2_617_118_720)])
def test_models_that_listen_have_the_published_number_of_weights(alias: str, parameters: int) -> None:
    config = config_of(load_catalog().models[alias])
    assert config is not None
    norms = (2 * config["num_layers"] + 1) * 2048
    assert cost(config, "bf16").resident == 2 * parameters + 2 * norms


def test_shared_depformer_weights_are_read_by_every_step_that_uses_them() -> None:
    shared = MOSHI_7B | {"depformer_weights_per_step_schedule": [0, 1, 2, 3, 4, 4, 4, 4]}
    assert cost(shared, "bf16").read == cost(MOSHI_7B, "bf16").read
    assert cost(shared, "bf16").resident < cost(MOSHI_7B, "bf16").resident


def test_full_size_codec_has_the_published_number_of_weights() -> None:
    usage = 32 * (2048 + 1)  # what the published file has beside them, to divide codebooks by
    assert codec_bytes(list(mimi_tensors(MIMI_24KHZ))) == 4 * (96_151_393 - usage)


def test_codec_of_half_the_width_has_a_quarter_of_the_work() -> None:
    narrow = {
        **MIMI_24KHZ,
        "seanet": MIMI_24KHZ["seanet"] | {"n_filters": 32, "dimension": 256},
        "transformer": MIMI_24KHZ["transformer"] | {"d_model": 256, "dim_feedforward": 1024},
    }
    assert 3.8 < codec_work(MIMI_24KHZ) / codec_work(narrow) < 4


# ---- predictions ----


def test_a_frame_takes_its_bytes_over_the_bandwidth_and_what_comes_beside() -> None:
    speed = Speed({"q4_k": 40e9, "f16": 20e9}, op_seconds=2e-6, encode_ms=13, decode_ms=12)
    found = cost(MOSHI_7B, "q4_k")
    weights = 4_148_232_192 / 40e9 + (found.read["q4_0"] + found.read["f32"]) / 20e9  # unmeasured types go by f16
    expected = 1000 * (weights + found.operations * 2e-6) + 25
    assert frame_ms(found, speed, remembered=0) == pytest.approx(expected)
    assert frame_ms(found, speed, remembered=0, decodes=False) == pytest.approx(expected - 12)
    full = expected + 1000 * 3000 * 524_288 / 20e9
    assert frame_ms(found, speed, remembered=3000) == pytest.approx(full)
    slow_attention = replace(speed, bandwidth={**speed.bandwidth, "kv": 5e9})
    assert frame_ms(found, slow_attention, remembered=1000) == pytest.approx(expected + 1000 * 1000 * 524_288 / 5e9)
    assert frame_ms(found, speed, remembered=99_999) == pytest.approx(full)  # no more than the model remembers


def predicted(speed: Speed, free: int = 0) -> dict[str, Prediction]:
    return {found.spec: found for found in predict_all(load_catalog(), speed, free)}


def test_every_variant_of_the_catalog_is_predicted() -> None:
    catalog = load_catalog()
    specs = [f"{model.alias}:{variant}" for model in catalog.models.values() for variant in model.variants]
    assert list(predicted(FAST)) == specs


def test_a_fast_device_runs_everything_and_takes_what_is_as_good_as_the_original() -> None:
    found = predicted(FAST)
    assert found["personaplex:bf16"].verdict is Verdict.REAL_TIME
    assert found["personaplex:bf16"].real_time_seconds == inf
    choice = choose(found.values())
    assert choice is not None
    assert choice.spec == "personaplex:q8_0"


def test_a_slower_device_takes_fewer_bits() -> None:
    slower = replace(FAST, bandwidth={"q4_k": 100e9, "q8_0": 100e9, "bf16": 100e9, "f16": 200e9})
    choice = choose(predicted(slower).values())
    assert choice is not None
    assert choice.spec == "personaplex:q4_k"
    assert choice.verdict is Verdict.REAL_TIME


def test_a_device_that_holds_out_for_a_while_says_for_how_long() -> None:
    speed = replace(FAST, bandwidth={"q4_k": 70e9, "q8_0": 70e9, "bf16": 70e9, "f16": 70e9})
    found = predicted(speed)["moshiko:q4_k"]
    assert found.verdict is Verdict.AT_FIRST
    assert found.first_ms < SAFE_MS < found.full_ms
    at_the_end = frame_ms(cost(MOSHI_7B, "q4_k"), speed, remembered=found.context)
    assert at_the_end == pytest.approx(SAFE_MS, abs=0.02)
    assert found.real_time_seconds == pytest.approx(found.context * 0.08)


def test_two_cores_are_too_slow_and_the_fastest_model_is_named() -> None:
    speed = Speed({"q4_k": 36e9, "q8_0": 36e9, "bf16": 30e9, "f16": 30e9}, op_seconds=3e-6, encode_ms=13, decode_ms=13)
    found = predicted(speed)
    assert found["personaplex:q4_k"].verdict is Verdict.TOO_SLOW
    assert found["personaplex:q4_k"].context == 0
    assert not real_time(list(found.values()))
    choice = choose(found.values())
    assert choice is not None
    assert choice.kind == "q4_k"


def test_what_does_not_fit_is_not_taken() -> None:
    found = predicted(FAST, free=8_000_000_000)
    assert found["personaplex:q8_0"].verdict is Verdict.NO_MEMORY
    assert found["personaplex:q4_k"].verdict is Verdict.REAL_TIME
    assert 6e9 < found["personaplex:q4_k"].memory < 7e9
    assert choose(found.values()) == found["personaplex:q4_k"]
    assert choose(predicted(FAST, free=1_000_000_000).values()) is None


def test_models_that_only_listen_are_never_taken() -> None:
    listening = [found for found in predicted(FAST).values() if found.model.startswith("stt")]
    assert all(found.verdict is Verdict.REAL_TIME and not found.converses for found in listening)
    assert choose(listening) is None


def test_models_that_the_engine_does_not_compute_are_said_to_be_so() -> None:
    found = predicted(FAST)["tts-1.6b:bf16"]
    assert found.verdict is Verdict.UNSUPPORTED
    assert found.frames_per_second == 0


def test_a_variant_that_is_converted_here_is_downloaded_as_the_original() -> None:
    for alias in ("personaplex", "moshika"):
        model = load_catalog().models[alias]
        assert download_bytes(model, model.variants["q8_0"]) > 15_375_500_136
        assert 4e9 < download_bytes(model, model.variants["q4_k"]) < 6e9


def test_frames_per_second_are_those_of_the_beginning() -> None:
    model = load_catalog().models["moshiko"]
    found = predict(model, model.variants["q4_k"], FAST, 0)
    assert found.frames_per_second == pytest.approx(1000 / found.first_ms)
    assert kind_of(model.variants["q4_k"]) == "q4_k"
