"""`pymoshi mimi encode|decode`: the codec alone, between sound files and files of codes."""

import zipfile
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from pymoshi.audio import files
from pymoshi.cli.console import load_model, say
from pymoshi.cli.output import check_outputs, replacing
from pymoshi.errors import InputError
from pymoshi.mimi import Window

mimi_app = typer.Typer(help="Encode sound as Mimi codes, and decode them.", no_args_is_help=True)

_LARGEST_CODES: Final = 1 << 30  # bytes; half a year of speech

ModelOption = Annotated[str, typer.Option(help="Model whose codec to use: a name, a folder or a .gguf file.")]
DeviceOption = Annotated[str, typer.Option(help='Device to compute on, see "pymoshi devices".')]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads. (default: physical cores)")]
CodebooksOption = Annotated[int | None, typer.Option(help="Codebooks to use. (default: all there are)")]
WindowOption = Annotated[str, typer.Option(help='"modern" as live conversations, "full" as offline encoding.')]


@mimi_app.command("encode")
def encode_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Sound file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File of codes to write, .npz or .npy.")],
    codebooks: CodebooksOption = None,
    model: ModelOption = "demo",
    window: WindowOption = "modern",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Encode a sound file as codes, int32 [codebooks, frames of 80 ms]; .npz remembers the length of the sound, too."""
    check_outputs([source], [target])
    if target.suffix.lower() not in (".npz", ".npy"):
        raise InputError(f"{target} must end in .npz or .npy.")
    pcm = files.read(source)
    with load_model(model, device=device, threads=threads, codec_only=True) as loaded:
        codes = loaded.mimi.encode(pcm, codebooks, window=_window(window))
    with replacing(target) as file:
        if target.suffix.lower() == ".npy":
            np.save(file, codes, allow_pickle=False)
        else:
            np.savez_compressed(file, codes=codes, samples=np.int64(pcm.size), sample_rate=np.int64(files.SAMPLE_RATE))
    say(f"{target}: {codes.shape[0]} codebooks, {codes.shape[1]} frames")


@mimi_app.command("decode")
def decode_command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File of codes, .npz or .npy.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Sound file to write, .wav or .flac.")],
    codebooks: CodebooksOption = None,
    model: ModelOption = "demo",
    window: WindowOption = "modern",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Decode a file of codes into a sound file."""
    check_outputs([source], [target])
    files.check_writable(target)
    codes, samples = _read_codes(source)
    if codebooks is not None and not 1 <= codebooks <= codes.shape[0]:
        raise InputError(f"{source} holds {codes.shape[0]} codebooks; --codebooks {codebooks} is not among them.")
    with load_model(model, device=device, threads=threads, codec_only=True) as loaded:
        pcm = loaded.mimi.decode(codes[:codebooks], window=_window(window))[:samples]
    with files.AudioWriter(target) as writer:
        writer.write(pcm)
    say(f"{target}: {pcm.size / files.SAMPLE_RATE:.2f} s")


def _window(name: str) -> Window:
    match name:
        case "modern" | "legacy" | "full":
            return name
    raise InputError(f'--window must be "modern", "legacy" or "full", not {name!r}.')


def _read_codes(path: Path) -> tuple[NDArray[Any], int | None]:
    """The codes, and how many samples they stand for if the file says so."""
    samples = None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("codes.npy").file_size > _LARGEST_CODES:
                    raise InputError(f"{path} claims to hold more than {_LARGEST_CODES >> 30} GiB of codes.")
            with np.load(path, allow_pickle=False) as stored:
                codes = stored["codes"]
                samples = int(stored["samples"]) if "samples" in stored else None
        else:
            codes = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (KeyError, ValueError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a file of codes as numpy or `pymoshi mimi encode` writes it: {error}"
        ) from error
    if codes.ndim != 2:
        raise InputError(f"{path} must hold codes [codebooks, frames]; found the shape {codes.shape}.")
    return codes, samples if samples is None or samples > 0 else None
