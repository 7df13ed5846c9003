"""How much faster a prompt is computed in batches than step by step.

    python benchmarks/prefill.py MODEL [--device cpu] [--threads 8] [--positions 110]

A step is what a frame of conversation does: temporal transformer, depformer, sampling. A prompt needs the first only.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from table import table

import pymoshi
from pymoshi.bench.frames import random_tokens

BATCHES = (1, 8, 16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of the CPU; the physical cores by default")
    parser.add_argument("--positions", type=int, default=110, help="length of the prompt (%(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="positions at a time (%(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with pymoshi.load(options.model, device=options.device, threads=options.threads) as model:
        with model.session(seed=0) as session:
            seconds = measure(session, options.positions, options.batches)
        info = model.info
        result = {
            "model": model.name, "model_type": info.model_type, "weight_type": info.weight_type,
            "device": info.device, "threads": info.n_threads, "positions": options.positions, "seconds": seconds,
        }  # fmt: skip
    print(json.dumps(result, indent=2) if options.json else report(result))


def measure(session: pymoshi.Session, positions: int, batches: Sequence[int]) -> dict[str, float]:
    """Seconds for all positions: by single steps, and by batches of each size."""
    tokens = random_tokens(session.model, positions)
    heard = tokens[:, tokens.shape[1] - session.model.info.n_user :]

    def step_by_step(n: int) -> None:
        for row in heard[:n]:
            session.step_codes(row)

    def in_batches(n: int, size: int) -> None:
        for start in range(0, n, size):
            session._native.prefill(tokens[start : min(start + size, n)], None, None)

    ways: dict[str, tuple[Callable[[int], None], int]] = {"steps": (step_by_step, 2)}
    ways |= {str(size): (partial(in_batches, size=size), size) for size in batches}
    seconds = {}
    for name, (way, warm_up) in ways.items():
        session._native.reset(0)  # without voice and prompt
        way(min(warm_up, positions))  # builds the graph, and fetches weights from the disk
        session._native.reset(0)
        start = perf_counter()
        way(positions)
        seconds[name] = perf_counter() - start
    return seconds


def report(result: dict[str, Any]) -> str:
    """For people."""
    seconds, positions = result["seconds"], result["positions"]
    rows = [
        [
            "single steps" if name == "steps" else f"batches of {name}",
            f"{took:.3f}", f"{took / positions * 1e3:.2f}", f"{seconds['steps'] / took:.2f}",
        ]
        for name, took in seconds.items()
    ]  # fmt: skip
    return "\n".join([
        f"{result['model']} ({result['model_type']}, {result['weight_type']}) on {result['device']}, "
        f"{result['threads']} threads; {positions} positions",
        "",
        table(["", "s", "ms/position", "speed-up"], rows),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
