"""Spoken full-duplex conversations with Moshi and PersonaPlex, on your own machine.

    model = pymoshi.load("demo")
    with model.session(seed=7) as session:
        frame = session.step(pcm)      # float32[1920], 24 kHz mono in [-1, 1]
        frame.audio, frame.text        # 80 ms of the model's voice, and what it says

    with pymoshi.Conversation("demo") as conversation:      # microphone and speaker
        for event in conversation: ...

`model.mimi` is the codec alone. Errors are those of `pymoshi.errors`, all under `PymoshiError`. Messages go to the
logger "pymoshi".
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pymoshi.errors import (
    AudioDeviceError,
    AudioFileError,
    Cancelled,
    ChecksumError,
    DeviceError,
    DiskSpaceError,
    DownloadError,
    GatedModelError,
    InputError,
    InternalError,
    ModelFormatError,
    ModelNotFoundError,
    OfflineError,
    OutOfMemoryError,
    PersonaError,
    PymoshiError,
    ReplayError,
    SnapshotError,
    StateError,
    UnsupportedModelError,
    VoiceError,
)
from pymoshi.mimi import Mimi, MimiStream
from pymoshi.model import Device, Model, ModelInfo, devices, load
from pymoshi.session import Frame, Session
from pymoshi.snapshot import Snapshot
from pymoshi.text import Tokenizer

if TYPE_CHECKING:
    from pymoshi.conversation import Conversation

try:
    __version__ = version("pymoshi")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "AudioDeviceError",
    "AudioFileError",
    "Cancelled",
    "ChecksumError",
    "Conversation",
    "Device",
    "DeviceError",
    "DiskSpaceError",
    "DownloadError",
    "Frame",
    "GatedModelError",
    "InputError",
    "InternalError",
    "Mimi",
    "MimiStream",
    "Model",
    "ModelFormatError",
    "ModelInfo",
    "ModelNotFoundError",
    "OfflineError",
    "OutOfMemoryError",
    "PersonaError",
    "PymoshiError",
    "ReplayError",
    "Session",
    "Snapshot",
    "SnapshotError",
    "StateError",
    "Tokenizer",
    "UnsupportedModelError",
    "VoiceError",
    "__version__",
    "devices",
    "load",
]


def __getattr__(name: str) -> Any:
    """Conversations bring sound and threads with them; who only computes does not wait for those."""
    if name == "Conversation":
        from pymoshi.conversation import Conversation

        return Conversation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
