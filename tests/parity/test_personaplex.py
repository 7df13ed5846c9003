"""PersonaPlex against NVIDIA's fork: both ways to give it a voice, the prompt in batches, 40 frames of conversation
with the fork's ring window (MODELS.md 3)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pymoshi
from pymoshi.audio import files

from .compare import HIDDEN, LOGITS, PCM, worst

Goldens = dict[str, NDArray[Any]]
DIM, PAD, INITIAL = 32, 3, 2048
SILENCE = [948, 243, 1178, 546, 1736, 1030, 1978, 2008]
SINE = [430, 1268, 381, 1611, 1095, 1495, 56, 472]
ALL_STEPS, USED_STEPS = 16, 8


@pytest.fixture(scope="module")
def golden(goldens: Callable[[str], Goldens]) -> Goldens:
    return goldens("personaplex")


@pytest.fixture(scope="module")
def model(personaplex_folder: Path, device: str) -> Iterator[pymoshi.Model]:
    with pymoshi.load(personaplex_folder, device=device, all_depformer_steps=True) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def voice_codes(model: pymoshi.Model, golden: Goldens) -> NDArray[np.int32]:
    pcm = golden["voice_pcm_normalized"].reshape(-1)
    with model.mimi.stream(n_codebooks=8, window="legacy") as stream:
        return stream.encode(np.concatenate([pcm, np.zeros(-len(pcm) % 1920, np.float32)]))


class Run:
    """A primed session and 40 frames, with everything that the goldens hold."""

    def __init__(self, model: pymoshi.Model, golden: Goldens, voice: NDArray[np.int32] | None, steps: int) -> None:
        self.hidden: list[NDArray[np.float32]] = []
        self.inputs: list[NDArray[np.float32]] = []
        self.text_logits: list[NDArray[np.float32]] = []
        self.depformer_logits: list[NDArray[np.float32]] = []
        self.frames: list[pymoshi.Frame] = []
        self.session = model.session(
            temperature=0, text_temperature=0, kv_type="f32", window="legacy", depformer_steps=steps, taps=True
        )
        with self.session:
            self._prime(golden, voice)
            self._converse(golden)

    def _prime(self, golden: Goldens, voice: NDArray[np.int32] | None) -> None:
        native = self.session._native
        native.reset(0)  # without a prompt of its own
        rows = []
        if voice is None:
            embeddings = golden["voice_pt.embeddings"].reshape(-1, DIM).astype(np.float32)
            self._prefill([[PAD, *[INITIAL] * 16]] * len(embeddings), embeddings)
            native.set_ring(golden["voice_pt.cache"][0].astype(np.int32))
        else:
            rows = [[PAD, *column, *SINE] for column in voice.T]
        silence = [[PAD, *SILENCE, *SINE]] * 6
        self._prefill(rows + silence + [[t, *SILENCE, *SINE] for t in golden["text_prompt_tokens"]] + silence, None)
        self.ring = np.array(native.ring())
        native.reset_codec()

    def _prefill(self, rows: list[list[Any]], embeddings: NDArray[np.float32] | None) -> None:
        self.session._native.prefill(np.array(rows, np.int32), embeddings, None)
        self._tap()

    def _tap(self) -> None:
        self.hidden.append(self.session.tap("transformer_out").reshape(-1, DIM))
        self.inputs.append(self.session.tap("lm_input").reshape(-1, 17))

    def _converse(self, golden: Goldens) -> None:
        pcm = files.read(Path(__file__).parents[1] / "fixtures" / "personaplex" / "user.wav")
        for frame in pcm.reshape(-1, 1920):
            self.frames.append(self.session.step(frame))
            self._tap()
            self.text_logits.append(self.session.tap("text_logits"))
            self.depformer_logits.append(self.session.tap("depformer_logits").reshape(-1, INITIAL))

    @property
    def tokens(self) -> NDArray[np.int32]:
        """[40, 9]: text, then the agent's codes."""
        rows = []
        for frame in self.frames:
            assert frame.text_token is not None
            assert frame.codes is not None
            rows.append([frame.text_token, *frame.codes])
        return np.array(rows, np.int32)

    @property
    def audio(self) -> NDArray[np.float32]:
        return np.concatenate([frame.audio for frame in self.frames])


@pytest.fixture(scope="module", params=["audio", "embed"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(path: str, model: pymoshi.Model, golden: Goldens, voice_codes: NDArray[np.int32]) -> Run:
    return Run(model, golden, voice_codes if path == "audio" else None, ALL_STEPS)


def test_the_voice_is_encoded_as_the_fork_encodes_it(voice_codes: NDArray[np.int32], golden: Goldens) -> None:
    np.testing.assert_array_equal(voice_codes, golden["voice_codes"][0])


def test_the_token_ring_after_the_prompt_is_the_fork_s(run: Run, path: str, golden: Goldens) -> None:
    np.testing.assert_array_equal(run.ring, golden[f"{path}.cache_after_prompt"][0])


def test_hidden_states_of_prompt_and_conversation_are_the_fork_s(run: Run, path: str, golden: Goldens) -> None:
    assert worst(np.concatenate(run.hidden), golden[f"{path}.transformer_out"]) < HIDDEN


def test_user_codes_are_never_overwritten(run: Run, path: str, golden: Goldens) -> None:
    """What the model is fed is what the fork feeds it, and its user half is what the codec heard, delays applied."""
    fed = np.concatenate(run.inputs)[-len(run.frames) :]
    np.testing.assert_array_equal(fed, golden[f"{path}.input_tokens"][-len(run.frames) :])
    heard = golden["audio.user_codes"]  # [8, 40]
    np.testing.assert_array_equal([frame.user_codes for frame in run.frames], heard.T)
    # The step of call n is fed column n - 1: codebook 0 as heard in call n - 1, the delayed others of call n - 2.
    np.testing.assert_array_equal(fed[1:, 9], heard[0, :-1])
    np.testing.assert_array_equal(fed[2:, 10:], heard[1:, :-2].T)


def test_every_token_of_the_conversation_is_the_fork_s(run: Run, path: str, golden: Goldens) -> None:
    np.testing.assert_array_equal(run.tokens, golden[f"{path}.out_tokens"][:, :9])


def test_the_agent_s_audio_is_the_fork_s(run: Run, golden: Goldens) -> None:
    assert worst(run.audio, golden["audio.pcm_out"].reshape(-1)) < PCM


def test_text_and_depformer_logits_are_the_fork_s(run: Run, golden: Goldens) -> None:
    assert worst(run.text_logits, golden["audio.text_logits"][-len(run.frames) :]) < LOGITS
    assert worst(run.depformer_logits[0], golden["audio.dep_logits_first_user_step"]) < LOGITS
    best = np.take_along_axis(np.array(run.depformer_logits), golden["audio.dep_top8_indices"].astype(np.int64), axis=2)
    assert worst(best, golden["audio.dep_top8_values"]) < LOGITS


def test_eight_steps_say_what_sixteen_say(
    model: pymoshi.Model, golden: Goldens, voice_codes: NDArray[np.int32], run: Run
) -> None:
    """The user half of the depformer is guesswork that nothing reads: without it, agent text and audio are the same."""
    short = Run(model, golden, voice_codes, USED_STEPS)
    np.testing.assert_array_equal(short.tokens, run.tokens)
    np.testing.assert_array_equal(short.audio, run.audio)
    assert short.depformer_logits[0].shape[0] == USED_STEPS
