"""What `convert` promises: the checkpoint's numbers, under the names people know, whole or not at all."""

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from numpy.typing import NDArray

from checkpoints import FIXTURES, Tensors, read_tensors, write_tensors
from pymoshi.errors import Cancelled, DiskSpaceError, InputError, ModelFormatError, ModelNotFoundError
from pymoshi.hub import convert as convert_module
from pymoshi.hub.convert import convert
from pymoshi.hub.names import stored_name
from pymoshi.hub.safetensors_file import Entry, SafetensorsFile
from pymoshi.hub.storage import lm_type
from pymoshi.hub.tensors import lm_tensors

MOSHI, PERSONAPLEX, MIMI = (FIXTURES / name for name in ("moshi", "personaplex", "mimi"))


def tensors_of(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Type, shape (slowest axis first) and bytes of each tensor."""
    return {
        t.name: (t.tensor_type.name, [int(n) for n in reversed(t.shape)], t.data.tobytes())
        for t in GGUFReader(path).tensors
    }


def key(path: Path, name: str) -> object:
    field = GGUFReader(path).fields.get(name)
    return None if field is None else field.contents()


@pytest.fixture(scope="module")
def moshi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(MOSHI, tmp_path_factory.mktemp("out") / "moshi") / "model-bf16.gguf"


def test_unquantised_weights_are_those_of_the_checkpoint(moshi: Path) -> None:
    source, result = read_tensors(MOSHI / "model.safetensors"), tensors_of(moshi)
    for name in (
        "text_emb.weight",
        "emb.15.weight",
        "linears.7.weight",
        "depformer.layers.1.gating.3.linear_in.weight",
    ):
        assert result["lm." + name] == source[name]


def test_packed_projections_are_cut_into_steps(moshi: Path) -> None:
    source, result = read_tensors(MOSHI / "model.safetensors"), tensors_of(moshi)
    for part in ("in", "out"):
        packed = "depformer.layers.1.self_attn." + ("in_proj_weight" if part == "in" else "out_proj.weight")
        steps = [result[f"lm.depformer.layers.1.self_attn.{part}_projs.{i}.weight"] for i in range(8)]
        assert b"".join(data for _, _, data in steps) == source[packed][2]
        assert {tuple(shape) for _, shape, _ in steps} == {(96 if part == "in" else 32, 32)}


def test_norms_are_stored_in_f32(moshi: Path) -> None:
    kind, shape, data = tensors_of(moshi)["lm.out_norm.alpha"]
    bits = np.frombuffer(read_tensors(MOSHI / "model.safetensors")["out_norm.alpha"][2], np.uint16)
    assert (kind, shape) == ("F32", [64])
    assert data == (bits.astype(np.uint32) << 16).tobytes()


def test_the_file_says_what_it_is(moshi: Path) -> None:
    config = json.loads((MOSHI / "config.json").read_text())
    assert key(moshi, "general.architecture") == "moshi"
    assert key(moshi, "moshi.model_type") == "moshi"
    for name in ("dim", "num_layers", "context", "hidden_scale", "norm", "causal", "delays", "depformer_dim"):
        assert key(moshi, f"moshi.{name}") == config[name]
    assert key(moshi, "moshi.layer_scale") is None  # null


def with_general(folder: Path, general: Any) -> Path:
    """The fixture, with something said of its licence."""
    shutil.copytree(MOSHI, folder)
    config = json.loads((MOSHI / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"general": general}))
    return folder


def test_licence_and_origin_go_where_gguf_has_them(tmp_path: Path) -> None:
    source = with_general(tmp_path / "source", {"license": "CC0-1.0", "source.voice": "nobody's"})
    path = convert(source, tmp_path / "out") / "model-bf16.gguf"
    assert key(path, "general.license") == "CC0-1.0"
    assert key(path, "general.source.voice") == "nobody's"
    assert key(path, "moshi.general.license") is None


@pytest.mark.parametrize("general", ["MIT", {"license": 1}, {"architecture": "llama"}, {"alignment": "7"}])
def test_what_a_config_may_not_say_of_the_file_is_refused(tmp_path: Path, general: Any) -> None:
    with pytest.raises(ModelFormatError, match="general"):
        convert(with_general(tmp_path / "source", general), tmp_path / "out")


def test_a_model_that_predicts_its_user_is_personaplex(tmp_path: Path) -> None:
    out = convert(PERSONAPLEX, tmp_path / "out")
    assert key(out / "model-bf16.gguf", "moshi.model_type") == "personaplex"
    assert json.loads((out / "config.json").read_text())["model_type"] == "personaplex"


def test_the_output_folder_holds_all_that_its_config_names(tmp_path: Path) -> None:
    out = convert(PERSONAPLEX, tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    names = {config["moshi_name"], config["mimi_name"], config["tokenizer_name"], "config.json"}
    assert names == {path.name for path in out.iterdir()}
    assert (out / "tokenizer.model").read_bytes() == (PERSONAPLEX / "tokenizer.model").read_bytes()


@pytest.mark.parametrize("quantize", ["f16", "f32"])
def test_float_types_keep_the_values(tmp_path: Path, quantize: str) -> None:
    out = convert(MOSHI, tmp_path / "out", quantize=quantize) / f"model-{quantize}.gguf"
    name = "transformer.layers.0.gating.linear_in.weight"
    bits = np.frombuffer(read_tensors(MOSHI / "model.safetensors")[name][2], np.uint16)
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    kind, _, data = tensors_of(out)["lm." + name]
    assert kind == quantize.upper()
    found = np.frombuffer(data, np.float16 if quantize == "f16" else np.float32).astype(np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=2**-11)


def test_mimi_codebooks_are_divided_by_their_usage(tmp_path: Path) -> None:
    out = convert(MIMI, tmp_path / "out", mimi_type="f32") / "mimi-f32.gguf"
    source, result = read_tensors(MIMI / "mimi.safetensors"), tensors_of(out)
    unused = 0
    for level in range(31):
        name = f"quantizer.rvq_rest.vq.layers.{level}._codebook"
        total = np.frombuffer(source[f"{name}.embedding_sum"][2], np.float32).reshape(128, 32)
        usage = np.frombuffer(source[f"{name}.cluster_usage"][2], np.float32)
        unused += int((usage < 1e-5).sum())
        expected = total / np.maximum(usage, np.float32(1e-5))[:, None]
        assert result[f"mimi.{name}.embedding"] == ("F32", [128, 32], expected.tobytes())
    assert unused, "the fixture has entries that were never used, which is what the clamp is for"


def test_mimi_f16_is_the_layout_of_existing_files_with_all_of_the_decoder_in_f16(tmp_path: Path) -> None:
    result = tensors_of(convert(MIMI, tmp_path / "out", mimi_type="f16") / "mimi-f16.gguf")
    half = {name for name, (kind, _, _) in result.items() if kind == "F16"}
    kernels = {name for name in half if name.endswith(("conv.conv.weight", "put_proj.weight"))}
    assert len(kernels) == 29
    layers = [f"mimi.decoder_transformer.transformer.layers.{layer}." for layer in range(2)]
    matrices = ("self_attn.in_projs.0.weight", "self_attn.out_projs.0.weight", "linear1.weight", "linear2.weight")
    assert half - kernels == {
        *(stored_name(layer + matrix) for layer in layers for matrix in matrices),
        *(f"mimi.decoder.model.{index}.convtr.convtr.weight" for index in (2, 5, 8, 11)),
    }
    assert result["mimi.encoder.model.0.conv.conv.bias"][1] == [4, 1]  # a column
    assert result["mimi.decoder.model.14.conv.conv.bias"][1] == [1]
    assert result["mimi.upsample.convtr.convtr.convtr.weight"][:2] == ("F32", [64, 1, 4])
    assert stored_name("mimi.encoder_transformer.transformer.layers.0.self_attn.in_projs.0.weight") in result
    assert not any("in_projs" in name for name in result), "all of these names are too long and must be hashed"


def test_mimi_f16_all_spares_only_codebooks_norms_and_biases(tmp_path: Path) -> None:
    result = tensors_of(convert(MIMI, tmp_path / "out", mimi_type="f16-all") / "mimi-f16-all.gguf")
    wide = {name for name, (kind, shape, _) in result.items() if kind == "F32" and shape[-1] > 1 and len(shape) > 1}
    assert wide == {name for name in result if "_codebook" in name}
    assert result["mimi.decoder.model.2.convtr.convtr.weight"][0] == "F16"


def test_hashed_names_are_those_of_existing_files() -> None:
    assert stored_name("mimi.encoder_transformer.transformer.layers.0.self_attn.in_projs.0.weight") == "0bd20000"
    assert stored_name("lm.condition_provider.conditioners.speaker_wavs.output_proj.weight") == "57bd0000"
    assert stored_name("lm.out_norm.alpha") == "lm.out_norm.alpha"


@pytest.mark.parametrize("quantize", ["q4_k", "q8_0"])
def test_types_and_names_are_those_of_an_existing_file(quantize: str) -> None:
    existing = tensors_of(FIXTURES / "upstream" / f"tiny-moshi-{quantize}.gguf")
    config = json.loads((FIXTURES / "upstream" / "tiny-moshi-config.json").read_text())
    ours = {"lm." + t.name: lm_type(t, quantize, "bf16").upper() for t in lm_tensors(config, 512, 352)}
    assert ours == {name: kind.upper() for name, (kind, _, _) in existing.items()}


def per_step(tensors: Tensors) -> Tensors:
    """The same weights under the newer names."""
    out: Tensors = {}
    for name, (dtype, shape, data) in tensors.items():
        packed = name.removesuffix("_proj_weight").removesuffix("_proj.weight")
        if packed == name or "self_attn" not in name:
            out[name] = (dtype, shape, data)
            continue
        count = 8 if name.startswith("depformer") else 1
        size = len(data) // count
        for i in range(count):
            step = [shape[0] // count, shape[1]]
            out[f"{packed}_projs.{i}.weight"] = (dtype, step, data[i * size : (i + 1) * size])
    return out


def candle(tensors: Tensors) -> Tensors:
    """The same weights as Kyutai's Rust programs name them: a whole depformer a step."""
    out: Tensors = {}
    for name, value in per_step(tensors).items():
        head, _, rest = name.partition(".")
        match head, rest.split("."):
            case "depformer_in", [k, _]:
                out[f"depformer.{k}.linear_in.weight"] = value
            case "linears", [k, _]:
                out[f"depformer.{k}.linear_out.weight"] = value
            case "depformer_text_emb", _:
                out["depformer.0.emb.weight"] = value
            case "depformer_emb", [k, _]:
                out[f"depformer.{int(k) + 1}.emb.weight"] = value
            case "depformer", [_, layer, "gating", k, part, _]:
                out[f"depformer.{k}.transformer.layers.{layer}.gating.{part}.weight"] = value
            case "depformer", [_, layer, "self_attn", part, k, _]:
                packed = "in_proj_weight" if part == "in_projs" else "out_proj.weight"
                out[f"depformer.{k}.transformer.layers.{layer}.self_attn.{packed}"] = value
            case "depformer", [_, layer, norm, _]:
                for step in range(8):
                    out[f"depformer.{step}.transformer.layers.{layer}.{norm}.alpha"] = value
            case _:
                out[name] = value
    return out


@pytest.mark.parametrize("renamed", [per_step, candle])
def test_other_namings_give_the_same_file(tmp_path: Path, moshi: Path, renamed: Callable[[Tensors], Tensors]) -> None:
    folder = tmp_path / "moshi"
    write_tensors(folder / "model.safetensors", renamed(read_tensors(MOSHI / "model.safetensors")))
    shutil.copy(MOSHI / "config.json", folder)
    result = convert(folder, tmp_path / "out") / "model-bf16.gguf"
    assert result.read_bytes() == moshi.read_bytes()


def test_old_codebook_names_give_the_same_file(tmp_path: Path) -> None:
    old = {"embedding_sum": "embed_sum", "cluster_usage": "cluster_size", "_initialized": "inited"}
    tensors = {
        ".".join(old.get(part, part) for part in name.split(".")): value
        for name, value in read_tensors(MIMI / "mimi.safetensors").items()
    }
    write_tensors(tmp_path / "mimi" / "mimi.safetensors", tensors)
    shutil.copy(MIMI / "mimi_config.json", tmp_path / "mimi")
    ours = convert(tmp_path / "mimi", tmp_path / "old") / "mimi-f16.gguf"
    assert ours.read_bytes() == (convert(MIMI, tmp_path / "new") / "mimi-f16.gguf").read_bytes()


def test_a_codec_converted_alone_is_entered_into_the_config_that_is_there(tmp_path: Path) -> None:
    convert(MOSHI, tmp_path / "out")
    convert(MIMI / "mimi.safetensors", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["moshi_name"], config["mimi_name"]) == ("model-bf16.gguf", "mimi-f16.gguf")


def test_more_layers_than_a_hidden_scale_says_are_what_counts(tmp_path: Path) -> None:
    config = json.loads((MOSHI / "config.json").read_text()) | {"hidden_scale": 2.0}
    shutil.copytree(MOSHI, tmp_path / "moshi")
    (tmp_path / "moshi" / "config.json").write_text(json.dumps(config))
    result = tensors_of(convert(tmp_path / "moshi", tmp_path / "out") / "model-bf16.gguf")
    assert result["lm.transformer.layers.0.gating.linear_out.weight"][1] == [64, 176]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupt(done: int, total: int, name: str) -> None:
        if name.startswith("mimi") and done > total * 0.9:
            raise error("now")

    with pytest.raises(error):
        convert(PERSONAPLEX, tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_conversion_keeps_what_was_there(tmp_path: Path) -> None:
    out = convert(MOSHI, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(Cancelled):
        convert(MOSHI, out, overwrite=True, progress=lambda done, total, _: done < total // 2)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_progress_runs_from_nothing_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert(PERSONAPLEX, tmp_path / "out", progress=lambda done, total, _: seen.append((done, total)))
    counts = [done for done, _ in seen]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert seen[-1][0] == seen[-1][1]


def test_existing_files_are_replaced_only_if_asked(tmp_path: Path) -> None:
    convert(MOSHI, tmp_path / "out")
    with pytest.raises(InputError, match="exists already"):
        convert(MOSHI, tmp_path / "out")
    convert(MOSHI, tmp_path / "out", overwrite=True)


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(DiskSpaceError, match="not enough disk space"):
        convert(MOSHI, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_input_is_read_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = convert(MOSHI, tmp_path / "whole") / "model-bf16.gguf"
    monkeypatch.setattr(convert_module, "BLOCK_BYTES", 1000)
    pieces: list[int] = []
    read_rows = SafetensorsFile.read_rows

    def spy(self: SafetensorsFile, entry: Entry, first: int, count: int) -> NDArray[Any]:
        rows = read_rows(self, entry, first, count)
        pieces.append(rows.nbytes)
        return rows

    monkeypatch.setattr(SafetensorsFile, "read_rows", spy)
    assert (convert(MOSHI, tmp_path / "pieces") / "model-bf16.gguf").read_bytes() == whole.read_bytes()
    assert max(pieces) <= 1000


def test_a_gguf_file_is_not_converted_again(moshi: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="GGUF file already"):
        convert(moshi, tmp_path / "out")


@pytest.mark.parametrize("quantize", ["q5_1", "", "Q4", "int8"])
def test_an_unknown_type_is_refused_with_those_there_are(tmp_path: Path, quantize: str) -> None:
    with pytest.raises(InputError, match="q8_0, q4_k"):
        convert(MOSHI, tmp_path / "out", quantize=quantize)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="no safetensors file"):
        convert(tmp_path / "empty", tmp_path / "out")


def test_a_file_that_config_names_must_be_there(tmp_path: Path) -> None:
    shutil.copytree(MOSHI, tmp_path / "moshi")
    config = json.loads((MOSHI / "config.json").read_text()) | {"mimi_name": "codec.safetensors"}
    (tmp_path / "moshi" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelNotFoundError, match=r"codec\.safetensors: missing"):
        convert(tmp_path / "moshi", tmp_path / "out")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/../../b.safetensors"])
def test_a_config_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    shutil.copytree(MOSHI, tmp_path / "moshi")
    config = json.loads((MOSHI / "config.json").read_text()) | {"moshi_name": name}
    (tmp_path / "moshi" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match="out of the folder"):
        convert(tmp_path / "moshi", tmp_path / "out")


def test_output_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        convert(MOSHI, tmp_path / "file")
    with pytest.raises(InputError, match="cannot be made"):
        convert(MOSHI, tmp_path / "file" / "below")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model-bf16.gguf.partial").mkdir()  # stands for any reason that opening fails; root may write everywhere
    with pytest.raises(OSError, match="partial"):
        convert(MOSHI, out)
    assert os.listdir(out) == ["model-bf16.gguf.partial"]
