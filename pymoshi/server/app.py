"""The web application: which address answers what."""

import asyncio
import html
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Body, FastAPI, HTTPException, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect

import pymoshi
from pymoshi.errors import InputError, PymoshiError, StateError
from pymoshi.server import library
from pymoshi.server.calls import Busy
from pymoshi.server.chat import Chat
from pymoshi.server.events import EventHub, Subscriber
from pymoshi.server.metrics import Metrics
from pymoshi.server.schema import MuteRequest, StartRequest, StopRequest, call_options, described
from pymoshi.server.security import Security
from pymoshi.server.settings import Settings
from pymoshi.server.supervisor import Supervisor

__all__ = ["create_app"]

log = logging.getLogger("pymoshi")

PAGE: Final = Path(__file__).with_name("page")
_MOST_PAGES: Final = 32
_SEND_WITHIN: Final = 10.0  # s that a page may take for one event
_T = TypeVar("_T")


def create_app(settings: Settings) -> FastAPI:
    """A server's application; `app.state.supervisor` runs its worker from the ASGI lifespan's start to its end."""
    hub, metrics = EventHub(), Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        supervisor = app.state.supervisor = Supervisor(settings, hub, metrics)
        supervisor.open()
        try:
            yield
        finally:
            await supervisor.close()

    app = FastAPI(
        title="pymoshi",
        version=pymoshi.__version__,
        description="Spoken full-duplex conversations. WebSockets: /ws has events, /api/chat is Kyutai's protocol.",
        lifespan=lifespan,
        docs_url=None,  # those of FastAPI come from a CDN
        redoc_url=None,
    )
    app.state.looking = asyncio.Lock()
    app.state.settings, app.state.hub, app.state.metrics = settings, hub, metrics
    app.include_router(_router)
    app.add_middleware(Security, settings=settings, metrics=metrics)
    app.add_exception_handler(RequestValidationError, _on_bad_request)
    app.add_exception_handler(PymoshiError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")
    return app


# ---- errors --------------------------------------------------------------------------------------------------------


async def _on_bad_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"reason": described(error.errors())}, 422)


async def _on_error(_request: Request, error: Exception) -> JSONResponse:
    match error:
        case Busy():
            code = 409
        case InputError():
            code = 422
        case StateError():
            code = 409
        case _:
            code = 503
    return JSONResponse({"reason": str(error)}, code)


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"reason": error.detail}, error.status_code)


# ---- HTTP ----------------------------------------------------------------------------------------------------------

_router = APIRouter()


def _supervisor(request: Request) -> Supervisor:
    supervisor: Supervisor = request.app.state.supervisor
    return supervisor


async def _aside(work: Callable[..., _T], *arguments: Any) -> _T:
    """In another thread: files and drivers must not keep the sound waiting."""
    return await asyncio.to_thread(work, *arguments)


@_router.get("/", response_class=HTMLResponse)
async def page() -> FileResponse:
    """The page."""
    index = PAGE / "index.html"
    if not index.is_file():
        raise HTTPException(404, "This installation has no page; the API is described at /docs.")
    return FileResponse(index, headers={"cache-control": "no-cache"})


@_router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """What the server is doing now, and the settings of the next call."""
    return _supervisor(request).status()


@_router.post("/start", status_code=202)
async def start(request: Request, asked: StartRequest) -> dict[str, Any]:
    """Begins a call with this machine's microphone and speaker, or prepares one for the browser's /api/chat."""
    supervisor = _supervisor(request)
    await _aside(library.check_model, asked.model, supervisor.settings)
    await supervisor.start(asked.mode, call_options(asked))
    return supervisor.status()


@_router.post("/stop", status_code=202)
async def stop(request: Request, asked: Annotated[StopRequest | None, Body()] = None) -> dict[str, Any]:
    """Ends the call, if there is one, and frees its memory; with `unload` also that of the model."""
    supervisor = _supervisor(request)
    call = supervisor.call
    supervisor.stop()
    if asked is not None and asked.unload:
        if call is not None:
            await call.ended.wait()
        await supervisor.unload()
    return supervisor.status()


@_router.post("/mute")
async def mute(request: Request, asked: MuteRequest) -> dict[str, Any]:
    """Whether the model hears silence instead of the caller."""
    supervisor = _supervisor(request)
    supervisor.mute(asked.muted)
    return supervisor.status()


@_router.get("/api/models")
async def models(request: Request) -> list[dict[str, Any]]:
    """Models that are here, and those that `pymoshi pull` could get."""
    return await _aside(library.models, request.app.state.settings)


