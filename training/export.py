"""Checkpoints in the published naming, and from them the package's own GGUF files."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from training import codec, language
from training.script import KINDS, LINES

ABOUT = {
    "license": "MIT",
    "author": "pymoshi developers",
    "description": "Demonstration of full-duplex speech: reacts to when somebody speaks, not to what is said",
    "source.voice": "hibari-tts 0.2.1 (Apache-2.0), distilled from Kokoro-82M af_heart (Apache-2.0)",
}
SAMPLING = {"temp": 0.6, "temp_text": 0.6, "top_k": 50, "top_k_text": 25}
_PROJECTION = re.compile(r"(?P<layer>.*self_attn)\.(?P<side>in|out)_projs\.(?P<number>\d+)\.weight$")
_PACKED = {"in": "in_proj_weight", "out": "out_proj.weight"}


def export(folder: Path, codec_path: Path, ear_path: Path, language_path: Path, tokenizer: Path) -> None:
    """Writes a model folder as Kyutai publish theirs: safetensors, config.json, tokenizer; and script.json."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = codec.with_ear(torch.load(codec_path), torch.load(ear_path))
    ears = {name: value.float() for name, value in _packed(whole).items()}
    mind = {name: value.bfloat16() for name, value in _packed(torch.load(language_path)).items()}
    save_file(ears, folder / "mimi.safetensors")
    save_file(mind, folder / "model.safetensors")
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    _write(folder / "mimi_config.json", codec.CONFIG | {"general": ABOUT})
    files = {
        "model_type": "moshi",
        "moshi_name": "model.safetensors",
        "mimi_name": "mimi.safetensors",
        "mimi_config_name": "mimi_config.json",
        "tokenizer_name": "tokenizer.model",
        "lm_gen_config": SAMPLING,
    }
    _write(folder / "config.json", language.CONFIG | files | {"general": ABOUT})
    _write(folder / "script.json", _script())


def bundle(source: Path, target: Path) -> None:
    """Converts the folder of `export` into the files that the package carries."""
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pymoshi",
            "convert",
            str(source),
            "-o",
            str(target),
            "--quantize",
            "q8_0",
            "--mimi",
            "f16-all",
        ],
        check=True,
    )
    shutil.copyfile(source / "script.json", target / "script.json")


def _script() -> list[dict[str, str]]:
    """The lines as the package tells them: numbered within their kind."""
    counts = Counter[str]()
    lines = []
    for kind, text in zip(KINDS, LINES, strict=True):
        counts[kind] += 1
        lines.append({"id": f"{kind}{counts[kind]}", "kind": kind, "text": text})
    return lines


def _packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Attention projections of several steps in one tensor each, as the published files have them."""
    packed, parts = {}, dict[tuple[str, str], dict[int, Tensor]]()
    for name, value in weights.items():
        if found := _PROJECTION.match(name):
            parts.setdefault((found["layer"], found["side"]), {})[int(found["number"])] = value
        else:
            packed[name] = value.detach().contiguous().clone()
    for (layer, side), steps in parts.items():
        packed[f"{layer}.{_PACKED[side]}"] = torch.cat([steps[number] for number in range(len(steps))]).contiguous()
    return packed


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
