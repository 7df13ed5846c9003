"""The client of the package moshi, as it is on PyPI, converses with the server.

It runs unmodified. Its sound card is one of the test's own, and its package is entered without moshi/__init__.py,
which wants PyTorch: `pip install --no-deps moshi==0.2.13` and aiohttp are enough.
"""

import argparse
import asyncio
import importlib
import importlib.util
import io
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from server.running import PATIENCE, RunningServer


class Stream:
    """One direction of a sound card: calls back every 80 ms, as PortAudio does."""

    heard: ClassVar[list[NDArray[np.float32]]] = []
    said: ClassVar[NDArray[np.float32]] = np.zeros(0, np.float32)
    enough = threading.Event()
    """The user has heard what he wanted to."""
    plays: ClassVar[bool]

    def __init__(self, *, blocksize: int, callback: Any, **_: Any) -> None:
        self._n, self._callback = blocksize, callback
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        at, due = 0, time.monotonic()
        while not self._closed.wait(max(0.0, due - time.monotonic())):
            due += 0.08
            block = np.zeros((self._n, 1), np.float32)
            if not self.plays:
                rest = self.said[at : at + self._n]
                block[: rest.size, 0] = rest
                at += self._n
            self._callback(block, self._n, None, None)
            if self.plays:
                self.heard.append(block[:, 0].copy())
                if sum(float(np.abs(one).max()) > 0.02 for one in self.heard) > 5:
                    self.enough.set()


class InputStream(Stream):
    """The microphone."""

    plays = False


class OutputStream(Stream):
    """The speaker."""

    plays = True


@pytest.fixture
def moshi_client(monkeypatch: pytest.MonkeyPatch, question: NDArray[np.float32]) -> ModuleType:
    """moshi.client, from the folder where it is installed."""
    found = importlib.util.find_spec("moshi")
    assert found is not None, "pip install --no-deps moshi==0.2.13"
    assert found.submodule_search_locations is not None
    package = ModuleType("moshi_without_torch")
    package.__path__ = list(found.submodule_search_locations)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    card = SimpleNamespace(InputStream=InputStream, OutputStream=OutputStream)
    monkeypatch.setitem(sys.modules, "sounddevice", card)
    monkeypatch.setattr(Stream, "said", question)
    monkeypatch.setattr(Stream, "heard", [])
    monkeypatch.setattr(Stream, "enough", threading.Event())
    return importlib.import_module("moshi_without_torch.client")


def test_kyutais_client_converses(server: RunningServer, moshi_client: ModuleType) -> None:
    text, errors = io.StringIO(), io.StringIO()
    printer = importlib.import_module("moshi_without_torch.client_utils").RawPrinter(text, errors)
    asked = argparse.Namespace(host="127.0.0.1", port=server.port, https=False, url=None)

    async def talk() -> None:
        client = asyncio.create_task(moshi_client.run(printer, asked))
        enough = asyncio.create_task(asyncio.to_thread(Stream.enough.wait, PATIENCE))
        await asyncio.wait([client, enough], return_when=asyncio.FIRST_COMPLETED)
        status = await asyncio.to_thread(server.status)
        assert status["state"] == "listening"
        assert not client.done(), errors.getvalue()
        await asyncio.to_thread(server.http.post, "/stop")  # then the server hangs up, and the client ends by itself
        await asyncio.wait_for(client, PATIENCE)

    asyncio.run(talk())
    assert Stream.enough.is_set(), "the model was not heard"
    assert text.getvalue().strip(), "the model's words did not come"
    assert "Lost connection" not in errors.getvalue()
