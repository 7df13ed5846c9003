"""How fast a model runs on this machine, and how that compares with what its memory allows: `pymoshi bench`.

    result = pymoshi.bench.measure("demo", frames=200)
    result.stages["lm"].p50_ms, result.real_time_factor
    pymoshi.bench.write(result, "today.json")
    pymoshi.bench.differences(pymoshi.bench.read("yesterday.json"), result)

A frame is 80 ms of sound; it is in time if all its stages together take less.
"""

from pymoshi.bench.compare import Row, differences, rows
from pymoshi.bench.measure import Options, measure
from pymoshi.bench.result import Result, Stage, read, write
from pymoshi.bench.synthetic import SYNTHETIC_NAMES, synthetic_model

__all__ = [
    "SYNTHETIC_NAMES",
    "Options",
    "Result",
    "Row",
    "Stage",
    "differences",
    "measure",
    "read",
    "rows",
    "synthetic_model",
    "write",
]
