"""How well the echo goes, and how well the user stays, in a synthetic room.

    python benchmarks/echo.py                      # every canceller that is installed
    python benchmarks/echo.py --far A.wav --near B.wav

The room: 60 ms from speaker to microphone, a reverberation of 0.3 s, a loudspeaker that distorts a little, noise at
-65 dBFS. For 20 s the model speaks alone, for 20 s both speak, equally loud at the microphone, for 20 s the user alone.

| column | |
|---|---|
| ERLE | echo return loss enhancement, how much less of the model's voice: in the 2nd and 10th second, from the 5th on |
| echo, both | how much less of it while both speak |
| user, both; user alone | how much of the user's voice remains; 0 dB is all |
| delay | what the canceller adds |
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from table import table

from pymoshi.audio import files
from pymoshi.audio.echo import EchoCanceller, LiveKitCanceller, WebRtcCanceller

Signal = NDArray[np.float64]

PART = 20  # s
UNITS = ("_db", "_ms", "_percent")
ROOT = Path(__file__).parent.parent
USER, WOMAN, MAN = (
    ROOT / name
    for name in ("pymoshi/demo/user.ogg", "tests/fixtures/voices/annie-0.ogg", "tests/fixtures/voices/m7-1.ogg")
)
PAIRS = [(WOMAN, USER), (USER, MAN), (MAN, WOMAN)]  # the model's voice, the user's


def speech(path: Path, rate: int, roll: float = 0.0) -> Signal:
    """So long as the scene, without its pauses, at -20 dBFS."""
    pcm = files.read(path, rate).astype(float)
    blocks = pcm[: pcm.size // (rate // 10) * (rate // 10)].reshape(-1, rate // 10)
    loud = np.sqrt((blocks**2).mean(axis=1))
    spoken = np.roll(blocks[loud > 0.1 * loud.max()].ravel(), round(roll * rate))
    said = np.resize(spoken, 3 * PART * rate)
    return 0.1 * said / np.sqrt((said**2).mean())


def in_room(played: Signal, rate: int, delay: float, seed: int) -> Signal:
    """`played` as it comes to the microphone."""
    n = round(0.35 * rate)
    impulse = np.random.default_rng(seed).standard_normal(n) * 10 ** (-3 * np.arange(n) / rate / 0.3) * 0.25
    impulse[0] = 1.0
    impulse *= 0.7 / np.sqrt((impulse**2).sum())
    size = played.size + n
    heard = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(impulse, size), size)[: played.size]
    return np.concatenate([np.zeros(round(delay * rate)), heard])[: played.size]


def level(signal: NDArray[np.floating[Any]]) -> float:
    """dB."""
    return float(10 * np.log10((signal.astype(float) ** 2).mean() + 1e-12))


def lag(part: Signal, whole: Signal, most: int) -> int:
    """Samples by which `part` comes later in `whole`."""
    size = 2 * part.size
    products = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)), size)
    return int(np.argmax(products[:most]))


def share(part: NDArray[np.floating[Any]], whole: NDArray[np.floating[Any]], size: int = 4096) -> float:
    """How much of `part`, [n], is in `whole`, in dB; delays of a fraction of `size` and a changed tone do not count."""
    window = np.hanning(size)
    starts = range(0, min(part.size, whole.size) - size, size // 2)
    parts = np.array([np.fft.rfft(window * part[at : at + size]) for at in starts])
    wholes = np.array([np.fft.rfft(window * whole[at : at + size]) for at in starts])
    energy = (np.abs(parts) ** 2).mean(axis=0)
    common = np.abs((wholes * parts.conj()).mean(axis=0)) ** 2 / (energy + 1e-12)
    return float(10 * np.log10(common.sum() / energy.sum()))


def measure(make: Callable[[int], EchoCanceller], rate: int, far_file: Path, near_file: Path) -> dict[str, float | str]:
    """One canceller at one rate."""
    far, user = speech(far_file, rate), speech(near_file, rate, roll=5.0)
    far[2 * PART * rate :] = 0
    user[: PART * rate] = 0
    echo = in_room(np.tanh(1.5 * far) / 1.5, rate, 0.06, seed=1)
    near = in_room(user, rate, 0.0, seed=2)
    noise = np.random.default_rng(3).standard_normal(far.size) * 10 ** (-65 / 20)
    recorded, played = np.float32(echo + near + noise), np.float32(far)

    canceller = make(rate)
    block = rate // 100
    started = time.process_time()
    out = np.concatenate(
        [canceller.process(recorded[at : at + block], played[at : at + block]) for at in range(0, far.size, block)]
    ).astype(float)
    cpu = (time.process_time() - started) / (3 * PART)

    def seconds(begin: float, end: float) -> slice:
        return slice(round(begin * rate), round(end * rate))

    def erle(begin: float, end: float) -> float:
        return level((echo + noise)[seconds(begin, end)]) - level(out[seconds(begin, end)])

    both, alone = seconds(PART + 2, 2 * PART), seconds(2 * PART + 2, 3 * PART)
    late = lag(near[alone], out[alone], rate // 20)
    shifted = np.concatenate([out[late:], np.zeros(late)])
    return {
        "canceller": canceller.name,
        "rate_hz": rate,
        "erle_2s_db": round(erle(1, 2), 1),
        "erle_10s_db": round(erle(9, 10), 1),
        "erle_db": round(erle(5, PART), 1),
        "echo_both_db": round(share(echo[both], shifted[both]) - share(echo[both], recorded[both].astype(float)), 1),
        "user_both_db": round(share(near[both], shifted[both]), 1),
        "user_alone_db": round(share(near[alone], shifted[alone]), 1),
        "delay_ms": round(1000 * late / rate, 1),
        "cpu_percent": round(100 * cpu, 2),
    }


def mean(results: list[dict[str, float | str]]) -> dict[str, float | str]:
    """Of every figure."""
    return {
        key: round(sum(float(result[key]) for result in results) / len(results), 2) if key.endswith(UNITS) else value
        for key, value in results[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--far", type=Path, help="the model's voice; if not given, three pairs of voices are averaged")
    parser.add_argument("--near", type=Path, help="the user's voice")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pairs = [(options.far, options.near)] if options.far and options.near else PAIRS
    results = []
    for make in (WebRtcCanceller, LiveKitCanceller):
        for rate in (24_000, 48_000):
            try:
                results.append(mean([measure(make, rate, far, near) for far, near in pairs]))
            except ImportError as error:
                print(f"{make.name}: not installed ({error})")
                break
    if options.json:
        print(json.dumps(results))
        return
    head = [
        "canceller",
        "Hz",
        "ERLE 2 s",
        "10 s",
        "5-20 s",
        "echo, both",
        "user, both",
        "user alone",
        "delay ms",
        "CPU %",
    ]
    print(table(head, [list(result.values()) for result in results]))


if __name__ == "__main__":
    main()
