"""Configurations and tensors that contradict each other, or cannot be computed: refused by name, in files that
describe themselves and in config.json beside those that do not."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gguf_edit
import pymoshi
from gguf_edit import Gguf
from pymoshi.errors import ModelFormatError, ModelNotFoundError, PymoshiError, UnsupportedModelError

LM, MIMI = "model-f32.gguf", "mimi-f32.gguf"
NAN = float("nan")


@pytest.fixture
def folder(moshi_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(moshi_folder, tmp_path / "model"))


def refused(folder: Path, error: type[PymoshiError], *words: str) -> None:
    with pytest.raises(error) as caught:
        pymoshi.load(folder, device="cpu", threads=1).close()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


def lies(key: str, found: Any, *words: str, id: str | None = None) -> Any:
    return pytest.param(key, found, words, id=id or f"{key}={found}".replace(" ", ""))


@pytest.mark.parametrize(
    ("key", "found", "words"),
    [
        lies("dim", -1, "-1"),
        lies("dim", 0, "0"),
        lies("dim", 128, "lm.", "[64,"),
        lies("dim", 2**30, "65536"),
        lies("dim", "64", "string", "integer"),
        lies("dim", NAN),
        lies("dim", 64.5, "64.5"),
        lies("dim", [64, 64], "integer"),
        lies("num_heads", 0),
        lies("num_heads", 3, "3 heads"),
        lies("num_heads", 64, "64 heads"),
        lies("num_layers", 4, "layers.3", "missing"),
        lies("num_layers", 2**31 - 1, "1024"),
        lies("context", 0),
        lies("context", 2**30),
        lies("card", 127, "lm.emb.0.weight", "128"),
        lies("card", 2**30),
        lies("text_card", 401, "lm.text_emb.weight"),
        lies("text_card_out", 401, "text_card_out"),
        lies("n_q", 17),
        lies("n_q", -1),
        lies("n_q", 65, "64"),
        lies("dep_q", 17, "0 to 16"),
        lies("dep_q", 9, "missing"),
        lies("delays", [0, 1], "2 entries", "17"),
        lies("delays", [0] * 16 + [-1], "-1"),
        lies("delays", [0] * 16 + [2**31 - 1], "64", id="delay_of_2_to_31"),
        lies("delays", "0,0,1", "list of integers"),
        lies("max_period", 0),
        lies("max_period", NAN),
        lies("depformer_dim", 64, "lm.depformer"),
        lies("depformer_num_heads", 5, "5 heads"),
        lies("depformer_num_layers", 3, "layers.2", "missing"),
        lies("depformer_low_rank_embeddings", 4, "lm.depformer_text_emb.weight"),
        lies("depformer_weights_per_step_schedule", [0, 1], "8"),
        lies("depformer_weights_per_step_schedule", [9] * 8, "contains 9"),
        lies("extra_heads_num_heads", 1, "lm.extra_heads.0.weight", "missing"),
        lies("existing_text_padding_id", 400),
        lies("lm_gen_config.temp", -1.0),
        lies("lm_gen_config.temp", NAN),
        lies("lm_gen_config.top_k", -1),
        lies("causal", 1, "true or false"),
    ],
)
def test_model_that_lies_about_itself_is_refused(key: str, found: Any, words: tuple[str, ...], folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    file.key(f"moshi.{key}", found)
    file.write(folder / LM)
    refused(folder, ModelFormatError, LM, *words)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("gating", "gelu"),
        ("norm", "layer_norm"),
        ("positional_embedding", "sin"),
        ("depformer_pos_emb", "rope"),
        ("causal", False),
        ("cross_attention", True),
        ("kv_repeat", 4),
    ],
)
def test_model_that_is_built_otherwise_is_not_guessed(key: str, found: Any, folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    file.key(f"moshi.{key}", found)
    file.write(folder / LM)
    refused(folder, UnsupportedModelError, LM, f"moshi.{key}")


@pytest.mark.parametrize("key", ["num_heads", "num_layers", "context", "card", "text_card", "n_q", "delays"])
def test_missing_parameter_is_named(key: str, folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    file.remove_key(f"moshi.{key}")
    file.write(folder / LM)
    with pytest.raises(PymoshiError, match=key):
        pymoshi.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("key", "found", "words"),
    [
        lies("sample_rate", 0),
        lies("sample_rate", 48000, "two latents"),
        lies("frame_rate", 0.0),
        lies("frame_rate", 1e-30),
        lies("frame_rate", 50.0, "two latents"),
        lies("frame_rate", NAN),
        lies("channels", "1"),
        lies("seanet.ratios", [8, 6, 5], "two latents"),
        lies("seanet.ratios", [64] * 8, "two latents", id="ratios_of_2_to_48"),
        lies("seanet.ratios", [0], "0"),
        lies("seanet.n_filters", -1),
        lies("seanet.n_filters", 1024, "mimi.encoder.model.0"),
        lies("seanet.dimension", 10**6),
        lies("seanet.kernel_size", 65),
        lies("seanet.compress", 64, "shape"),
        lies("quantizer.n_q", 64, "missing"),
        lies("quantizer.bins", 2, "_codebook.embedding"),
        lies("quantizer.dimension", 2, "mimi.quantizer"),
        lies("transformer.num_heads", 7, "7 heads"),
        lies("transformer.num_layers", 100, "missing"),
        lies("transformer.context", 2**20),
        lies("transformer.context", 1),
        lies("transformer.dim_feedforward", 3, "linear1"),
        lies("transformer.d_model", 3, "d_model"),
    ],
)
def test_codec_that_lies_about_itself_is_refused(key: str, found: Any, words: tuple[str, ...], folder: Path) -> None:
    file = gguf_edit.read(folder / MIMI)
    file.key(f"mimi.{key}", found)
    file.write(folder / MIMI)
    refused(folder, ModelFormatError, MIMI, *words)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (LM, "lm.text_emb.weight"),
        (LM, "lm.emb.15.weight"),
        (LM, "lm.out_norm.alpha"),
        (LM, "lm.transformer.layers.2.self_attn.in_projs.0.weight"),
        (LM, "lm.transformer.layers.0.gating.linear_in.weight"),
        (LM, "lm.depformer_in.7.weight"),
        (LM, "lm.depformer.layers.1.self_attn.out_projs.5.weight"),
        (LM, "lm.linears.0.weight"),
        (MIMI, "mimi.encoder.model.0.conv.conv.weight"),
        (MIMI, "mimi.decoder.model.2.convtr.convtr.bias"),
        (MIMI, "mimi.downsample.conv.conv.conv.weight"),
        (MIMI, "mimi.quantizer.rvq_rest.vq.layers.0._codebook.embedding"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "misshapen", "transposed", "extra_rank", "integers"])
def test_tensor_that_does_not_fit_is_named(damage: str, part: str, name: str, folder: Path) -> None:
    file = gguf_edit.read(folder / part)
    tensor = file.tensor(name)
    error: type[PymoshiError] = ModelFormatError
    match damage:
        case "missing":
            file.remove_tensor(name)
        case "misshapen":
            tensor.extents[-1] += 1
            tensor.data += bytes(len(tensor.data))
        case "transposed":
            tensor.extents = [len(tensor.data) // 8, 2]
        case "extra_rank":
            tensor.extents = [1] * (4 - len(tensor.extents)) + tensor.extents
            if name.endswith(("alpha", "bias")):
                tensor.extents[0] = 2  # ones around a vector are how files have them
                tensor.data *= 2
        case "integers":
            tensor.kind = gguf_edit.TYPE_I32
            error = UnsupportedModelError
    file.write(folder / part)
    refused(folder, error, part, name)


def test_gating_that_is_not_twice_as_wide_is_refused(folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    tensor = file.tensor("lm.transformer.layers.1.gating.linear_in.weight")
    tensor.extents[1] -= 1
    file.write(folder / LM)
    refused(folder, ModelFormatError, "lm.transformer.layers.1.gating.linear_in.weight", "expected")


# ---- config.json, beside files of the existing layout ---------------------------------------------------------------


@pytest.fixture
def existing(fixtures: Path, tmp_path: Path) -> Path:
    """A file without metadata, and its config.json."""
    folder = tmp_path / "existing"
    folder.mkdir()
    (folder / "model-q4_k.gguf").symlink_to(fixtures / "upstream" / "tiny-moshi-q4_k.gguf")
    shutil.copy(fixtures / "upstream" / "tiny-moshi-config.json", folder / "config.json")
    return folder


def test_existing_file_with_its_config_loads(existing: Path) -> None:
    pymoshi.load(existing, device="cpu", threads=1).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", ["not JSON"], id="empty"),
        pytest.param(b"{", ["not JSON", "line 1"], id="unfinished"),
        pytest.param(b"{'dim': 256}", ["not JSON"], id="python"),
        pytest.param(b"dim: 256", ["not JSON"], id="yaml"),
        pytest.param(b"[1, 2]", ["object", "list"], id="list"),
        pytest.param(b"null", ["object", "null"], id="null"),
        pytest.param(b'"dim"', ["object"], id="text"),
        pytest.param(b'{"dim": NaN}', ["NaN"], id="nan"),
        pytest.param(b'{"dim": 1e999}', ["1e999"], id="number_beyond_all"),
        pytest.param(b'{"dim": ' + b"9" * 5000 + b"}", [], id="integer_of_5000_digits"),
        pytest.param(b'{"dim": "\xff\xfe"}', ["UTF-8"], id="latin_1"),
        pytest.param('{"dim": 256}'.encode("utf-16"), ["UTF-8"], id="utf_16"),
        pytest.param(b"[" * 100_000, ["nested too deeply"], id="deep_list"),
        pytest.param(b'{"a":' * 100 + b"1" + b"}" * 100, ["nested too deeply"], id="deep_object"),
        pytest.param(b" " * (1 << 20) + b"{}", ["too many"], id="a_megabyte"),
        pytest.param(bytes(64), ["not JSON"], id="zeros"),
    ],
)
def test_config_that_is_no_config_is_refused(content: bytes, words: list[str], existing: Path) -> None:
    (existing / "config.json").write_bytes(content)
    refused(existing, ModelFormatError, "config.json", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": 128}, ["lm.", "[256,"]),
        ({"dim": "256"}, ["dim", "256"]),
        ({"dim": True}, ["dim", "true"]),
        ({"dim": {}}, ["dim", "object"]),
        ({"dim": -256}, ["dim", "-256"]),
        ({"dim": 256.5}, ["dim", "256.5"]),
        ({"dim": 10**30}, ["dim"]),
        ({"dim": None}, ["dim missing"]),
        ({"num_heads": 7}, ["num_heads 7"]),
        ({"num_layers": 1000}, ["layers.3", "missing"]),
        ({"dep_q": 17}, ["dep_q is 17"]),
        ({"delays": []}, ["delays", "17"]),
        ({"delays": [0] * 16 + [None]}, ["delays", "null"]),
        ({"delays": 1}, ["delays"]),
        ({"n_q": 10**9}, ["n_q"]),
        ({"context": 0}, ["context"]),
        ({"norm": 3}, ["norm", "text"]),
        ({"norm": "rms_norm_f32\nmoshi.dim=4"}, ["control character"]),
        ({"causal": "yes"}, ["causal"]),
        ({"lm_gen_config": [1]}, ["lm_gen_config"]),
        ({"a\nb": 1}, ["key"]),
        ({"x" * 10_000: 1}, ["key"]),
        ({"moshi_name": "../../etc/passwd"}, ["moshi_name"]),
        ({"moshi_name": 7}, ["moshi_name"]),
    ],
    ids=lambda found: None if isinstance(found, list) else json.dumps(found)[:40].replace(" ", ""),
)
def test_config_that_lies_is_refused(change: dict[str, Any], words: list[str], existing: Path) -> None:
    path = existing / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(existing, ModelFormatError, *words)


def test_config_that_is_a_folder_counts_as_missing(existing: Path) -> None:
    (existing / "config.json").unlink()
    (existing / "config.json").mkdir()
    refused(existing, ModelNotFoundError, "config.json", "missing")


def test_config_that_is_missing_is_asked_for(existing: Path) -> None:
    (existing / "config.json").unlink()
    refused(existing, ModelNotFoundError, "config.json", "model-q4_k.gguf")


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.key("moshi.dim", (gguf_edit.U64, struct.pack("<Q", 2**64 - 1))),
        lambda file: file.key("moshi.model_type", "x" * 100_000),
        lambda file: file.key("moshi.model_type", (gguf_edit.STRING, gguf_edit.string(b"\xc3" * 40))),
    ],
    ids=["number_of_64_bits", "long_type", "type_of_no_encoding"],
)
def test_odd_values_end_in_an_error_or_do_no_harm(damage: Callable[[Gguf], None], folder: Path) -> None:
    file = gguf_edit.read(folder / LM)
    damage(file)
    file.write(folder / LM)
    try:
        with pymoshi.load(folder, device="cpu", threads=1) as model:
            assert len(model.info.model_type.encode()) < 200
    except ModelFormatError as error:
        assert "moshi.dim" in str(error)
