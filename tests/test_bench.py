"""`pymoshi bench` says how fast a model is, what it would be at best, and what that was measured with."""

import json
import mmap
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pymoshi
from pymoshi import InputError, _native, bench
from pymoshi.bench import Options, Result, Stage, process, synthetic
from pymoshi.bench.frames import WARM_UP, Run, random_tokens, runner_for
from pymoshi.bench.result import Loading, Machine, MeasuredModel, Memory, Reading, Settings, Software
from pymoshi.bench.traffic import traffic
from pymoshi.cost import cost
from pymoshi.hub.convert import convert
from pymoshi.hub.synth import SYNTHETIC, synthesize, synthetic_bytes

RESULT = Result(
    date="2026-11-22T22:00:00+00:00",
    model=MeasuredModel("a model", "moshi", "q4_K", 4_000_000_000, "0123456789abcdef"),
    settings=Settings("cpu", 2, 3000, "f16", 0, 100),
    machine=Machine("a processor", "a processor", 16_000_000_000, "Linux"),
    software=Software("0.1.0", "0.1.0", "0.20.2", "3.12.0", ["cpu"], ["AVX2", "FMA"]),
    load=Loading(2.5, None, 0.5),
    memory=Memory(6_000_000_000, 6_500_000_000, None),
    reading=Reading("q4_K", 40e9, 2e-6),
    stages={
        "lm": Stage(110.0, 120.0, 130.0, 4_148_000_000, 52_000_000, 105.0),
        "frame": Stage(130.0, 140.0, 150.0, 4_300_000_000, 52_000_000, 108.8),
    },
    frames_per_second=7.5,
    notes=[],
)


