"""A web page to talk with a model, by FastRTC.  pip install fastrtc && python fastrtc_app.py [MODEL]

FastRTC hands the browser's microphone to `receive` and plays what `emit` returns; echo cancelling is the browser's.
Each caller gets a conversation of its own; the weights are shared.
"""

import queue
import sys
from typing import Any

import numpy as np
from fastrtc import Stream, StreamHandler
from numpy.typing import NDArray

import pymoshi
from pymoshi.audio.capture import Capture

RATE = 24_000


class Outbox:
    """A sink that somebody else empties."""

    def __init__(self) -> None:
        self.frames: queue.Queue[NDArray[np.float32]] = queue.Queue()

    def write(self, pcm: NDArray[np.float32]) -> None:
        self.frames.put(pcm.copy())

    def queued(self) -> int:
        return 1920 * self.frames.qsize()

    def clear(self) -> None:
        while not self.frames.empty():
            self.frames.get_nowait()

    def close(self) -> None:
        self.clear()


class Caller(StreamHandler):  # type: ignore[misc]
    """One caller's conversation."""

    def __init__(self, model: pymoshi.Model) -> None:
        super().__init__("mono", output_sample_rate=RATE, input_sample_rate=RATE)
        self.model = model
        self.inbox, self.outbox = Capture(RATE), Outbox()
        self.conversation = pymoshi.Conversation(model, source=self.inbox, sink=self.outbox)

    def copy(self) -> "Caller":
        return Caller(self.model)

    def start_up(self) -> None:
        self.conversation.start()

    def receive(self, frame: tuple[int, NDArray[np.int16]]) -> None:
        _rate, samples = frame
        self.inbox.push(samples.reshape(-1).astype(np.float32) / np.float32(32768))

    def emit(self) -> tuple[int, NDArray[np.int16]] | None:
        try:
            pcm = self.outbox.frames.get(timeout=0.1)
        except queue.Empty:
            return None
        return RATE, (np.clip(pcm, -1, 1) * 32767).astype(np.int16).reshape(1, -1)

    def shutdown(self) -> None:
        self.conversation.close()


def main() -> None:
    model = pymoshi.load(sys.argv[1] if len(sys.argv) > 1 else "demo")
    options: dict[str, Any] = {"modality": "audio", "mode": "send-receive", "concurrency_limit": 2}
    Stream(Caller(model), **options).ui.launch()


if __name__ == "__main__":
    main()
