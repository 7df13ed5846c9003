"""A model: weights on a device, from which sessions and codec streams are made."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pymoshi import _native
from pymoshi.errors import InputError, ModelNotFoundError, UnsupportedModelError
from pymoshi.mimi import WINDOWS, Mimi, Window
from pymoshi.options import HOTTEST, LARGEST_TOP_K, one_of, real, whole
from pymoshi.session import KV_TYPES, KvType, Session
from pymoshi.text import Tokenizer

if TYPE_CHECKING:
    from pymoshi.hub.layout import ModelFiles
    from pymoshi.voices import Voice

_MOST_THREADS = 1024
_LONGEST_CONTEXT = 2**20  # 23 hours; memory is what limits it
_SMALL_BYTES = 64 << 20  # of files; the smallest published model has ten times as much


@dataclass(frozen=True, slots=True)
class Device:
    """A compute device, as ggml reports it."""

    name: str
    """What `load(device=...)` takes: "cpu", "cuda", "cuda:1", "vulkan", ..."""
    description: str
    is_gpu: bool
    memory_total: int
    """Bytes; 0 if the driver does not say."""
    memory_free: int


def devices() -> list[Device]:
    """All devices of this machine that this build can compute on, the CPU included."""
    return [Device(**fields) for fields in _native.devices()]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model is, and where it runs. The fields are those of `moshi_model_info` in moshi.h.

    A part that was not loaded (see has_lm, has_mimi) has zeros in its fields.
    """

    model_type: str
    """ "moshi", "personaplex", "stt", "tts", ...; "mimi" for a codec alone."""
    device: str
    device_reason: str
    """Why "auto" chose the device; "" if it was asked for by name."""
    weight_type: str
    """Type of most of the language model's bytes, e.g. "q4_K"."""
    fingerprint: int
    """Equal for equal weights and hyper-parameters."""
    weight_bytes: int
    has_lm: bool
    has_mimi: bool
    n_threads: int
    dim: int
    n_layers: int
    n_heads: int
    context: int
    """Frames of 80 ms that the model attends to."""
    text_card: int
    text_card_out: int
    card: int
    n_q: int
    """Audio streams in all, of which the depformer predicts dep_q."""
    dep_q: int
    n_user: int
    """Streams expected from the user, and heard from the model (n_agent)."""
    n_agent: int
    text_padding: int
    delays: tuple[int, ...] = field(repr=False)
    """Steps; text first, then n_q audio streams."""
    max_delay: int
    n_extra_heads: int
    extra_head_dim: int
    temperature: float
    """Sampling that the model's authors recommend, as are the next three."""
    text_temperature: float
    top_k: int
    text_top_k: int
    sample_rate: int
    frame_size: int
    mimi_codebooks: int
    mimi_card: int
    mimi_latent_dim: int
    mimi_context: int
    """Latents at 25 Hz that the codec's transformers attend to."""


def load(
    model: str | Path = "demo",
    *,
    device: str = "auto",
    threads: int | None = None,
    mimi: str | Path | None = None,
    tokenizer: str | Path | None = None,
    codec_only: bool = False,
    repack: bool = True,
    all_depformer_steps: bool = False,
    progress: Callable[[float], bool | None] | None = None,
) -> "Model":
    """Loads a model.

    model: "demo" (a small one that comes with this package), an alias, a folder or a .gguf file.
    device: "auto", or a name from `devices()`.
    threads: CPU threads; None for as many as this process has physical cores, or one for a model as small as the demo.
    mimi, tokenizer: files to use instead of those found beside the model.
    codec_only: load Mimi without the language model.
    repack: on the CPU, copy weights into the layout of the fastest kernels. False saves memory and loading time.
    all_depformer_steps: also load the steps whose samples are never used (PersonaPlex's guesses of the user's codes).
    progress: called with the fraction done, 0 to 1; returning False stops the load with `Cancelled`.

    Raises ModelNotFoundError, ModelFormatError, UnsupportedModelError, DeviceError, OutOfMemoryError, InputError.
    """
    from pymoshi.hub import layout  # here: only those who load a model pay for finding one

    asked = None if threads is None else whole("threads", threads, 1, _MOST_THREADS)
    files = layout.resolve(model, mimi=mimi, tokenizer=tokenizer)
    if codec_only and files.mimi is None:
        raise ModelNotFoundError(f"{files.name}: {files.missing.get('mimi', 'it is no Mimi codec')}.")
    native = _native.NativeModel(
        None if codec_only else files.lm,
        files.mimi,
        lm_metadata=files.lm_metadata,
        mimi_metadata=files.mimi_metadata,
        device=device,
        threads=_usual_threads(files) if asked is None else asked,
        repack=repack,
        all_depformer_steps=all_depformer_steps,
        progress=progress,
    )
    try:
        loaded = ModelInfo(**_trimmed(native.info()))
        vocabulary = None if files.tokenizer is None or codec_only else Tokenizer(files.tokenizer)
        return Model(native, loaded, files, vocabulary)
    except BaseException:
        native.close()
        raise


