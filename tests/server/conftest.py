"""A server that the tests of a module share, and the speech that clients say to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pymoshi.audio import files
from server.running import RunningServer
from server.spec_client import SpecClient

# It needs the package moshi, without its dependencies; the section `clients` of .ci/run has it.
collect_ignore = [] if os.environ.get("PYMOSHI_TEST_MOSHI_CLIENT") else ["test_moshi_client.py"]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One that runs."""
    with RunningServer() as running:
        yield running


@pytest.fixture
def quiet(server: RunningServer) -> RunningServer:
    """The server, without a call."""
    server.http.post("/stop")
    with server.events() as events:
        events.until(lambda event: event.get("state") in ("ready", "failed"))
    return server


@pytest.fixture
def client(quiet: RunningServer) -> Iterator[SpecClient]:
    """Connected to the server, and listened to."""
    with SpecClient(quiet.connect("/api/chat")) as spec:
        spec.wait_until_ready()
        yield spec


@pytest.fixture(scope="session")
def question() -> NDArray[np.float32]:
    """Somebody says something after 3 s, [6 s at 24 kHz]."""
    return files.read(Path(__file__).parents[2] / "examples" / "question.flac")[: 6 * 24_000]
