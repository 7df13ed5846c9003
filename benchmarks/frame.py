"""How long a frame of 80 ms takes, stage by stage, and how that compares with what the memory allows.

    python benchmarks/frame.py MODEL [--device cpu] [--threads 8] [--context 3000] [--frames 100] [--fill 0]

MODEL: as for `pymoshi talk --model`; `pymoshi synth personaplex` makes one of the published size without a download.
"""

import argparse
import json
from time import perf_counter
from typing import Any

import numpy as np
from bandwidth import read_bandwidth
from table import table
from traffic import Traffic, traffic

import pymoshi

STAGES = ("encode", "lm", "decode", "total")
WARM_UP = 8  # frames: graphs are built, weights come from the disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of the CPU; the physical cores by default")
    parser.add_argument("--context", type=int, help="frames remembered; the model's by default")
    parser.add_argument("--kv-type", default="f16", choices=("f16", "f32", "q8_0", "bf16"))
    parser.add_argument("--frames", type=int, default=100, help="measured (%(default)s)")
    parser.add_argument("--fill", type=int, default=0, help="frames that are in the memory beforehand (%(default)s)")
    parser.add_argument("--bandwidth", type=float, help="GB/s of the device's memory; measured on the CPU by default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with pymoshi.load(options.model, device=options.device, threads=options.threads) as model:
        times = measure(model, options)
        remembered = options.fill + WARM_UP + options.frames // 2
        read = traffic(model, kv_type=options.kv_type, remembered=min(remembered, options.context or remembered))
        on_cpu = model.info.device == "cpu"
        bandwidth = options.bandwidth and options.bandwidth * 1e9
        if bandwidth is None and on_cpu:
            bandwidth = read_bandwidth(model.info.n_threads)
        result = summary(model, times, read, bandwidth) | {"fill": options.fill, "frames": options.frames}
    print(json.dumps(result, indent=2) if options.json else report(result))


def measure(model: pymoshi.Model, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of each measured frame, by stage."""
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with model.session(seed=0, context=options.context, kv_type=options.kv_type) as session:
        if options.fill:
            session._native.reset(0)  # without voice and prompt, that the memory holds just what is asked for
            session._native.prefill(random_tokens(model, options.fill), None, None)
        for index in range(WARM_UP + options.frames):
            pcm = rng.uniform(-0.1, 0.1, model.frame_size).astype(np.float32)
            start = perf_counter()
            frame = session.step(pcm)
            total = (perf_counter() - start) * 1e3
            if index >= WARM_UP:
                for stage, ms in zip(STAGES, (frame.encode_ms, frame.lm_ms, frame.decode_ms, total), strict=True):
                    times[stage].append(ms)
    return times


def random_tokens(model: pymoshi.Model, frames: int) -> Any:
    """int32 [frames, 1 + n_q]: a prompt of nothing in particular."""
    rng = np.random.default_rng(1)
    info = model.info
    text = rng.integers(0, info.text_card, (frames, 1))
    return np.hstack([text, rng.integers(0, info.card, (frames, info.n_q))]).astype(np.int32)


def summary(
    model: pymoshi.Model, times: dict[str, list[float]], read: Traffic, bandwidth: float | None
) -> dict[str, Any]:
    """Everything that was found out, in numbers."""
    info = model.info
    stages = {}
    for stage in STAGES:
        median, p95 = (float(np.percentile(times[stage], q)) for q in (50, 95))
        n_bytes = getattr(read, stage)
        bound = n_bytes / bandwidth * 1e3 if bandwidth else None
        stages[stage] = {
            "median_ms": median, "p95_ms": p95, "bytes": n_bytes, "bound_ms": bound,
            "ratio": median / bound if bound else None,
        }  # fmt: skip
    return {
        "model": model.name, "model_type": info.model_type, "weight_type": info.weight_type, "device": info.device,
        "threads": info.n_threads, "kv_bytes": read.kv, "bandwidth": bandwidth, "stages": stages,
    }  # fmt: skip


def report(result: dict[str, Any]) -> str:
    """The same for people."""
    rows = []
    for stage, found in result["stages"].items():
        bound = ["-", "-"]
        if found["bound_ms"]:
            bound = [f"{found['bound_ms']:.2f}", f"{found['ratio']:.2f}"]
        rows.append(
            [stage, f"{found['median_ms']:.2f}", f"{found['p95_ms']:.2f}", f"{found['bytes'] / 1e6:.1f}", *bound]
        )
    bandwidth = f"{result['bandwidth'] / 1e9:.1f} GB/s" if result["bandwidth"] else "unknown (--bandwidth)"
    real_time = 80 / result["stages"]["total"]["median_ms"]
    return "\n".join([
        f"{result['model']} ({result['model_type']}, {result['weight_type']}) on {result['device']}, "
        f"{result['threads']} threads; {result['frames']} frames after {result['fill']}",
        f"memory: {bandwidth}; of what is read, {result['kv_bytes'] / 1e6:.1f} MB are keys and values",
        "",
        table(["stage", "median ms", "p95 ms", "MB read", "bound ms", "median/bound"], rows),
        "",
        f"{real_time:.2f} times real time",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