@_router.get("/api/voices")
async def voices(request: Request, model: str | None = None) -> list[dict[str, Any]]:
    """Voices that a PersonaPlex model could speak with; none for other models."""
    return await _aside(library.voices, request.app.state.settings, model)


@_router.get("/api/voices/{name}/preview")
async def preview(request: Request, name: str) -> FileResponse:
    """How a voice sounds, if there is a recording of it."""
    path = await _aside(library.preview, request.app.state.settings, name)
    if path is None:
        raise HTTPException(404, "There is no preview of that voice.")
    return FileResponse(path, media_type="audio/wav")


@_router.get("/api/personas")
async def personas() -> list[dict[str, Any]]:
    """Prompts with names: the presets, and those of this machine's user."""
    return await _aside(library.personas)


@_router.get("/api/devices")
async def devices(request: Request) -> dict[str, list[dict[str, Any]]]:
    """This machine's microphones and speakers."""
    async with request.app.state.looking:  # each look is a process
        return await _aside(library.devices)


@_router.get("/recordings/latest.wav")
async def recording(request: Request) -> FileResponse:
    """The last call for which a recording was asked: the caller on the left, the model on the right."""
    path = _supervisor(request).recording()
    if path is None:
        raise HTTPException(404, "No call was recorded, or it has not ended yet.")
    return FileResponse(
        path, media_type="audio/wav", filename="conversation.wav", headers={"cache-control": "no-store"}
    )


@_router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """For those who watch over the server; needs no token."""
    supervisor = _supervisor(request)
    worker = "running" if supervisor.worker_pid is not None else "none"  # none: it ended after some idle time
    return {"status": "degraded" if supervisor.reason else "ok", "worker": worker, "state": str(supervisor.phase)}


@_router.get("/metrics", response_class=PlainTextResponse)
async def metrics_text(request: Request) -> PlainTextResponse:
    """Figures for Prometheus."""
    supervisor, metrics = _supervisor(request), request.app.state.metrics
    text = metrics.text(
        pages=len(request.app.state.hub),
        call_active=int(supervisor.call is not None),
        worker_up=int(supervisor.worker_pid is not None),
        model_loaded=int(supervisor.model is not None),
    )
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


@_router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The API in short."""
    schema = request.app.openapi()
    rows = [
        f"<dt><code>{method.upper()} {path}</code></dt><dd>{html.escape(entry.get('description', ''))}</dd>"
        for path, methods in schema["paths"].items()
        for method, entry in methods.items()
    ]
    text = html.escape(schema["info"]["description"])
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>pymoshi API</title><h1>pymoshi {pymoshi.__version__}</h1><p>{text} All details: "
        f'<a href="/openapi.json">openapi.json</a> (OpenAPI).</p><dl>{"".join(rows)}</dl></html>'
    )


# ---- WebSockets ----------------------------------------------------------------------------------------------------


@_router.websocket("/ws")
async def events(socket: WebSocket) -> None:
    """Events for a page, one JSON object a message."""
    hub: EventHub = socket.app.state.hub
    supervisor: Supervisor = socket.app.state.supervisor
    await socket.accept()
    if len(hub) >= _MOST_PAGES:
        await socket.close(1013, "too many pages")
        return
    subscriber = hub.add()
    tasks = [asyncio.create_task(_pass_on(socket, subscriber, supervisor)), asyncio.create_task(_until_gone(socket))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if isinstance(error, TimeoutError):
                with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                    await asyncio.wait_for(socket.close(1013, "too slow"), 1.0)
            elif error is not None and not isinstance(error, WebSocketDisconnect):
                raise error
    finally:
        hub.remove(subscriber)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(socket: WebSocket, subscriber: Subscriber, supervisor: Supervisor) -> None:
    """Sends what there is. Raises TimeoutError if the page does not take it."""
    await socket.send_json({"type": "state", **supervisor.status()})
    while (text := await subscriber.get()) is not None:
        async with asyncio.timeout(_SEND_WITHIN):
            await socket.send_text(text)
    raise TimeoutError


async def _until_gone(socket: WebSocket) -> None:
    """Pages say nothing but "ping", which needs no answer."""
    while (await socket.receive())["type"] == "websocket.receive":
        pass


@_router.websocket("/api/chat")
async def chat(socket: WebSocket) -> None:
    """A conversation, in the protocol of Kyutai's and NVIDIA's servers."""
    await Chat(socket, socket.app.state.supervisor, socket.app.state.metrics).run()
