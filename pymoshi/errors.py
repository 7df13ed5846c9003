"""Every exception that pymoshi raises on purpose.

All of them derive from `PymoshiError`, whose text is written for the person who reads it: what was found, what was
expected, what to do. Anything else that escapes from this package is a defect worth reporting.
"""


class PymoshiError(Exception):
    """Base of all errors of this package."""


class ModelNotFoundError(PymoshiError):
    """A model, or one of the files that it needs, is not where it was looked for."""


class ModelFormatError(PymoshiError):
    """A model file's content is not what it should be: truncated, foreign, misshapen, contradicting its config."""


class UnsupportedModelError(PymoshiError):
    """A well-formed model that this build cannot compute, or that cannot do what was asked of it."""


class DeviceError(PymoshiError):
    """No such compute device, or its driver failed."""


class OutOfMemoryError(PymoshiError):
    """The device or the machine has not enough memory for this model and these settings."""


class AudioDeviceError(PymoshiError):
    """A microphone or a speaker cannot be opened, or went away."""


class AudioFileError(PymoshiError):
    """A sound file cannot be read or written."""


class InputError(PymoshiError, ValueError):
    """An argument or an option has a value, a type or a shape that it cannot have."""


class StateError(PymoshiError):
    """Not possible now: the object is closed, or another thread is using it."""


class SnapshotError(StateError):
    """A snapshot is damaged, or belongs to another model, other settings or another version."""


class ReplayError(PymoshiError):
    """A replay bundle is damaged, or another model, device or version would be needed to run it again."""


class VoiceError(PymoshiError):
    """A voice is unknown, its file is damaged, or its recording cannot be used."""


class PersonaError(PymoshiError):
    """A persona is unknown, or the file that describes it is wrong."""


class DownloadError(PymoshiError):
    """A transfer failed. Running the same command again resumes it."""


class GatedModelError(DownloadError):
    """The model's authors ask for their licence to be accepted before the download."""


class DiskSpaceError(DownloadError):
    """There is not enough free disk space for the files."""


class ChecksumError(DownloadError):
    """A file arrived, but its content is not the published one."""


class OfflineError(DownloadError):
    """The network is needed, and cannot be reached or must not be used."""


class Cancelled(PymoshiError):
    """The work was stopped because a progress callback said so."""


class InternalError(PymoshiError):
    """A defect of pymoshi itself, or of its installation. Please report it."""
