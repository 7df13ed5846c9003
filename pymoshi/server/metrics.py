"""Counters in Prometheus's text format. They hold numbers only: nothing of what was said, and nobody's address."""

from bisect import bisect_left
from collections import Counter
from typing import Final

__all__ = ["Metrics"]

_BUCKETS: Final = (5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 200.0, 500.0)  # ms; a frame lasts 80

_HELP: Final = {
    "calls_total": ("counter", "Calls that reached the state listening."),
    "calls_failed_total": ("counter", "Calls that ended with an error."),
    "calls_refused_total": ("counter", "Calls that were refused, by reason."),
    "requests_refused_total": ("counter", "Requests and connections that were refused, by reason."),
    "frames_total": ("counter", "Frames of 80 ms that were computed."),
    "frames_late_total": ("counter", "Frames that were done too late."),
    "shed_seconds_total": ("counter", "Seconds of input that were thrown away because too much waited."),
    "worker_starts_total": ("counter", "Worker processes that were started."),
    "worker_crashes_total": ("counter", "Worker processes that ended unasked."),
    "pages": ("gauge", "Connections to /ws."),
    "call_active": ("gauge", "Whether there is a call."),
    "worker_up": ("gauge", "Whether the worker's process runs."),
    "model_loaded": ("gauge", "Whether a model is in memory."),
}


class Metrics:
    """Numbers since the server started. Belongs to the event loop."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter()
        self._steps = [0] * (len(_BUCKETS) + 1)
        self._step_sum = 0.0

    def add(self, name: str, amount: float = 1, reason: str = "") -> None:
        """Counts."""
        assert name in _HELP
        self._values[name, reason] += amount  # type: ignore[assignment]  # a Counter counts floats as well

    def frame(self, step_ms: float, *, late: bool, shed_ms: float) -> None:
        """Counts a frame."""
        self.add("frames_total")
        self.add("frames_late_total", int(late))
        self.add("shed_seconds_total", shed_ms / 1000)
        self._steps[bisect_left(_BUCKETS, step_ms)] += 1
        self._step_sum += step_ms / 1000

    def text(self, **gauges: float) -> str:
        """All of it, for a scrape; `gauges` are those that are true now."""
        lines = []
        values = dict(self._values) | {(name, ""): value for name, value in gauges.items()}
        for name, (kind, text) in _HELP.items():
            lines += [f"# HELP pymoshi_{name} {text}", f"# TYPE pymoshi_{name} {kind}"]
            found = {reason: value for (key, reason), value in values.items() if key == name} or {"": 0}
            for reason, value in sorted(found.items()):
                label = f'{{reason="{reason}"}}' if reason else ""
                lines.append(f"pymoshi_{name}{label} {value:g}")
        return "\n".join([*lines, *self._histogram()]) + "\n"

    def _histogram(self) -> list[str]:
        name = "pymoshi_step_seconds"
        lines = [f"# HELP {name} Time to compute a frame of 80 ms.", f"# TYPE {name} histogram"]
        total = 0
        for edge, count in zip((*_BUCKETS, None), self._steps, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{"+Inf" if edge is None else edge / 1000}"}} {total}')
        return [*lines, f"{name}_sum {self._step_sum:g}", f"{name}_count {total}"]
