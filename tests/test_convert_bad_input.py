"""Checkpoints and configs that are not what they should be end in an error that says so."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import FIXTURES, Tensors, read_tensors, write_raw, write_tensors
from pymoshi.errors import ModelFormatError, PymoshiError, UnsupportedModelError
from pymoshi.hub.config import MOSHI_7B, flatten, is_personaplex, lm_config, metadata_lines, mimi_config, read_json
from pymoshi.hub.convert import convert
from pymoshi.hub.safetensors_file import SafetensorsFile

MOSHI = FIXTURES / "moshi"
CONFIG = json.loads((MOSHI / "config.json").read_text())
SOMEWHERE = Path("somewhere/config.json")


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"a": entry(offsets=[0, 400])}, "400 bytes, expected 4"),
        ({"a": entry(offsets=[4, 0])}, "expected 4"),
        ({"a": entry(offsets=[-4, 0])}, "expected 4"),
        ({"a": entry(offsets=[1000, 1004])}, "truncated"),
        ({"a": entry(offsets=[2**63, 2**63 + 4])}, "truncated"),
        ({"a": entry(offsets=["0", 4])}, "lacks"),
        ({"a": entry(offsets=[0])}, "lacks"),
        ({"a": {"dtype": "F32", "shape": [1]}}, "lacks"),
        ({"a": "F32"}, "lacks"),
        ({"a": entry(dtype="F31")}, "unknown type F31"),
        ({"a": entry(dtype=7)}, "lacks"),
        ({"a": entry(shape=[-1])}, "impossible shape"),
        ({"a": entry(shape=[1.0])}, "impossible shape"),
        ({"a": entry(shape=[True])}, "impossible shape"),
        ({"a": entry(shape=[2**50, 2**50])}, "impossible shape"),
        ({"a": entry(shape=[1] * 9)}, "impossible shape"),
        ({"a": entry(shape=[2**20, 2**20])}, "expected"),
        ({"a": entry(), "b": entry(offsets=[2, 6])}, "overlap"),
        ([], "not a JSON object"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, complaint: str) -> None:
    path = write_raw(tmp_path / "model.safetensors", header, bytes(8))
    with pytest.raises(ModelFormatError, match=complaint):
        SafetensorsFile(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        bytes(8),
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        b"PK\x03\x04 a zip archive of some kind",
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFormatError):
        convert(tmp_path, tmp_path / "out")


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    content = (MOSHI / "model.safetensors").read_bytes()
    for length in (*range(0, 2000, 97), *range(2000, len(content), 40_009), len(content) - 1):
        (tmp_path / "model.safetensors").write_bytes(content[:length])
        with pytest.raises(ModelFormatError):
            SafetensorsFile(tmp_path / "model.safetensors")


def test_a_damaged_header_never_escapes_as_another_error(tmp_path: Path) -> None:
    content = bytearray((MOSHI / "model.safetensors").read_bytes())
    path = tmp_path / "model.safetensors"
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content[:20_000])
        for position in rng.integers(0, 14_000, 4):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            SafetensorsFile(path).__exit__()
        except ModelFormatError:
            refused += 1
    assert refused == 300, "none of them has data enough"


def changed(tmp_path: Path, change: dict[str, tuple[str, list[int], bytes] | None]) -> Path:
    """The tiny Moshi with some tensors replaced, or (None) removed."""
    tensors: Tensors = read_tensors(MOSHI / "model.safetensors")
    for name, value in change.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    write_tensors(tmp_path / "model" / "model.safetensors", tensors)
    shutil.copy(MOSHI / "config.json", tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("text_linear.weight", None, "text_linear.weight is missing"),
        ("emb.15.weight", None, "emb.15.weight is missing"),
        ("depformer.layers.1.self_attn.in_proj_weight", None, "in_projs.0.weight is missing"),
        ("text_emb.weight", ("BF16", [64, 401], bytes(64 * 401 * 2)), r"shape \[64, 401\], expected \[401, 64\]"),
        ("out_norm.alpha", ("BF16", [63], bytes(126)), r"expected \[1, 1, 64\]"),
        ("depformer.layers.0.self_attn.in_proj_weight", ("BF16", [767, 32], bytes(767 * 64)), "cannot be cut into 8"),
        ("linears.0.weight", ("BF16", [128, 32], b"\x80\x7f" * (128 * 32)), "NaN or infinity"),
        ("linears.1.weight", ("F32", [128, 32], b"\xff" * (128 * 32 * 4)), "NaN or infinity"),
    ],
)
def test_a_wrong_tensor_is_named(
    tmp_path: Path, name: str, value: tuple[str, list[int], bytes] | None, complaint: str
) -> None:
    with pytest.raises(ModelFormatError, match=complaint):
        convert(changed(tmp_path, {name: value}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "extra",
    [
        {"text_linear.weight": ("I8", [400, 64], bytes(400 * 64))},
        {"text_linear.weight_scb": ("F32", [400], bytes(1600))},
        {"transformer.layers.0.gating.linear_in.lora_A.weight": ("F32", [1, 1], bytes(4))},
    ],
)
def test_quantised_or_adapted_checkpoints_are_refused_with_advice(tmp_path: Path, extra: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="onvert the original"):
        convert(changed(tmp_path, extra), tmp_path / "out")


def test_tensors_that_nothing_announces_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = changed(tmp_path, {"surplus.weight": ("F32", [1], bytes(4))})
    result = convert(folder, tmp_path / "out") / "model-bf16.gguf"
    assert "surplus.weight" in caplog.text
    assert b"surplus" not in result.read_bytes()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dim": None}, "dim missing"),
        ({"dim": "64"}, "dim is the text '64'; expected an integer"),
        ({"dim": True}, "dim is true; expected an integer"),
        ({"dim": 64.5}, "dim is 64.5"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": 10**30}, "dim is 10"),
        ({"dim": 66}, "not a multiple of num_heads"),
        ({"num_layers": -1}, "num_layers is -1"),
        ({"n_q": 65}, "n_q is 65"),
        ({"dep_q": 17}, "dep_q is 17; expected at most n_q = 16"),
        ({"delays": [0] * 16}, "delays is a list of 16; expected 17 integers"),
        ({"delays": [0] * 16 + [-1]}, "delays contains -1"),
        ({"delays": [0] * 16 + [0.5]}, "delays contains 0.5"),
        ({"delays": {}}, "delays is an object"),
        ({"hidden_scale": "big"}, "hidden_scale is the text"),
        ({"context": []}, "context is a list of 0"),
        ({"norm": 1}, "norm is 1; expected text"),
        ({"causal": "yes"}, "causal is the text 'yes'; expected true or false"),
        ({"lm_gen_config": [1]}, "lm_gen_config is a list"),
        ({"depformer_weights_per_step_schedule": [0]}, "expected 8 integers"),
        ({"depformer_weights_per_step_schedule": [0] * 7 + [10**6]}, "contains 1000000"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_key(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFormatError, match=complaint) as caught:
        lm_config(CONFIG | change, SOMEWHERE)
    assert str(SOMEWHERE) in str(caught.value)


def test_a_config_that_promises_more_layers_than_there_are_is_refused(tmp_path: Path) -> None:
    shutil.copytree(MOSHI, tmp_path / "moshi")
    (tmp_path / "moshi" / "config.json").write_text(json.dumps(CONFIG | {"num_layers": 4}))
    with pytest.raises(ModelFormatError, match=r"transformer.layers.3.* is missing"):
        convert(tmp_path / "moshi", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seanet": 3}, "seanet is 3"),
        ({"seanet": {"ratios": "8654"}}, "seanet.ratios"),
        ({"seanet": {"ratios": [8, 6, 5, 0]}}, "seanet.ratios contains 0"),
        ({"quantizer": {"n_q": 0}}, "quantizer.n_q is 0"),
        ({"sample_rate": 24e9}, "sample_rate"),
        ({"channels": 2}, "channels is 2"),
    ],
)
def test_a_codec_config_that_cannot_be_is_refused_by_key(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelFormatError, match=complaint):
        mimi_config(change, SOMEWHERE)


def test_another_codec_needs_its_own_config(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "mimi" / "mimi.safetensors", tmp_path)
    with pytest.raises(ModelFormatError, match=r"no mimi_config\.json beside it"):
        convert(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"dim": NaN}',
        b'{"dim": -Infinity}',
        b'{"dim": 1e999}',
        b'{"dim": ' + b"9" * 5000 + b"}",
        b'{"dim": 64',
        b"\xff\xfe{}",
        b'{"a":' * 100_000,
        b'{"a":' * 20 + b"1" + b"}" * 20,
        b'{"a": "' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_a_config_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_a_config_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelFormatError, match="a folder"):
        read_json(tmp_path / "config.json")


def test_a_config_without_architecture_is_the_published_7b() -> None:
    config = lm_config({"model_type": "personaplex", "version": "7b"}, SOMEWHERE)
    assert (config["dim"], config["n_q"], config["model_type"]) == (4096, 16, "personaplex")
    assert lm_config({}, SOMEWHERE) == MOSHI_7B


def test_only_a_model_that_says_so_or_predicts_its_user_is_personaplex() -> None:
    assert is_personaplex(MOSHI_7B | {"dep_q": 16})
    assert not is_personaplex(MOSHI_7B)
    assert not is_personaplex(MOSHI_7B | {"dep_q": 16, "model_type": "moshi"})


def test_metadata_is_the_config_flattened() -> None:
    config: dict[str, Any] = {"dim": 4, "none": None, "causal": True, "delays": [0, 1], "lm_gen_config": {"temp": 0.8},
              "empty": [], "objects": [{}], "mixed": [1, 0.5]}  # fmt: skip
    flat = flatten(config, "moshi")
    assert flat == {
        "moshi.dim": 4,
        "moshi.causal": True,
        "moshi.delays": [0, 1],
        "moshi.lm_gen_config.temp": 0.8,
        "moshi.mixed": [1.0, 0.5],
    }
    assert metadata_lines(flat) == (
        "moshi.dim=4\nmoshi.causal=true\nmoshi.delays=0,1\nmoshi.lm_gen_config.temp=0.8\nmoshi.mixed=1.0,0.5\n"
    )


@pytest.mark.parametrize("config", [{"a=b": 1}, {"a\nb": 1}, {"": 1}, {"a.b": 1, "a": {"b": 2}}, {"x" * 300: 1}])
def test_a_key_that_metadata_cannot_carry_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelFormatError):
        flatten(config, "moshi")


def test_a_value_cannot_smuggle_in_another_line() -> None:
    with pytest.raises(ModelFormatError, match="line break"):
        metadata_lines(flatten({"model_type": "moshi\nmoshi.dim=1"}, "moshi"))


def test_every_damaged_config_gives_one_of_our_errors(tmp_path: Path) -> None:
    text = (MOSHI / "config.json").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(2000):
        damaged = bytearray(text)
        for position in rng.integers(0, len(text), rng.integers(1, 4)):
            damaged[position] = rng.choice([*b'0919-.eE"{}[],: ntf', int(rng.integers(0, 256))])
        (tmp_path / "config.json").write_bytes(bytes(damaged))
        try:
            metadata_lines(flatten(lm_config(read_json(tmp_path / "config.json"), SOMEWHERE), "moshi"))
        except PymoshiError:
            continue
