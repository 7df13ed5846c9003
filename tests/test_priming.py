"""A PersonaPlex session is told its voice and its role before the first frame, and begins with them after a reset."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import pymoshi
from pymoshi import Model, Session
from pymoshi.audio import files
from pymoshi.voices import Voice, resolve_voice

Goldens = dict[str, NDArray[Any]]
PROMPT = "You enjoy having a good conversation."
VOICES = {"audio": "voice.wav", "embed": "voice.pt"}
GREEDY: dict[str, Any] = {"temperature": 0, "text_temperature": 0, "kv_type": "f32", "window": "legacy"}
FRAMES = 66  # of the fork's offset after voice, silence, text, silence: 20 + 6 + 34 + 6


@pytest.fixture(scope="module")
def golden(goldens: Callable[[str], Goldens]) -> Goldens:
    return goldens("personaplex")


@pytest.fixture(scope="module")
def heard(fixtures: Path) -> NDArray[np.float32]:
    """[40, 1920]: what the fixture's user says."""
    return files.read(fixtures / "personaplex" / "user.wav").reshape(-1, 1920)


def said(session: Session, heard: NDArray[np.float32]) -> NDArray[np.int32]:
    """[frames, 9]: text, then the model's codes."""
    return np.array([[frame.text_token, *([] if frame.codes is None else frame.codes)] for frame in session.run(heard)])


@pytest.fixture(params=VOICES)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_prompt_leaves_the_token_ring_of_the_reference(path: str, plex: Model, golden: Goldens, fixtures: Path) -> None:
    with plex.session(voice=fixtures / "personaplex" / VOICES[path], prompt=PROMPT, **GREEDY, cache=False) as session:
        np.testing.assert_array_equal(session._native.ring(), golden[f"{path}.cache_after_prompt"][0])
        assert session.offset == FRAMES


def test_conversation_after_the_prompt_is_the_reference_s(
    path: str, plex: Model, golden: Goldens, fixtures: Path, heard: NDArray[np.float32]
) -> None:
    with plex.session(voice=fixtures / "personaplex" / VOICES[path], prompt=PROMPT, **GREEDY, cache=False) as session:
        np.testing.assert_array_equal(said(session, heard), golden[f"{path}.out_tokens"][:, :9])


def test_reset_goes_back_to_voice_and_prompt(
    path: str, plex: Model, golden: Goldens, fixtures: Path, heard: NDArray[np.float32]
) -> None:
    with plex.session(voice=fixtures / "personaplex" / VOICES[path], prompt=PROMPT, **GREEDY) as session:
        said(session, heard[:7])
        session.reset()
        assert session.offset == FRAMES
        np.testing.assert_array_equal(said(session, heard), golden[f"{path}.out_tokens"][:, :9])


def test_reset_takes_a_seed_and_keeps_the_sampling(plex: Model, heard: NDArray[np.float32]) -> None:
    with plex.session(prompt=PROMPT, seed=5, temperature=0.9) as fresh:
        expected = said(fresh, heard[:12])
    with plex.session(prompt=PROMPT, seed=1, temperature=0.3) as session:
        session.set_sampling(temperature=0.9)
        other = said(session, heard[:12])
        session.reset(seed=5)
        assert session.seed == 5
        assert session.sampling["temperature"] == pytest.approx(0.9)
        np.testing.assert_array_equal(said(session, heard[:12]), expected)
    assert not np.array_equal(other, expected)


def test_fork_of_a_primed_session_resets_to_the_prompt_as_well(plex: Model, heard: NDArray[np.float32]) -> None:
    with plex.session(prompt=PROMPT, seed=5) as session:
        expected = said(session, heard[:5])
        with session.fork() as twin:
            twin.reset()
            np.testing.assert_array_equal(said(twin, heard[:5]), expected)


def test_first_frame_is_aligned_already(plex: Model, heard: NDArray[np.float32]) -> None:
    """The delays fill during the prompt, whose last silence is what the first frame says."""
    with plex.session(prompt=PROMPT) as session:
        frame = session.step(heard[0])
    assert frame.index == 0
    assert frame.text_token == 3
    assert frame.codes is not None
    assert frame.codes.tolist() == [948, 243, 1178, 546, 1736, 1030, 1978, 2008]


@pytest.mark.parametrize("prompt", [None, "", "  \n", "<system> <system>"])
def test_without_a_prompt_two_silences_are_told(prompt: str | None, plex: Model, heard: NDArray[np.float32]) -> None:
    with plex.session(prompt=prompt) as session:
        assert session.offset == 12
        session.step(heard[0])


@pytest.mark.parametrize("prompt", ["You listen.", " You listen.\n", "<system> You listen. <system>"])
def test_tags_and_blanks_around_a_prompt_change_nothing(prompt: str, plex: Model, golden: Goldens) -> None:
    assert plex.tokenizer is not None
    expected = plex.tokenizer.encode("<system> You listen. <system>")
    with plex.session(prompt=prompt, cache=False) as session:
        assert session.offset == 12 + len(expected)
        text = session._native.ring()[0]
    with plex.session(prompt="You listen.", cache=False) as session:
        np.testing.assert_array_equal(text, session._native.ring()[0])


def test_voice_is_found_by_name_beside_the_model(voiced_folder: Path, golden: Goldens, device: str) -> None:
    with (
        pymoshi.load(voiced_folder, device=device, threads=1) as model,
        model.session(voice="natf2", prompt=PROMPT, **GREEDY) as session,
    ):
        np.testing.assert_array_equal(session._native.ring(), golden["embed.cache_after_prompt"][0])


