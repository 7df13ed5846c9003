"""How long a sound takes through pymoshi's own part: from the microphone's callback to the speaker's.

    python benchmarks/loop_latency.py --device card

The model is a parrot without a codec, so all that is left is the way: rings, echo canceller, resamplers, the wait for a
whole frame, the queue that keeps the speaker busy. Clicks are put into what the device recorded and looked for in what
it is given to play, by the count of samples, so that a busy machine's clock does not matter. The device's own latency
comes on top; it is printed as the driver reports it.

Without a sound card: python tests/sound_server/card.py python benchmarks/loop_latency.py --device card
"""

import argparse
import json
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pymoshi.audio.stream import DeviceStream, open_duplex
from pymoshi.conversation.controls import Controls
from pymoshi.conversation.events import Event, FrameDone
from pymoshi.conversation.loop import Loop
from pymoshi.session import Frame

Samples = NDArray[np.float32]
FRAME_MS = 80.0
EVERY = 0.53  # s between two clicks: all places within a frame get their turn
CLICK = 8  # samples
LOUD = 0.25


class Parrot:
    """Says what it hears."""

    def step(self, pcm: ArrayLike) -> Frame:
        return Frame(np.array(pcm, np.float32), "", None, None, np.zeros(0, np.int32), 0, 0.0, 0.0, 0.0)

    def force_text(self, token: int | None) -> None:
        del token


class Clicks:
    """Stands between a device's callbacks and the rings."""

    def __init__(self, stream: DeviceStream) -> None:
        capture, playout = stream._capture, stream._playout
        self._push, self._pull = capture.push, playout.pull
        self._rates = capture.rate, playout.rate
        self._pushed = self._pulled = 0
        self._next = round(6 * capture.rate)  # the queue finds its length in the first four seconds
        self.sent: list[float] = []  # s, by the microphone's count
        self.heard: list[float] = []  # s, by the speaker's
        capture.push, playout.pull = self.push, self.pull  # type: ignore[method-assign]

    def push(self, near: Samples, far: Samples | None = None) -> None:
        silent = np.zeros(len(near), np.float32)
        if self._next < self._pushed + silent.size - CLICK:
            at = max(0, self._next - self._pushed)
            silent[at : at + CLICK] = 0.9
            self.sent.append((self._pushed + at) / self._rates[0])
            self._next += round(EVERY * self._rates[0])
        self._pushed += silent.size
        self._push(silent, None if far is None else np.zeros_like(far))

    def pull(self, out: Samples) -> None:
        self._pull(out)
        loud = np.flatnonzero(np.abs(out) > LOUD)
        if loud.size:
            at = (self._pulled + int(loud[0])) / self._rates[1]
            if not self.heard or at - self.heard[-1] > EVERY / 2:
                self.heard.append(at)
        self._pulled += out.size

    def latencies(self) -> Iterator[float]:
        """Milliseconds, of each click that was heard before the next was sent."""
        for sent in self.sent:
            late = [heard - sent for heard in self.heard if 0 <= heard - sent < EVERY]
            if late:
                yield late[0] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", help="a sound device that records and plays; the default one if not given")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--echo-cancel", action="store_true", help="with the echo canceller on the way")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    controls = Controls()
    steps: list[float] = []

    def see(event: Event) -> None:
        if isinstance(event, FrameDone):
            steps.append(event.record.step_ms)

    with open_duplex(options.device, options.device, echo_cancel=options.echo_cancel) as stream:
        clicks = Clicks(stream)
        stop = threading.Timer(options.seconds, controls.stop)
        stop.start()
        Loop(Parrot(), stream, stream, see, controls=controls).run()
        stats, line = stream.stats(), stream._line
    through = np.array(list(clicks.latencies()))
    if through.size == 0 or line is None:
        raise SystemExit("no click came through: does the device run?")
    added = through - FRAME_MS
    result = {
        "clicks": int(through.size),
        "added_ms_median": round(float(np.median(added)), 1),
        "added_ms_p95": round(float(np.percentile(added, 95)), 1),
        "step_ms_median": round(float(np.median(steps)), 2),
        "driver_ms": [round(1000 * line.input_latency, 1), round(1000 * line.output_latency, 1)],
        "rate_hz": line.input_rate,
        "echo_canceller": stream.canceller,
        "underruns": stats.underruns,
        "xruns": stats.xruns,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['clicks']} clicks through the device at {line.input_rate} Hz, echo canceller: {stream.canceller}")
    median, most = result["added_ms_median"], result["added_ms_p95"]
    print(f"added beyond a frame of {FRAME_MS:.0f} ms: {median} ms, 95 % within {most} ms")
    print(f"the driver says of itself: {result['driver_ms'][0]} ms in, {result['driver_ms'][1]} ms out")
    print(f"underruns {stats.underruns}, xruns of the driver {stats.xruns}")


if __name__ == "__main__":
    main()
