"""What `talk` and `serve` let one choose of the model and its sampling."""

from pathlib import Path
from typing import Annotated

import typer

MODEL_PANEL = "Model"

ModelName = Annotated[str, typer.Option(help="A name, a folder or a .gguf file.", rich_help_panel=MODEL_PANEL)]
MimiOption = Annotated[
    Path | None, typer.Option(help="Codec to use instead of the one beside the model.", rich_help_panel=MODEL_PANEL)
]
TokenizerOption = Annotated[
    Path | None, typer.Option(help="Tokenizer to use instead of the one beside the model.", rich_help_panel=MODEL_PANEL)
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(help="Of the voice; 0 is greedy. (default: the model's)", rich_help_panel=MODEL_PANEL),
]
TextTemperatureOption = Annotated[
    float | None, typer.Option(help="Of the text. (default: the model's)", rich_help_panel=MODEL_PANEL)
]
TopKOption = Annotated[
    int | None, typer.Option(help="Of the voice; 0 is all. (default: the model's)", rich_help_panel=MODEL_PANEL)
]
TextTopKOption = Annotated[
    int | None, typer.Option(help="Of the text. (default: the model's)", rich_help_panel=MODEL_PANEL)
]
ContextOption = Annotated[
    int | None, typer.Option(help="Memory, in frames of 80 ms. (default: the model's)", rich_help_panel=MODEL_PANEL)
]
ThreadsOption = Annotated[
    int | None, typer.Option(help="CPU threads. (default: physical cores)", rich_help_panel=MODEL_PANEL)
]
DeviceOption = Annotated[
    str, typer.Option(help='Device to compute on, see "pymoshi devices".', rich_help_panel=MODEL_PANEL)
]
