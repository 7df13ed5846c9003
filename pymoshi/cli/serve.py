"""`pymoshi serve`: a page to talk on, and an API."""

import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pymoshi.cli.console import offer, say
from pymoshi.cli.model_options import (
    MODEL_PANEL,
    ContextOption,
    DeviceOption,
    MimiOption,
    ModelName,
    TemperatureOption,
    TextTemperatureOption,
    TextTopKOption,
    ThreadsOption,
    TokenizerOption,
    TopKOption,
)
from pymoshi.cli.role import PersonaOption, PromptFileOption, PromptOption, VoiceOption
from pymoshi.errors import InputError
from pymoshi.personas import choose_prompt, wrap_prompt

if TYPE_CHECKING:
    from pymoshi.server import Settings

_SERVER = "Server"


def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.", rich_help_panel=_SERVER)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 finds a free one.", rich_help_panel=_SERVER)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="PYMOSHI_TOKEN",
            help='What clients have to know; "auto" draws one. Needed where other machines can reach the server.',
            rich_help_panel=_SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another name that it is called by, e.g. a proxy's.", rich_help_panel=_SERVER
        ),
    ] = None,
    ssl: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with cert.pem and key.pem.", rich_help_panel=_SERVER)
    ] = None,
    ssl_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate, PEM.", rich_help_panel=_SERVER)
    ] = None,
    ssl_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.", rich_help_panel=_SERVER)] = None,
    idle_unload: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Without a call for so long, the model's memory is given back; 0: after every call.",
            rich_help_panel=_SERVER,
        ),
    ] = 300.0,
    log_text: Annotated[
        bool, typer.Option("--log-text", help="Log what the model says.", rich_help_panel=_SERVER)
    ] = False,
    voice: VoiceOption = None,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
    persona: PersonaOption = None,
    model: ModelName = "demo",
    mimi: MimiOption = None,
    tokenizer: TokenizerOption = None,
    seed: Annotated[int | None, typer.Option(help="Of every call.", rich_help_panel=MODEL_PANEL)] = None,
    temperature: TemperatureOption = None,
    text_temperature: TextTemperatureOption = None,
    top_k: TopKOption = None,
    text_top_k: TextTopKOption = None,
    context: ContextOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Serve a page to talk on, and the WebSocket of Kyutai's and NVIDIA's clients (/api/chat).

    The model's options are those of every call; the page and clients may name others.
    """
    _check_installed()
    from pymoshi.server.options import CallOptions
    from pymoshi.server.serve import certificate_in, serve
    from pymoshi.server.settings import Settings

    if ssl is not None:
        if ssl_cert is not None or ssl_key is not None:
            raise InputError("--ssl names a folder with both; leave out --ssl-cert and --ssl-key.")
        ssl_cert, ssl_key = certificate_in(ssl)
    said, chosen = choose_prompt(prompt, prompt_file, persona)
    wrap_prompt(said or "")
    settings = Settings(
        host=host,
        port=port,
        defaults=CallOptions(
            model=model,
            voice=voice or (chosen.voice if chosen else None),
            trusted_voice=True,
            prompt=said,
            seed=seed,
            temperature=temperature,
            text_temperature=text_temperature,
            top_k=top_k,
            text_top_k=text_top_k,
            context=context,
        ),
        device=device,
        threads=threads,
        mimi=mimi,
        tokenizer=tokenizer,
        token=secrets.token_urlsafe(18) if token == "auto" else token,
        allow_hosts=tuple(allow_host or ()),
        ssl_cert=ssl_cert,
        ssl_key=ssl_key,
        idle_unload=idle_unload,
        log_text=log_text,
    )
    offer(model)
    _check_options(settings)
    if log_text:
        logging.getLogger("pymoshi").setLevel(min(logging.INFO, logging.getLogger("pymoshi").level))
    try:
        serve(settings, lambda address: _tell(settings, address))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _check_installed() -> None:
    try:
        import fastapi
        import sphn
        import uvicorn
        import websockets
    except ImportError as error:
        raise InputError(f"{error}. The server needs: pip install 'pymoshi[serve]'") from error
    del fastapi, sphn, uvicorn, websockets


def _check_options(settings: "Settings") -> None:
    """What is wrong with the model's options, before somebody calls. Raises InputError, ModelNotFoundError."""
    from pydantic import ValidationError

    from pymoshi.hub.layout import resolve
    from pymoshi.server.schema import CallRequest, described

    defaults = settings.defaults
    names = ("seed", "temperature", "text_temperature", "top_k", "text_top_k", "context")
    try:
        CallRequest.model_validate({name: getattr(defaults, name) for name in names})
    except ValidationError as error:
        raise InputError(described(error.errors(), {name: f"--{name.replace('_', '-')}" for name in names})) from None
    resolve(defaults.model or "demo", mimi=settings.mimi, tokenizer=settings.tokenizer)


def _tell(settings: "Settings", address: str) -> None:
    from pymoshi.server.settings import is_loopback

    secret = "" if settings.token is None or os.environ.get("PYMOSHI_TOKEN") else f"?token={settings.token}"
    say(f"Talk with {settings.defaults.model} at {address}{secret}   (Ctrl-C ends)")
    if not is_loopback(settings.host) and settings.ssl_cert is None:
        say(
            "Without TLS (--ssl) everybody on the way can listen, and browsers give pages from other machines no "
            "microphone. A tunnel does without: ssh -L 8000:localhost:8000 THIS_MACHINE"
        )