@pytest.fixture(autouse=True)
def _small_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory's speed is measured with as little as can be."""
    real = _native.bandwidth

    def quick(device: str, kind: str, *, threads: int, n_bytes: int, seconds: float) -> _native.Bandwidth:
        return real(device, kind, threads=threads, n_bytes=min(n_bytes, 1), seconds=min(seconds, 0.01))

    monkeypatch.setattr(_native, "bandwidth", quick)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic model, 4 MB."""
    return synthesize("tiny", tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture
def loaded(tiny: Path) -> Iterator[pymoshi.Model]:
    with pymoshi.load(tiny, device="cpu", threads=1) as model:
        yield model


def quick(model: Path, **options: object) -> Result:
    return bench.measure(model, replace(Options(device="cpu", threads=1, frames=3), **options))  # type: ignore[arg-type]


# ---- bytes ----


@pytest.mark.parametrize("quantize", ["q4_k", "q8_0", "bf16"])
def test_bytes_of_a_file_are_those_that_its_hyper_parameters_predict(quantize: str, tmp_path: Path) -> None:
    config, _ = SYNTHETIC["tiny"]
    assert config is not None
    with pymoshi.load(synthesize("tiny", tmp_path / "tiny", quantize=quantize), device="cpu", threads=1) as model:
        found = traffic(model, kv_type="f16")
    predicted = cost(config, quantize)
    assert found.lm == sum(predicted.read.values())
    assert found.kv_per_frame == predicted.kv_per_frame


def test_predictions_of_the_users_codes_are_not_counted(plex: pymoshi.Model) -> None:
    used = traffic(plex, kv_type="f16").lm
    assert used < traffic(plex, kv_type="f16", depformer_steps=plex.info.dep_q).lm
    assert used == traffic(plex, kv_type="f16", depformer_steps=plex.info.n_agent).lm


def test_every_weight_of_the_codec_belongs_to_one_direction(tmp_path: Path) -> None:
    with pymoshi.load(synthesize("tiny", tmp_path / "f32", mimi_type="f32"), device="cpu", threads=1) as model:
        found = traffic(model, kv_type="f16")
    assert found.encode + found.decode == synthetic_bytes("tiny", "q4_k", "f32") - _lm_bytes()
    assert 0.5 < found.encode / found.decode < 2


def test_the_codec_decodes_in_half_precision_and_encodes_in_single(loaded: pymoshi.Model, tmp_path: Path) -> None:
    found = traffic(loaded, kv_type="f16")
    with pymoshi.load(synthesize("tiny", tmp_path / "f32", mimi_type="f32"), device="cpu", threads=1) as model:
        wide = traffic(model, kv_type="f16")
    assert found.encode == wide.encode
    assert 0.5 < found.decode / wide.decode < 0.6


def test_of_the_encoder_only_long_rows_stay_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    with pymoshi.load("demo", device="cpu", threads=1) as model:
        path, found = model.files.mimi, {}
        for machine in ("x86_64", "arm64"):
            monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
            found[machine] = traffic(model, kv_type="f16").encode
    assert path is not None
    with _native.GgufFile(path) as file:
        long = file.tensors["mimi.encoder.model.12.conv.conv.weight"]  # the only one with rows of more than 1024
    assert (long.type, long.n_bytes) == ("f16", 2 * 256 * 16 * 128)
    assert found["x86_64"] == found["arm64"] - long.n_bytes


def _lm_bytes() -> int:
    config, _ = SYNTHETIC["tiny"]
    assert config is not None
    return cost(config, "q4_k").resident


def test_keys_and_values_are_as_large_as_their_type(loaded: pymoshi.Model) -> None:
    f16, q8 = (traffic(loaded, kv_type=kind).kv_per_frame for kind in ("f16", "q8_0"))
    assert f16 == 2 * 2 * 256 * 2
    assert q8 == f16 * 34 // 64


@pytest.mark.parametrize("quantize", ["q8_0", "q4_k"])
def test_files_of_another_engine_are_counted_alike(quantize: str, fixtures: Path, tmp_path: Path) -> None:
    """They hold no metadata: what a frame uses follows from the config.json beside them."""
    file = shutil.copy(fixtures / "upstream" / f"tiny-moshi-{quantize}.gguf", tmp_path)
    shutil.copy(fixtures / "upstream" / "tiny-moshi-config.json", tmp_path / "config.json")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_scale": 3, "depformer_dim_feedforward": 528}  # as narrow as the file's matrices really are
    with pymoshi.load(file, device="cpu", threads=1) as model:
        assert traffic(model, kv_type="f16").lm == sum(cost(config, quantize).read.values())


# ---- frames ----


class Counted(Run):
    """Frames that compute nothing."""

    context = 100

    def __init__(self) -> None:
        self.frames = 0

    def fill(self, frames: int, progress: Callable[[float], None]) -> None: ...

    def frame(self) -> dict[str, float]:
        self.frames += 1
        return {"lm": float(self.frames)}


def test_frames_that_warm_up_do_not_count() -> None:
    run, told = Counted(), list[float]()
    times = run.measure(5, told.append)
    assert run.frames == WARM_UP + 5
    assert times["lm"] == [WARM_UP + 1.0 + index for index in range(5)]
    assert len(times["frame"]) == 5
    assert told[-1] == 1
    assert told == sorted(told)


def test_remembered_frames_are_counted_until_the_memory_is_full() -> None:
    run = Counted()
    assert run.remembered(0, 1) == WARM_UP + 1
    assert run.remembered(10, 3) == 10 + WARM_UP + 2
    assert run.remembered(1000, 50) == 100


def test_filling_moves_the_conversation_on(loaded: pymoshi.Model) -> None:
    with runner_for(loaded, None, "f16") as run:
        told: list[float] = []
        run.fill(70, told.append)
        session = run._session  # type: ignore[attr-defined]
        assert session.offset == 70
        assert told[-1] == 1


def test_a_prompt_of_nothing_has_tokens_that_the_model_has(loaded: pymoshi.Model) -> None:
    tokens = random_tokens(loaded, 20)
    assert tokens.shape == (20, 1 + loaded.info.n_q)
    assert tokens.dtype == np.int32
    assert (tokens[:, 0] < loaded.info.text_card).all()
    assert (tokens[:, 1:] < loaded.info.card).all()


# ---- measurements ----


def test_a_conversation_has_all_stages_and_they_add_up(tiny: Path) -> None:
    found = quick(tiny, frames=10)
    assert list(found.stages) == ["encode", "lm", "decode", "frame"]
    whole, parts = found.stages["frame"], [found.stages[name] for name in ("encode", "lm", "decode")]
    assert whole.n_bytes == sum(stage.n_bytes for stage in parts)
    assert whole.p50_ms >= max(stage.p50_ms for stage in parts)
    for stage in found.stages.values():
        assert 0 < stage.p50_ms <= stage.p95_ms <= stage.max_ms
        assert stage.bound_ms == pytest.approx(1000 * stage.n_bytes / found.reading.bytes_per_second)
        assert stage.of_bound == pytest.approx(stage.bound_ms / stage.p50_ms)
    assert found.real_time_factor == pytest.approx(found.frames_per_second / 12.5)
    assert found.load.first > 0
    assert found.load.warm > 0


def test_the_past_is_part_of_what_a_frame_reads(tiny: Path) -> None:
    empty, full = quick(tiny), quick(tiny, fill=60)
    per_frame = 2 * 2 * 256 * 2
    assert full.stages["lm"].kv_bytes - empty.stages["lm"].kv_bytes == 60 * per_frame
    assert full.stages["lm"].weight_bytes == empty.stages["lm"].weight_bytes
    assert full.stages["frame"].kv_bytes == full.stages["lm"].kv_bytes
    assert full.stages["encode"].kv_bytes == 0
    assert quick(tiny, fill=60, context=32).stages["lm"].kv_bytes == 32 * per_frame


def test_settings_are_those_that_were_used(tiny: Path) -> None:
    found = quick(tiny, context=40, kv_type="q8_0", fill=5)
    assert found.settings == Settings("cpu", 1, 40, "q8_0", 5, 3)
    assert (found.model.name, found.model.model_type, found.model.weight_type) == ("synthetic tiny", "moshi", "q4_0")
    assert found.reading.kind == "q4_0"
    assert found.software.pymoshi == pymoshi.__version__


def test_a_codec_alone_has_two_stages(tiny: Path) -> None:
    found = quick(tiny / "mimi-f16.gguf")
    assert list(found.stages) == ["encode", "decode", "frame"]
    assert found.settings.context == 0
    assert found.stages["frame"].kv_bytes == 0


def test_a_language_model_alone_has_one(tiny: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"  # in a folder whose neighbours are not other tests': a codec may lie in one
    alone.mkdir()
    shutil.copy(tiny / "model-q4_k.gguf", alone)
    found = quick(alone / "model-q4_k.gguf", fill=20)
    assert list(found.stages) == ["lm", "frame"]
    assert found.stages["lm"].n_bytes == found.stages["frame"].n_bytes


def test_a_model_that_only_listens_decodes_nothing(fixtures: Path, tmp_path: Path) -> None:
    source = tmp_path / "stt"
    source.mkdir()
    for path in (fixtures / "stt" / "model.safetensors", fixtures / "stt" / "config.json"):
        shutil.copy(path, source)
    found = quick(convert(source, tmp_path / "out", quantize="f32"))
    assert "decode" not in found.stages
    assert found.stages["lm"].p50_ms > 0


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"frames": -1}, {"fill": -1}, {"kv_type": "f8"}, {"context": 0}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, object], tiny: Path) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        quick(tiny, **wrong)


def test_each_part_of_the_work_is_told(tiny: Path) -> None:
    told: dict[str, float | None] = {}
    bench.measure(tiny, Options("cpu", 1, frames=2, fill=3), step=lambda what, fraction: told.update({what: fraction}))
    assert list(told) == [
        "loading for the first time", "measuring the memory", "loading again", "filling the memory", "running frames",
    ]  # fmt: skip
    assert told["filling the memory"] == told["running frames"] == 1


def test_memory_of_the_process_is_what_it_holds() -> None:
    process.forget_peak()
    piece = bytes(1 << 20)
    before = process.resident_bytes()
    with mmap.mmap(-1, 64 << 20) as block:  # not from an allocator, which may still hold what others have freed
        for _ in range(64):
            block.write(piece)
        held, peak = process.resident_bytes(), process.peak_bytes()
    if before is None or held is None or peak is None:
        assert sys.platform != "linux"
        return
    assert 60 << 20 < held - before < 80 << 20
    assert peak >= held
    process.forget_peak()
    least = process.peak_bytes()
    assert least is not None
    assert least < peak - (50 << 20)


def test_what_this_process_computes_is_not_counted_as_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([(100.0, 7.0, 50.0), (103.0, 8.0, 52.0)])  # busy, own, on the clock
    monkeypatch.setattr(process.Others, "_now", staticmethod(lambda: next(seconds)))
    assert process.Others().processors() == 1.0


def test_the_time_that_processors_are_busy_only_grows() -> None:
    before = process._busy_seconds()
    after = process._busy_seconds()
    if before is None or after is None:
        assert sys.platform != "linux"
        return
    assert 0 < before <= after


def test_busy_neighbours_are_told_of(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.Others, "processors", lambda _: 1.5)
    assert any("kept 1.5 processors busy" in note for note in quick(tiny).notes)
    monkeypatch.setattr(process.Others, "processors", lambda _: 0.0)
    assert not any("busy" in note for note in quick(tiny).notes)


# ---- synthetic models ----


def test_synthetic_models_exist_as_long_as_they_are_measured() -> None:
    with bench.synthetic_model("tiny") as folder:
        assert (folder / "model-q4_k.gguf").is_file()
    assert not folder.exists()
    assert not folder.parent.exists()


def test_synthetic_models_are_gone_after_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_MEMORY_FOLDER", tmp_path)
    found = list[Path]()

    def interrupt(fraction: float) -> None:
        found.extend(tmp_path.iterdir())
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), bench.synthetic_model("tiny", progress=interrupt):
        pass
    assert found
    assert list(tmp_path.iterdir()) == []


def test_synthetic_models_are_made_in_memory_if_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthetic, "_MEMORY_FOLDER", tmp_path)
    monkeypatch.setattr(synthetic, "available_memory", lambda: 16_000_000_000)
    assert synthetic._place_for(1_000_000) == tmp_path
    assert synthetic._place_for(8_000_000_000) is None  # as files and as weights they are twice that
    monkeypatch.setattr(synthetic, "available_memory", lambda: None)
    assert synthetic._place_for(1_000_000) is None


def test_sizes_of_synthetic_models_are_known_before_they_are_made() -> None:
    assert synthetic_bytes("personaplex", "q4_k", "f16") == pytest.approx(4.986e9, rel=0.01)
    assert synthetic_bytes("mimi", "q4_k", "f32") == pytest.approx(384e6, rel=0.01)


@pytest.mark.parametrize("name", bench.SYNTHETIC_NAMES)
def test_every_name_is_one_of_a_model(name: str) -> None:
    assert synthetic._PUBLISHED.get(name, name) in SYNTHETIC


def test_unknown_synthetic_models_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"gpt.*personaplex-7b"), bench.synthetic_model("gpt"):
        pass


# ---- files and comparisons ----


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    bench.write(RESULT, tmp_path / "result.json")
    assert bench.read(tmp_path / "result.json") == RESULT


def test_a_file_tells_what_follows_from_its_figures(tmp_path: Path) -> None:
    bench.write(RESULT, tmp_path / "result.json")
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert content["real_time_factor"] == pytest.approx(0.6)
    assert content["stages"]["lm"]["of_bound"] == pytest.approx(105 / 110)


def changed(**change: object) -> str:
    return json.dumps(RESULT.as_dict() | change)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no result"),
        ("hello", "no result"),
        ("[]", "no result"),
        ("{}", "no result"),
        ("[" * 100_000, "no result"),
        ("\xff\xfe", "no result"),
        ('{"format": "pymoshi bench"}', "version None"),
        (changed(version=2), "version 2"),
        (changed(format="another"), "no result"),
        (changed(stages=[]), "stages is"),
        (changed(stages={"lm": {"p50_ms": 1}}), "stages.lm.p95_ms is missing"),
        (changed(model="a model"), "model is not an object"),
        (changed(frames_per_second="many"), "frames_per_second is 'many'"),
        (changed(frames_per_second=True), "frames_per_second is True"),
        (changed(notes=[1]), "notes is 1"),
        (changed(load={"first": 1.0, "from_disk_bytes": 0.5, "warm": 1.0}), "load.from_disk_bytes is 0.5"),
        (json.dumps({key: value for key, value in RESULT.as_dict().items() if key != "memory"}), "memory is missing"),
    ],
)
def test_foreign_and_damaged_files_are_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="result") as refused:
        bench.read(path)
    assert words in str(refused.value)


def test_files_of_any_size_are_refused_soon(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(" " * (2 << 20) + changed(), encoding="utf-8")
    with pytest.raises(InputError, match="no result"):
        bench.read(path)


@pytest.mark.parametrize("path", ["nowhere.json", "."])
def test_files_that_are_not_there_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        bench.read(tmp_path / path)


def test_equal_results_differ_in_nothing() -> None:
    assert bench.differences(RESULT, replace(RESULT, date="2027-01-01", frames_per_second=8.0)) == []


def test_what_differs_is_named() -> None:
    other = replace(
        RESULT,
        settings=replace(RESULT.settings, threads=4),
        machine=replace(RESULT.machine, processor="another"),
        software=replace(RESULT.software, cpu_features=["AVX2", "AVX512"]),
    )
    assert bench.differences(RESULT, other) == [
        "setting: threads was 2, is 4",
        "machine: processor was a processor, is another",
        "software: cpu features was AVX2 FMA, is AVX2 AVX512",
    ]


def test_figures_stand_beside_each_other() -> None:
    faster = replace(RESULT, stages={"lm": replace(RESULT.stages["lm"], p50_ms=55.0)}, frames_per_second=15.0)
    found = {row.what: row for row in bench.rows(RESULT, faster)}
    assert (found["lm p50"].before, found["lm p50"].now, found["lm p50"].ratio) == (110, 55, 0.5)
    assert found["frames a second"].ratio == 2
    assert "frame p50" not in found  # one of them has none
    assert "memory, on the GPU" not in found


def test_what_only_one_knows_has_no_ratio() -> None:
    unknown = replace(RESULT, memory=Memory(None, None, 5_000_000_000))
    found = {row.what: row for row in bench.rows(RESULT, unknown)}
    assert found["memory, peak"].before == 6500
    assert found["memory, peak"].now is None
    assert found["memory, peak"].ratio is None
    assert found["memory, on the GPU"].ratio is None
