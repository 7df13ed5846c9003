"""What the reference package makes of the bundled files: the golden conversation of tests/parity/test_demo.py.

    python -m training.golden pymoshi/models/demo pymoshi/demo/user.ogg tests/fixtures/demo

Weights are taken from the GGUF files as they are rounded there, and computed with in f32, greedily. Written are
golden.npz (user_codes int16 [8, T]; tokens int16 [T, 9], text first, -2 where there is nothing yet), heard.flac, and
golden.flac, the voice in 24 bits.
"""

import re
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from pymoshi.hub.names import LM_PREFIX, MIMI_PREFIX, stored_name
from training import codec, language
from training.audio import FRAME, RATE, Sound, as_float, as_int16, resampled

NOTHING = -2
FRAMES = 500


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors, in f32."""
    reader = gguf.GGUFReader(path)
    return {
        tensor.name: torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).copy())
        for tensor in reader.tensors
    }


@torch.no_grad()
def _fill(model: Any, tensors: dict[str, Tensor], prefix: str) -> None:
    """Gives every parameter its tensor, whatever it is called in the file."""
    for name, value in model.state_dict().items():
        if name.endswith("_codebook._initialized"):
            value.fill_(1)
        elif name.endswith("_codebook.cluster_usage"):
            value.fill_(1)  # the file's codebooks are divided by it already
        else:
            stored = stored_name(prefix + re.sub(r"_codebook\.embedding_sum$", "_codebook.embedding", name))
            value.copy_(tensors[stored].reshape(value.shape))


def _converse(ears: Any, mind: Any, heard: Sound) -> tuple[NDArray[np.int16], NDArray[np.int16], Sound]:
    from moshi.models import LMGen

    generator = LMGen(mind, use_sampling=False)
    codes, tokens, said = [], [], []
    voice = codec.build().eval()
    voice.load_state_dict(ears.state_dict())
    with torch.no_grad(), ears.streaming(1), voice.streaming(1), generator.streaming(1):
        for start in range(0, len(heard), FRAME):
            column = ears.encode(torch.tensor(heard[start : start + FRAME])[None, None])
            codes.append(column[0, :, 0].numpy())
            found = generator.step(column)
            if found is None:
                tokens.append(np.full(1 + codec.CODEBOOKS, NOTHING))
                said.append(np.zeros(FRAME, np.float32))
            else:
                tokens.append(found[0, :, 0].numpy())
                said.append(voice.decode(found[:, 1:])[0, 0].numpy())
    return np.stack(codes, 1).astype(np.int16), np.stack(tokens).astype(np.int16), np.concatenate(said)


def main(folder: Path, recording: Path, target: Path) -> None:
    ears, mind = codec.build().eval(), language.build().eval()
    _fill(ears, _read(next(folder.glob("mimi-*.gguf"))), MIMI_PREFIX)
    _fill(mind, _read(next(folder.glob("model-*.gguf"))), LM_PREFIX)
    sound, rate = soundfile.read(recording, dtype="float32", always_2d=True)
    heard = np.resize(resampled(sound[:, 0], rate), FRAMES * FRAME)
    # With a microphone's noise: digital silence lies between two codes, nearer to each other than the reference's
    # distances are exact. And as 16-bit samples hold it, so that the file says exactly what was heard.
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(len(heard))
    heard = as_float(as_int16((heard + hiss).astype(np.float32)))
    codes, tokens, said = _converse(ears, mind, heard)
    target.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target / "golden.npz", user_codes=codes, tokens=tokens)
    soundfile.write(target / "golden.flac", said, RATE, "PCM_24")
    soundfile.write(target / "heard.flac", as_int16(heard), RATE, "PCM_16")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
