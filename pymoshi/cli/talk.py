"""`pymoshi talk`: a conversation with microphone and speaker, or between files."""

from pathlib import Path
from typing import Annotated, Any

import typer

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
from pymoshi.cli.role import PersonaOption, PromptFileOption, PromptOption, RoleOptions, VoiceOption
from pymoshi.cli.talk_minutes import Outputs
from pymoshi.cli.talk_options import ModelOptions, TalkOptions, checked_kv_type
from pymoshi.errors import InputError

_LIVE = "Live conversation"
_FILES = "Between files, as fast as it goes"
_KEPT = "What is kept"


def talk_command(
    input_device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Microphone: a number, a name or part of it of `pymoshi devices --audio`; file:PATH or null instead "
            "of one. (default: the remembered or the system's)",
            rich_help_panel=_LIVE,
        ),
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Speaker, likewise.", rich_help_panel=_LIVE)
    ] = None,
    echo_cancel: Annotated[
        bool,
        typer.Option(
            "--echo-cancel/--no-echo-cancel",
            help="Keep the model from hearing itself through open speakers.",
            rich_help_panel=_LIVE,
        ),
    ] = True,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="Nothing to cancel: as --no-echo-cancel.", rich_help_panel=_LIVE)
    ] = False,
    push_to_talk: Annotated[
        bool,
        typer.Option(
            "--push-to-talk",
            help="The microphone is off until you press space, and off again when you press it once more.",
            rich_help_panel=_LIVE,
        ),
    ] = False,
    volume: Annotated[
        float | None, typer.Option(help="Of the model's voice, 0 to 4. (default: 1)", rich_help_panel=_LIVE)
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines instead of a picture of the conversation.", rich_help_panel=_LIVE)
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", "-i", help="What the model hears: WAV, FLAC, OGG, MP3, any rate.", rich_help_panel=_FILES
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="What it says, as long as the input: .wav or .flac.", rich_help_panel=_FILES
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Record both: you on the left, the model on the right; .wav or .flac.",
            rich_help_panel=_KEPT,
        ),
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Who spoke when, and the model's words: .txt, .srt, .vtt, or .json with all details.",
            rich_help_panel=_KEPT,
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="All that decided how it went, for `pymoshi replay FILE`. It holds your voice as it was heard.",
            rich_help_panel=_KEPT,
        ),
    ] = None,
    output_text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a JSON list with one piece of text a frame, as NVIDIA's script does.",
            rich_help_panel=_KEPT,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Write events to stdout, a line of JSON each.", rich_help_panel=_KEPT)
    ] = False,
    voice: VoiceOption = None,
    prompt: PromptOption = None,
    prompt_file: PromptFileOption = None,
    persona: PersonaOption = None,
    model: ModelName = "demo",
    mimi: MimiOption = None,
    tokenizer: TokenizerOption = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Repeat a conversation. (default: drawn, and reported)", rich_help_panel=MODEL_PANEL),
    ] = None,
    temperature: TemperatureOption = None,
    text_temperature: TextTemperatureOption = None,
    top_k: TopKOption = None,
    text_top_k: TextTopKOption = None,
    context: ContextOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    kv_type: Annotated[
        str, typer.Option(help="How the memory is stored: f16, f32, bf16 or q8_0.", rich_help_panel=MODEL_PANEL)
    ] = "f16",
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache",
            help="Keep voice and prompt ready for the next time; see pymoshi cache.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = True,
) -> None:
    """Talk with the model: through microphone and speaker, or between files with --input and --output.

    Live, the terminal shows who speaks and how the machine keeps up. Its keys:
    m mutes, i interrupts the model, + and - change the volume, q ends.
    Ctrl-C ends, too, and completes all files.
    """
    session: dict[str, Any] = {
        "seed": seed,
        "temperature": temperature,
        "text_temperature": text_temperature,
        "top_k": top_k,
        "text_top_k": text_top_k,
        "context": context,
        "kv_type": checked_kv_type(kv_type),
        "cache": cache,
    }
    asked = TalkOptions(
        ModelOptions(model, device, threads, mimi, tokenizer),
        RoleOptions(voice, prompt, prompt_file, persona),
        session,
        Outputs(record, transcript, output_text, replay),
        json,
    )
    if source is None and target is None:
        from pymoshi.cli.talk_live import LiveOptions, talk_live

        cancel = echo_cancel and not headphones
        loudness = 1.0 if volume is None else volume
        talk_live(asked, LiveOptions(input_device, output_device, cancel, plain, push_to_talk, loudness))
        return
    from pymoshi.cli.talk_files import talk_between_files

    live_only = {
        "--input-device": input_device is not None,
        "--output-device": output_device is not None,
        "--no-echo-cancel": not echo_cancel,
        "--headphones": headphones,
        "--push-to-talk": push_to_talk,
        "--volume": volume is not None,
        "--plain": plain,
    }
    _refuse_half(source, target, [name for name, given in live_only.items() if given])
    assert source is not None
    assert target is not None
    talk_between_files(asked, source, target)


def _refuse_half(source: Path | None, target: Path | None, live_only: list[str]) -> None:
    """Both files, and nothing that is about devices. Raises InputError."""
    if source is None:
        raise InputError(
            "--output goes with --input. For a live conversation: --record FILE, or --output-device file:PATH."
        )
    if target is None:
        raise InputError(
            "--input goes with --output. To let a file speak in a live conversation: --input-device file:PATH."
        )
    if live_only:
        raise InputError(f"Between files there is no {' and no '.join(live_only)}: that is for a live conversation.")
