"""A server of the tests' own: the real application on a real port, in a thread of this process."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import httpx
from fastapi import FastAPI
from websockets.sync.client import ClientConnection, connect

from pymoshi.server.options import CallOptions
from pymoshi.server.serve import Server, bind
from pymoshi.server.settings import Settings
from pymoshi.server.supervisor import Supervisor

PATIENCE = 30.0  # s until a wait has failed; a busy machine takes long


class RunningServer:
    """A context manager. `settings` are those of `Settings`, the port is a free one."""

    def __init__(self, **settings: Any) -> None:
        defaults = settings.pop("defaults", CallOptions(model="demo", seed=7))
        self.settings = Settings(port=0, defaults=defaults, threads=1, **settings)

    def __enter__(self) -> Self:
        self._listener = bind(self.settings)
        self.port = self._listener.getsockname()[1]
        self._server = Server(self.settings)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE, verify=False)
        self.http.get("/health").raise_for_status()  # the socket takes connections before the server answers them
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive(), "the server did not end"

    @property
    def url(self) -> str:
        return f"{self.settings.scheme}://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get("/status").raise_for_status().json()
        return answer

    def connect(self, path: str, **options: Any) -> AbstractContextManager[ClientConnection]:
        """A WebSocket, open as long as a `with`."""
        address = f"{self.url.replace('http', 'ws', 1)}{path}"
        connection: AbstractContextManager[ClientConnection] = connect(
            address, open_timeout=PATIENCE, compression=None, proxy=None, **options
        )
        return connection

    @contextmanager
    def events(self) -> Iterator["Events"]:
        """What /ws tells."""
        with self.connect("/ws", max_size=None, max_queue=None) as socket:
            yield Events(socket)

    @property
    def supervisor(self) -> Supervisor:
        supervisor: Supervisor = self._server.app.state.supervisor
        return supervisor

    @property
    def app(self) -> FastAPI:
        return self._server.app

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """In which the server runs."""
        return self._server.servers[0].get_loop()


class Events:
    """Reads events, and remembers them."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE))
        self.seen.append(event)
        return event

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event from now on that is wanted."""
        for _ in range(100_000):
            if wanted(event := self.next()):
                return event
        raise AssertionError("the event did not come")

    def until_state(self, state: str) -> dict[str, Any]:
        """The first event from now on that tells of this state."""
        return self.until(lambda event: event["type"] == "state" and event["state"] == state)

    @property
    def states(self) -> list[str]:
        """In the order in which they were entered."""
        states = [event["state"] for event in self.seen if event["type"] == "state"]
        return [state for i, state in enumerate(states) if i == 0 or states[i - 1] != state]
