"""config.json: reading it strictly, the published defaults, and the rule that turns it into GGUF metadata."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pymoshi.errors import ModelFormatError, UnsupportedModelError

Scalar = bool | int | float | str
Metadata = dict[str, Scalar | list[Scalar]]

MAX_CONFIG_BYTES = 1 << 20  # a published config.json has two or three KB
MAX_DEPTH = 16
MAX_STREAMS = 64  # moshi.h: MOSHI_MAX_CODEBOOKS
_KEY = re.compile(r"[A-Za-z0-9_.\-]+")
_MAX_KEY = 256

# Kyutai's loader falls back on these when a repository has no config.json (moshiko, moshika, PersonaPlex 7B).
MOSHI_7B: dict[str, Any] = {
    "dim": 4096,
    "text_card": 32000,
    "existing_text_padding_id": 3,
    "n_q": 16,
    "dep_q": 8,
    "card": 2048,
    "num_heads": 32,
    "num_layers": 32,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 3000,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_dim_feedforward": 4224,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
}

# The one Mimi that every published checkpoint of the family uses.
MIMI_24KHZ: dict[str, Any] = {
    "sample_rate": 24000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": 512,
        "causal": True,
        "n_filters": 64,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [8, 6, 5, 4],
        "true_skip": True,
    },
    "quantizer": {"dimension": 256, "n_q": 32, "bins": 2048, "input_dimension": 512, "output_dimension": 512},
    "transformer": {
        "d_model": 512,
        "num_heads": 8,
        "num_layers": 8,
        "causal": True,
        "layer_scale": 0.01,
        "context": 250,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 2048,
        "input_dimension": 512,
        "output_dimensions": [512],
    },
}

DEFAULT_MOSHI_NAME = "model.safetensors"
DEFAULT_MIMI_NAME = "tokenizer-e351c8d8-checkpoint125.safetensors"
DEFAULT_TOKENIZER_NAME = "tokenizer_spm_32k_3.model"


@dataclass(frozen=True)
class Range:
    """What a number in a config may be. `low` and `high` are included."""

    low: float
    high: float
    integer: bool = True


_DIM, _COUNT = Range(1, 1 << 16), Range(1, 1024)
_LM_NUMBERS: dict[str, Range] = {
    "dim": _DIM,
    "num_heads": _COUNT,
    "num_layers": _COUNT,
    "n_q": Range(0, MAX_STREAMS),
    "dep_q": Range(0, MAX_STREAMS),
    "card": Range(1, 1 << 20),
    "text_card": Range(1, 1 << 24),
    "text_card_out": Range(1, 1 << 24),
    "existing_text_padding_id": Range(0, 1 << 24),
    "context": Range(1, 1 << 20),
    "kv_repeat": _COUNT,
    "hidden_scale": Range(1e-3, 64, integer=False),
    "max_period": Range(1, 1e12, integer=False),
    "depformer_dim": _DIM,
    "depformer_num_heads": _COUNT,
    "depformer_num_layers": _COUNT,
    "depformer_dim_feedforward": Range(1, 1 << 20),
    "depformer_low_rank_embeddings": Range(0, 1 << 16),
    "extra_heads_num_heads": Range(0, 64),
    "extra_heads_dim": Range(1, 4096),
}
_FILE_KEYS = ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lora_name")
_LM_FLAGS = ("causal", "depformer_multi_linear", "depformer_weights_per_step", "demux_second_stream", "cross_attention")
_LM_STRINGS = (
    "model_type", "norm", "gating", "positional_embedding", "depformer_gating", "depformer_pos_emb", *_FILE_KEYS,
)  # fmt: skip
_LM_REQUIRED = (
    "dim", "num_heads", "num_layers", "n_q", "dep_q", "card", "text_card", "delays", "hidden_scale", "context",
)  # fmt: skip
_MIMI_NUMBERS: dict[str, Range] = {
    "sample_rate": Range(1000, 192000),
    "channels": Range(1, 1),
    "frame_rate": Range(0.1, 1000, integer=False),
    "seanet.dimension": _DIM,
    "seanet.n_filters": _DIM,
    "seanet.n_residual_layers": Range(1, 1),
    "seanet.compress": Range(1, 64),
    "seanet.kernel_size": Range(1, 64),
    "seanet.residual_kernel_size": Range(1, 64),
    "seanet.last_kernel_size": Range(1, 64),
    "quantizer.dimension": _DIM,
    "quantizer.n_q": Range(1, MAX_STREAMS),
    "quantizer.bins": Range(1, 1 << 20),
    "transformer.d_model": _DIM,
    "transformer.num_heads": _COUNT,
    "transformer.num_layers": _COUNT,
    "transformer.context": Range(1, 1 << 20),
    "transformer.dim_feedforward": Range(1, 1 << 20),
}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that nobody vouches for.

    Raises ModelFormatError for anything but one UTF-8 JSON object of sane size, depth and numbers.
    """
    try:
        if not path.is_file():
            raise ModelFormatError(f"{path}: expected a JSON file, found {'a folder' if path.is_dir() else 'nothing'}")
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise ModelFormatError(f"{path}: {size:,} bytes are too many for a config; at most {MAX_CONFIG_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{path}: not UTF-8 text at byte {error.start}; expected a JSON file") from None
    except OSError as error:
        raise ModelFormatError(f"{path}: cannot be read ({error.strerror})") from None

    def refuse_constant(token: str) -> NoReturn:
        raise ModelFormatError(f"{path}: contains {token}, which is not JSON")

    def finite(token: str) -> float:
        value = float(token)
        return value if math.isfinite(value) else refuse_constant(token)

    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    except json.JSONDecodeError as error:
        found = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise ModelFormatError(f"{path}: not JSON ({found})") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ModelFormatError(f"{path}: not an acceptable config ({error})") from None
    except RecursionError:
        raise ModelFormatError(f"{path}: nested too deeply; at most {MAX_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise ModelFormatError(f"{path}: expected a JSON object {{...}}, found {_kind(value)}")
    _check_depth(value, path)
    return value


def _check_depth(value: object, path: Path, depth: int = 1) -> None:
    if depth > MAX_DEPTH:
        raise ModelFormatError(f"{path}: nested too deeply; at most {MAX_DEPTH} levels")
    match value:
        case dict():
            for item in value.values():
                _check_depth(item, path, depth + 1)
        case list():
            for item in value:
                _check_depth(item, path, depth + 1)


def lm_config(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A language model's config with the 7B defaults filled in where the file says nothing of the architecture.

    `path` names the file in errors. Unknown keys are kept. Raises ModelFormatError (file, key, found, expected).
    """
    present = [key for key in _LM_REQUIRED if raw.get(key) is not None]
    if not present:  # NVIDIA's config.json exists only so that downloads are counted
        config = {**MOSHI_7B, **{key: value for key, value in raw.items() if value is not None}}
    elif missing := [key for key in _LM_REQUIRED if key not in present]:
        raise ModelFormatError(f"{path}: {', '.join(missing)} missing; expected all of {', '.join(_LM_REQUIRED)}")
    else:
        config = dict(raw)
    _check_numbers(config, _LM_NUMBERS, path)
    for key in _LM_FLAGS:
        _expect(config, key, bool, "true or false", path)
    for key in _LM_STRINGS:
        _expect(config, key, str, "text", path)
    for key in ("conditioners", "fuser", "lm_gen_config", "tts_config", "stt_config", "model_id"):
        _expect(config, key, dict, "an object", path)
    n_q, dep_q = config["n_q"], config["dep_q"]
    if dep_q > n_q:
        raise ModelFormatError(f"{path}: dep_q is {dep_q}; expected at most n_q = {n_q}")
    _check_ints(config, "delays", n_q + 1, Range(0, 1000), path)
    if config.get("depformer_weights_per_step_schedule") is not None:
        _check_ints(config, "depformer_weights_per_step_schedule", dep_q, Range(0, MAX_STREAMS - 1), path)
    if config["dim"] % config["num_heads"]:
        raise ModelFormatError(f"{path}: dim {config['dim']} is not a multiple of num_heads {config['num_heads']}")
    return config


def mimi_config(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A codec's config, checked; what the file leaves out is as in the published 24 kHz Mimi.

    Raises ModelFormatError (file, key, found, expected).
    """
    config: dict[str, Any] = {**MIMI_24KHZ, **raw}
    for section in ("seanet", "quantizer", "transformer"):
        _expect(config, section, dict, "an object", path)
        config[section] = {**MIMI_24KHZ[section], **(raw.get(section) or {})}
    flat = {f"{section}.{key}": value for section in ("seanet", "quantizer", "transformer")
            for key, value in config[section].items()} | config  # fmt: skip
    _check_numbers(flat, _MIMI_NUMBERS, path)
    ratios = config["seanet"]["ratios"]
    if not isinstance(ratios, list) or not 1 <= len(ratios) <= 16:
        raise ModelFormatError(f"{path}: seanet.ratios is {_kind(ratios)}; expected 1 to 16 integers")
    _check_ints(flat, "seanet.ratios", len(ratios), Range(1, 64), path)
    return config


def is_personaplex(config: Mapping[str, Any]) -> bool:
    """Whether a model predicts its user's streams too, which among Moshi 7B's kin only PersonaPlex does."""
    named = config.get("model_type")
    if named is not None:
        return bool(named == "personaplex")
    return bool(config["n_q"] == config["dep_q"] == 16 and not config.get("tts_config"))


_OWN_GENERAL = {"architecture", "name", "alignment", "quantization_version", "file_type"}  # the writer's


def lm_metadata(config: Mapping[str, Any]) -> Metadata:
    """What a config says of a language model. File names are not part of it: they may change."""
    return described({key: value for key, value in config.items() if key not in _FILE_KEYS}, "moshi")


def described(config: Mapping[str, Any], prefix: str) -> Metadata:
    """Hyper-parameters under `prefix`; what `config["general"]` tells of licence and origin under GGUF's own `general.`

    Raises ModelFormatError as `flatten` does, and for anything but texts in there.
    """
    about = config.get("general") or {}
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise ModelFormatError(f"config key general is {str(about)[:80]!r}; expected an object of texts")
    if own := about.keys() & _OWN_GENERAL:
        raise ModelFormatError(f"config key general.{min(own)} is not for a config to say; leave it out")
    rest = {key: value for key, value in config.items() if key != "general"}
    return flatten(about, "general") | flatten(rest, prefix)


def flatten(config: Mapping[str, Any], prefix: str) -> Metadata:
    """Metadata by the one rule: keys joined with dots under `prefix`; null and lists of objects are left out.

    Raises ModelFormatError for a key that neither GGUF nor a `key=value` line could carry.
    """
    flat: Metadata = {}
    for key, value in config.items():
        name = f"{prefix}.{key}"
        if not _KEY.fullmatch(key) or len(name) > _MAX_KEY:
            raise ModelFormatError(
                f"config key {name[:80]!r} cannot be stored; expected up to {_MAX_KEY} letters, digits and _ . -"
            )
        if isinstance(value, dict):
            entries = flatten(value, name)
        else:
            kept = _list_of_one_type(value) if isinstance(value, list) else value
            entries = {} if kept is None else {name: kept}
        if twice := entries.keys() & flat.keys():
            raise ModelFormatError(f"config key {sorted(twice)[0]} occurs twice, nested and with dots")
        flat |= entries
    return flat


def metadata_lines(metadata: Metadata) -> str:
    """The text form for files without metadata of their own: one `key=value` a line, arrays joined with commas."""
    lines = []
    for key, value in metadata.items():
        text = ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
        if any(ord(character) < ord(" ") for character in text):
            raise ModelFormatError(f"config key {key} contains a line break or another control character")
        lines.append(f"{key}={text}\n")
    return "".join(lines)


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_of_one_type(values: list[Any]) -> list[Scalar] | None:
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    return list(values) if len(kinds) == 1 and kinds <= {bool, int, float, str} else None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)[:40]
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"


def _expect(config: Mapping[str, Any], key: str, kind: type, expected: str, path: Path) -> None:
    value = config.get(key)
    if value is not None and not isinstance(value, kind):
        raise ModelFormatError(f"{path}: {key} is {_kind(value)}; expected {expected}")


def _check_numbers(config: Mapping[str, Any], ranges: Mapping[str, Range], path: Path) -> None:
    for key, allowed in ranges.items():
        value = config.get(key)
        if value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(value, list) and key == "depformer_dim_feedforward":
            raise UnsupportedModelError(f"{path}: depformer_dim_feedforward differs from step to step")
        if not number or (allowed.integer and value != int(value)) or not allowed.low <= value <= allowed.high:
            what = "an integer" if allowed.integer else "a number"
            raise ModelFormatError(f"{path}: {key} is {_kind(value)}; expected {what} {allowed.low} to {allowed.high}")


def _check_ints(config: Mapping[str, Any], key: str, count: int, allowed: Range, path: Path) -> None:
    values = config.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise ModelFormatError(f"{path}: {key} is {_kind(values)}; expected {count} integers")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not allowed.low <= value <= allowed.high:
            low, high = allowed.low, allowed.high
            raise ModelFormatError(f"{path}: {key} contains {_kind(value)}; expected integers {low} to {high}")
