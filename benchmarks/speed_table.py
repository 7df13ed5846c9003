"""The table of speeds in README.md beside this file: each row by a `pymoshi bench` of its own, on full-size models.

    python benchmarks/speed_table.py [--rows first full codec] [--threads 2] [--keep FOLDER]

It needs 12 GB of memory, and some minutes: most of them fill the memory of a conversation for the row that says so.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from pymoshi import bench
from pymoshi.bench import Result

CONTEXT, FILL = 3000, 2900
FRAMES = 242  # with those that warm up, the first 250

Row = tuple[str, ...]
HEAD = ("what", "median", "95 % within", "bound", "median of bound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=["first", "full", "codec"], choices=["first", "full", "codec"])
    parser.add_argument("--threads", type=int, default=2, help="besides one (%(default)s)")
    parser.add_argument("--model", type=Path, help="a PersonaPlex in q4_K; one of random weights by default")
    parser.add_argument("--keep", type=Path, help="an existing folder for the results as JSON")
    options = parser.parse_args()
    needed = options.model is None and {"first", "full"} & set(options.rows)
    made = bench.synthetic_model("personaplex-7b") if needed else nullcontext(options.model)
    with made as model, tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for row in chain((HEAD, ("---",) * len(HEAD)), rows(options, model, folder)):
            print("| " + " | ".join(row) + " |", flush=True)


def rows(options: argparse.Namespace, model: Path | None, folder: Path) -> Iterator[Row]:
    """In the order of the table, each as soon as it is measured."""
    many = options.threads
    if "first" in options.rows:
        for threads in (1, many):
            first = measured(folder, f"first-{threads}", "--model", model, "--threads", threads, "--context", CONTEXT)
            yield stage(f"language model, PersonaPlex q4_K, first 250 frames, {_threads(threads)}", first, "lm")
            if threads == many:
                yield stage(f"all of a frame, {_threads(threads)}", first, "frame")
                yield (f"load, warm, {_threads(threads)}", f"{first.load.warm:.2f} s", "", "", "")
    if "full" in options.rows:
        full = measured(
            folder, f"full-{many}", "--model", model, "--threads", many, "--context", CONTEXT, "--fill", FILL
        )  # fmt: skip
        yield stage(f"language model with {FILL} frames remembered, {_threads(many)}", full, "lm")
        if full.memory.peak:
            yield (f"memory, all of context {CONTEXT} in use", f"{full.memory.peak / 1e9:.2f} GB", "", "", "")
    if "codec" in options.rows:
        codec = measured(folder, "codec-1", "--synthetic", "mimi", "--threads", 1)
        yield stage("codec, encode, 8 codebooks, 1 thread", codec, "encode")
        yield stage("codec, decode, 8 codebooks, 1 thread", codec, "decode")


def measured(folder: Path, name: str, *arguments: object) -> Result:
    """A fresh process for each: what one has taken of the memory is not the next one's."""
    path = folder / f"{name}.json"
    command = [*map(str, arguments), "--device", "cpu", "--frames", str(FRAMES), "--json", str(path)]
    print("pymoshi bench", shlex.join(command), file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "pymoshi", "bench", *command], check=True, stdout=subprocess.DEVNULL)
    result = bench.read(path)
    for note in result.notes:
        print(f"  note: {note}", file=sys.stderr, flush=True)
    return result


def stage(what: str, result: Result, name: str) -> Row:
    """A row about a stage."""
    found = result.stages[name]
    n_bytes, speed = found.n_bytes / 1e9, result.reading.bytes_per_second / 1e9
    bound = f"{found.bound_ms:.1f} ms ({n_bytes:.2f} GB at {speed:.1f} GB/s)"
    return what, f"{found.p50_ms:.1f} ms", f"{found.p95_ms:.1f}", bound, f"{found.p50_ms / found.bound_ms:.2f}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


if __name__ == "__main__":
    main()