def _usual_threads(files: "ModelFiles") -> int:
    """0 for the engine's own choice. A small model's threads would wait for each other most of the time: where other
    programs compute, too, each of its many steps lasts until the last of them gets its turn.
    """
    paths = [path for path in (files.lm, files.mimi) if path is not None]
    return 1 if sum(path.stat().st_size for path in paths) < _SMALL_BYTES else 0


def _trimmed(info: dict[str, Any]) -> dict[str, Any]:
    """The C array of delays has room for the largest model; only the first 1 + n_q entries mean something."""
    streams = 1 + info["n_q"] if info["has_lm"] else 0
    return info | {"delays": info["delays"][:streams]}


class Model:
    """Loaded weights: immutable, and to be shared by any number of sessions and threads. Made by `load`.

    A context manager. Sessions and streams that were made from it outlive its `close`.
    """

    def __init__(
        self, native: _native.NativeModel, info: ModelInfo, files: "ModelFiles", tokenizer: Tokenizer | None
    ) -> None:
        self._native = native
        self.info = info
        self.files = files
        self.tokenizer = tokenizer
        """None if no tokenizer was found: sessions then speak, but their text stays empty."""

    @property
    def name(self) -> str:
        """What the model was found as, e.g. "demo"."""
        return self.files.name

    @property
    def sample_rate(self) -> int:
        """Samples per second of all audio that goes in and out: 24000."""
        return self.info.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples per frame: 1920."""
        return self.info.frame_size

    @property
    def frame_rate(self) -> float:
        """Frames per second: 12.5."""
        return self.info.sample_rate / self.info.frame_size if self.info.frame_size else 12.5

    @property
    def has_personas(self) -> bool:
        """Whether sessions take a voice and a prompt, as PersonaPlex's do; other models have a role of their own."""
        return self.info.model_type == "personaplex"

    @property
    def mimi(self) -> Mimi:
        """The codec. Raises UnsupportedModelError if the model was loaded without one."""
        if not self.info.has_mimi:
            reason = self.files.missing.get("mimi", "it is a language model alone")
            raise UnsupportedModelError(f"{self.name} was loaded without a Mimi codec: {reason}.")
        return Mimi(self._native, self.info.mimi_codebooks, self.info.mimi_card, self.info.frame_size)

    def session(
        self,
        *,
        voice: "str | Path | Voice | None" = None,
        prompt: str | None = None,
        seed: int | None = None,
        context: int | None = None,
        temperature: float | None = None,
        text_temperature: float | None = None,
        top_k: int | None = None,
        text_top_k: int | None = None,
        kv_type: KvType = "f16",
        flash: bool = True,
        window: Window = "modern",
        depformer_steps: int | None = None,
        taps: bool = False,
        cache: bool = True,
        progress: Callable[[float], bool | None] | None = None,
    ) -> Session:
        """Starts a conversation.

        voice: who speaks (PersonaPlex): a name ("NATF2", or one of your own), a voice file, a recording of somebody
            who has agreed to it, or a `pymoshi.voices.Voice`. None for no voice in particular.
        prompt: in which role (PersonaPlex), e.g. "You enjoy having a good conversation." None or "" for none; the
            model was trained with one, and `pymoshi.personas` has some.
        seed: of the random numbers, 0 to 2**64 - 1; None draws one, to be read from `Session.seed`.
        context: frames of 80 ms kept in memory; None for what the model was trained with.
        temperature, top_k: sampling of the audio; text_temperature, text_top_k: of the text. A temperature of 0 is
            greedy, a top_k of 0 means all; None for what the model's authors recommend.
        kv_type: how keys and values are stored, "f16", "f32", "bf16" or "q8_0".
        flash: fused attention where the device has it. False computes it by matrix products, as older engines do.
        window: which past the attention sees once the memory is full: "modern" (as Kyutai's package), "legacy"
            (as NVIDIA's, one frame less) or "full".
        depformer_steps: steps per frame; None for those whose result is used.
        taps: keep intermediate results for `Session.tap`.
        cache: keep the state after voice and prompt on disk, so that the next session with the same ones starts at
            once (see `pymoshi.persona_cache`).
        progress: called with the fraction of voice and prompt that is done, 0 to 1; returning False stops with
            `Cancelled`.

        A PersonaPlex session also holds a copy of its state after voice and prompt, for `Session.reset`: half a
        megabyte per frame of them at 7B, some 60 MB with a voice and a prompt of usual length.

        Raises InputError, VoiceError, AudioFileError, UnsupportedModelError (no language model), OutOfMemoryError,
        StateError (closed), Cancelled.
        """
        if not self.info.has_lm:
            raise UnsupportedModelError(f"{self.name} is a codec alone: it can encode and decode, but not converse.")
        params: dict[str, Any] = {
            "seed": secrets.randbits(32) if seed is None else whole("seed", seed, 0, 2**64 - 1),
            "kv_type": KV_TYPES[one_of("kv_type", kv_type, KV_TYPES)],
            "window": WINDOWS[one_of("window", window, WINDOWS)],
            "flash": bool(flash),
            "taps": bool(taps),
        }
        numbers: list[tuple[str, Any, Callable[..., float], float, float]] = [
            ("context", context, whole, 1, _LONGEST_CONTEXT),
            ("depformer_steps", depformer_steps, whole, 1, self.info.dep_q),
            ("temperature", temperature, real, 0, HOTTEST),
            ("text_temperature", text_temperature, real, 0, HOTTEST),
            ("top_k", top_k, whole, 0, LARGEST_TOP_K),
            ("text_top_k", text_top_k, whole, 0, LARGEST_TOP_K),
        ]
        params |= {name: fit(name, value, low, high) for name, value, fit, low, high in numbers if value is not None}
        if not self.has_personas:
            self._refuse_persona(voice, prompt)
            return Session(_native.NativeSession(self._native, **params), self)
        from pymoshi import priming  # here: voices bring the reading of sound files with them

        script = priming.write_script(self, voice, prompt)
        native = _native.NativeSession(self._native, **params)
        try:
            # A session with taps is there to be looked into: its prompt is computed, too.
            state = priming.start(native, self, script, window, cache=cache and not taps, progress=progress)
            return Session(native, self, state)
        except BaseException:
            native.close()
            raise

    def _refuse_persona(self, voice: object | None, prompt: object | None) -> None:
        asked = " and ".join(name for name, value in (("voice", voice), ("prompt", prompt)) if value is not None)
        if asked:
            raise InputError(
                f"{self.name} is a {self.info.model_type} model, which has one voice and one role of its own: "
                f"leave out {asked}, or load a PersonaPlex model."
            )

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Gives the weights back, as soon as no session needs them; closing twice is allowed."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pymoshi.Model {self.name!r} ({self.info.model_type}, {self.info.weight_type}) on {self.info.device}>"
