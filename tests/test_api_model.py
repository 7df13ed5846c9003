"""Loading a model, and what it says of itself."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pymoshi
from pymoshi import errors


def test_info_tells_the_hyper_parameters(model: pymoshi.Model) -> None:
    info = model.info
    assert (info.model_type, info.has_lm, info.has_mimi, info.weight_type) == ("moshi", True, True, "f32")
    assert (info.dim, info.n_layers, info.n_heads, info.context) == (64, 3, 4, 24)
    assert (info.n_q, info.dep_q, info.n_user, info.card, info.text_card) == (16, 8, 8, 128, 400)
    assert info.delays == (0, 0, *[1] * 7, 0, *[1] * 7)
    assert (info.mimi_codebooks, info.mimi_card, info.mimi_context) == (32, 128, 20)
    assert info.weight_bytes > 600_000


def test_audio_is_24_khz_in_frames_of_80_ms(model: pymoshi.Model) -> None:
    assert (model.sample_rate, model.frame_size, model.frame_rate) == (24000, 1920, 12.5)


def test_info_cannot_be_changed(model: pymoshi.Model) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.info.dim = 1  # type: ignore[misc]


def test_device_is_the_one_asked_for(model: pymoshi.Model, device: str) -> None:
    assert model.info.device.split(":")[0] == device.split(":", maxsplit=1)[0]
    assert model.info.device_reason == ""


def test_auto_says_why_it_chose_the_device(moshi_folder: Path) -> None:
    with pymoshi.load(moshi_folder) as model:
        assert model.info.device in [device.name for device in pymoshi.devices()]
        assert model.info.device_reason


def test_unknown_device_names_those_there_are(moshi_folder: Path) -> None:
    with pytest.raises(pymoshi.DeviceError, match="cpu"):
        pymoshi.load(moshi_folder, device="abacus")


def test_fingerprint_is_that_of_the_weights(moshi_folder: Path, personaplex_folder: Path, model: pymoshi.Model) -> None:
    with pymoshi.load(moshi_folder, device="cpu", threads=1) as same, pymoshi.load(personaplex_folder) as other:
        assert same.info.fingerprint == model.info.fingerprint != other.info.fingerprint


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6])
def test_wrong_number_of_threads_is_refused(threads: object, moshi_folder: Path) -> None:
    with pytest.raises(pymoshi.InputError, match="threads"):
        pymoshi.load(moshi_folder, threads=threads)  # type: ignore[arg-type]


def test_a_small_model_takes_one_thread() -> None:
    with pymoshi.load("demo", device="cpu") as model:
        assert model.info.n_threads == 1


def test_threads_are_those_asked_for(moshi_folder: Path) -> None:
    with pymoshi.load(moshi_folder, device="cpu", threads=1) as model:
        assert model.info.n_threads == 1


def test_codec_alone_encodes_but_does_not_converse(moshi_folder: Path, device: str) -> None:
    with pymoshi.load(moshi_folder, device=device, codec_only=True) as model:
        assert (model.info.has_lm, model.info.has_mimi, model.info.model_type) == (False, True, "mimi")
        assert model.mimi.n_codebooks == 32
        with pytest.raises(pymoshi.UnsupportedModelError, match="codec alone"):
            model.session()


def test_language_model_alone_takes_codes_but_no_audio(moshi_folder: Path, device: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"  # on its own: beside it, a codec would be found
    folder.mkdir()
    for path in moshi_folder.iterdir():
        if not path.name.startswith("mimi"):
            shutil.copy(path, folder)
    with pymoshi.load(folder / "model-f32.gguf", device=device) as model, model.session() as session:
        assert session.step_codes([1] * 8) is None
        with pytest.raises(pymoshi.UnsupportedModelError, match="step_codes"):
            session.step([0.0] * 1920)
        with pytest.raises(pymoshi.UnsupportedModelError, match="mimi="):
            _ = model.mimi


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(pymoshi.ModelNotFoundError, match="nowhere"):
        pymoshi.load(tmp_path / "nowhere")


def test_broken_tokenizer_is_an_error_and_leaves_nothing_loaded(moshi_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"no tokenizer")
    with pytest.raises(pymoshi.ModelFormatError, match=r"tokenizer\.model"):
        pymoshi.load(moshi_folder, tokenizer=tmp_path / "tokenizer.model")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_weights_are_refused(kept: float, moshi_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(moshi_folder, tmp_path / "model")
    whole = (folder / "model-f32.gguf").read_bytes()
    (folder / "model-f32.gguf").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(pymoshi.ModelFormatError, match=r"model-f32\.gguf"):
        pymoshi.load(folder)


def test_progress_runs_from_0_to_1(moshi_folder: Path, device: str) -> None:
    seen: list[float] = []
    pymoshi.load(moshi_folder, device=device, progress=seen.append).close()
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] == 1


def test_progress_that_returns_false_cancels(moshi_folder: Path) -> None:
    with pytest.raises(pymoshi.Cancelled):
        pymoshi.load(moshi_folder, progress=lambda fraction: False)


def test_ctrl_c_while_loading_is_not_lost(moshi_folder: Path) -> None:
    def interrupt(_fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pymoshi.load(moshi_folder, progress=interrupt)


def test_closed_model_starts_nothing(moshi_folder: Path) -> None:
    model = pymoshi.load(moshi_folder, device="cpu")
    model.close()
    model.close()
    assert model.closed
    with pytest.raises(pymoshi.StateError, match="closed"):
        model.session()
    with pytest.raises(pymoshi.StateError, match="closed"):
        model.mimi.encode([0.0] * 1920)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "x"},
        {"context": 0},
        {"context": 10.5},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"text_temperature": float("inf")},
        {"top_k": -1},
        {"text_top_k": 2.5},
        {"kv_type": "q4_0"},
        {"window": "wide"},
        {"depformer_steps": 9},
        {"depformer_steps": 0},
    ],
)
def test_wrong_option_of_a_session_is_named(options: dict[str, object], model: pymoshi.Model) -> None:
    with pytest.raises(pymoshi.InputError, match=next(iter(options))):
        model.session(**options)  # type: ignore[arg-type]


def test_voice_needs_a_model_that_has_voices(model: pymoshi.Model) -> None:
    with pytest.raises(pymoshi.InputError, match="PersonaPlex"):
        model.session(voice="NATF0")


def test_import_does_not_touch_the_engine() -> None:
    code = "import pymoshi, sys; sys.exit('pymoshi._native._abi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_exported_exists() -> None:
    for name in pymoshi.__all__:
        assert getattr(pymoshi, name)


def test_every_error_can_be_caught_as_one() -> None:
    raised = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(raised) > 15
    assert all(issubclass(error, pymoshi.PymoshiError) for error in raised)
