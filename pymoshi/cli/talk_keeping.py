"""The files that grow with a conversation: recording and replay bundle."""

from collections.abc import Callable

from pymoshi.background import InBackground, Keeper
from pymoshi.cli.role import Role
from pymoshi.cli.talk_minutes import Outputs
from pymoshi.conversation import FrameRecord
from pymoshi.recording import Recording
from pymoshi.replay import ReplayWriter
from pymoshi.session import Session


class KeptFile:
    """A file that is opened when there is a session: a conversation that does not begin leaves none.

    An observer; what it raises is told by the conversation, which goes on without it.
    """

    def __init__(self, name: str, open_file: Callable[[Session], Keeper]) -> None:
        self.name = name
        self._open = open_file
        self._background: InBackground | None = None

    def begin(self, session: Session) -> None:
        """Raises AudioFileError, ReplayError."""
        self._background = InBackground(self._open(session), self.name)

    def add(self, record: FrameRecord) -> None:
        """The next frame."""
        if self._background is not None:
            self._background.add(record)

    def close(self) -> None:
        """Completes the file; closing twice is allowed."""
        if self._background is not None:
            self._background.close()

    def __str__(self) -> str:
        return f"The {self.name}"


def kept_files(outputs: Outputs, role: Role) -> list[KeptFile]:
    """Those that were asked for."""
    kept = []
    if (recording := outputs.record) is not None:
        kept.append(KeptFile("recording", lambda _: Recording(recording)))
    if (bundle := outputs.replay) is not None:
        kept.append(
            KeptFile("replay", lambda session: ReplayWriter(bundle, session, voice=role.voice, prompt=role.prompt))
        )
    return kept