def test_voice_that_was_read_can_be_given(plex: Model, fixtures: Path, golden: Goldens) -> None:
    voice = resolve_voice(fixtures / "personaplex" / "voice.pt")
    with plex.session(voice=voice, prompt=PROMPT, **GREEDY) as session:
        np.testing.assert_array_equal(session._native.ring(), golden["embed.cache_after_prompt"][0])


def test_voice_of_another_model_is_refused(plex: Model, tmp_path: Path, golden: Goldens) -> None:
    save_file(
        {"embeddings": np.ones((4, 1, 1, 64), np.float32), "cache": golden["voice_pt.cache"]},
        tmp_path / "v.safetensors",
    )
    with pytest.raises(pymoshi.VoiceError, match=r"\[4, 64\].*\[frames, 32\]"):
        plex.session(voice=tmp_path / "v.safetensors")


def test_voice_with_another_token_ring_is_refused(plex: Model, tmp_path: Path, golden: Goldens) -> None:
    for ring in (golden["voice_pt.cache"][:, :9], golden["voice_pt.cache"] + 4000):
        save_file({"embeddings": golden["voice_pt.embeddings"], "cache": ring.copy()}, tmp_path / "v.safetensors")
        with pytest.raises(pymoshi.VoiceError, match="does not fit"):
            plex.session(voice=tmp_path / "v.safetensors", cache=False)


@pytest.mark.parametrize(
    "codes", [np.zeros((9, 5), np.int32), np.full((8, 5), 2048, np.int32), np.full((8, 5), -1, np.int32), None]
)
def test_codes_that_the_model_has_not_are_refused(codes: NDArray[np.int32] | None, plex: Model) -> None:
    with pytest.raises(pymoshi.VoiceError, match="does not fit"):
        plex.session(voice=Voice("x", "nowhere", codes=codes))


def test_unknown_voice_says_where_it_was_looked_for(plex: Model) -> None:
    with pytest.raises(pymoshi.VoiceError, match=r"NATF1.*voices"):
        plex.session(voice="NATF1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"voice": 3}, "voice must be"), ({"prompt": b"x"}, "prompt must be"), ({"prompt": "x" * 9000}, "9000")],
)
def test_what_is_neither_voice_nor_prompt_is_refused(arguments: dict[str, Any], words: str, plex: Model) -> None:
    with pytest.raises(pymoshi.InputError, match=words):
        plex.session(**arguments)


def test_prompt_needs_the_tokenizer(personaplex_folder: Path, tmp_path: Path, device: str) -> None:
    folder = tmp_path / "plex"
    shutil.copytree(personaplex_folder, folder)
    (folder / "tokenizer.model").unlink()
    with pymoshi.load(folder, device=device, threads=1) as model:
        with pytest.raises(pymoshi.InputError, match="--tokenizer"):
            model.session(prompt=PROMPT)
        with model.session() as session:  # without a prompt, there is nothing to encode
            assert session.offset == 12


def test_recording_needs_the_codec(personaplex_folder: Path, fixtures: Path, tmp_path: Path, device: str) -> None:
    folder = tmp_path / "plex"
    shutil.copytree(personaplex_folder, folder)
    (folder / "mimi-f32.gguf").unlink()
    with pymoshi.load(folder, device=device, threads=1) as model:
        with pytest.raises(pymoshi.UnsupportedModelError, match="codec"):
            model.session(voice=fixtures / "personaplex" / "voice.wav")
        with model.session(voice=fixtures / "personaplex" / "voice.pt", prompt=PROMPT) as session:
            assert session.offset == FRAMES


def test_constants_that_are_no_codes_are_refused(personaplex_folder: Path, tmp_path: Path, device: str) -> None:
    folder = tmp_path / "plex"
    shutil.copytree(personaplex_folder, folder)
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace("948", "9948"), encoding="utf-8")
    with (
        pymoshi.load(folder, device=device, threads=1) as model,
        pytest.raises(pymoshi.ModelFormatError, match="silence_tokens"),
    ):
        model.session()


def test_other_models_take_no_prompt(model: Model) -> None:
    with pytest.raises(pymoshi.InputError, match="leave out voice and prompt, or load a PersonaPlex"):
        model.session(voice="NATF0", prompt="")
    assert not model.has_personas


def test_progress_rises_to_one(path: str, plex: Model, fixtures: Path) -> None:
    seen: list[float] = []
    voice = fixtures / "personaplex" / VOICES[path]
    plex.session(voice=voice, prompt=PROMPT, progress=seen.append, cache=False).close()
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert (seen[0] < 1, seen[-1]) == (True, 1)


def test_progress_can_stop_the_prompt(path: str, plex: Model, fixtures: Path) -> None:
    seen: list[float] = []

    def stop(fraction: float) -> bool:
        seen.append(fraction)
        return len(seen) < 2

    with pytest.raises(pymoshi.Cancelled):
        plex.session(voice=fixtures / "personaplex" / VOICES[path], prompt=PROMPT, progress=stop, cache=False)
    assert len(seen) == 2


@pytest.mark.skipif(os.name == "nt", reason="sends itself a signal, as a terminal does for Ctrl-C")
def test_ctrl_c_stops_the_prompt(plex: Model, fixtures: Path) -> None:
    assert threading.current_thread() is threading.main_thread()
    seen: list[float] = []

    def press(fraction: float) -> None:
        seen.append(fraction)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        plex.session(voice=fixtures / "personaplex" / "voice.wav", prompt=PROMPT, progress=press, cache=False)
    assert seen[-1] < 1


def test_prompt_beyond_the_memory_is_told_with_a_warning(plex: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pymoshi"), plex.session(prompt=PROMPT, context=16) as session:
        assert session.offset > 16
    assert "more than the 16" in caplog.text
