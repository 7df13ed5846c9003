"""Files are written beside the conversation: a disk that stalls must not make a frame late."""

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, Self

from pymoshi.errors import PymoshiError

if TYPE_CHECKING:
    from pymoshi.conversation.events import FrameRecord
    from pymoshi.session import Session

_MOST_WAITING: Final = 750  # frames: a minute, 12 MB


class Keeper(Protocol):
    """Keeps frames: a `Recording`, a `ReplayWriter`, or an object of your own."""

    def add(self, record: "FrameRecord") -> None:
        """The next frame."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


class InBackground:
    """An observer of a conversation that passes each frame to a keeper, in a thread of its own.

    What the keeper raises is raised by the next `add`, or by `close`. A keeper that falls a minute behind fails.
    """

    def __init__(self, keeper: Keeper, name: str) -> None:
        self._keeper = keeper
        self._name = name
        # The one kind of queue whose locks no Ctrl-C can leave behind.
        self._waiting: queue.SimpleQueue[FrameRecord | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._told = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"pymoshi-{name}", daemon=True)
        self._thread.start()

    def add(self, record: "FrameRecord") -> None:
        """The next frame; does not wait. Raises what the keeper raised, PymoshiError if it is a minute behind."""
        self._tell_of_failure()
        if self._waiting.qsize() >= _MOST_WAITING:
            raise PymoshiError(f"The {self._name} is a minute behind: the disk is too slow.")
        self._waiting.put(record)

    def close(self) -> None:
        """Waits until all is written, and closes the keeper; closing twice is allowed. Raises what it raises."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        self._keeper.close()
        self._tell_of_failure()

    def _run(self) -> None:
        while (record := self._waiting.get()) is not None:
            if self._failure is None:  # after a failure the rest would follow a gap
                try:
                    self._keeper.add(record)
                except BaseException as error:  # raised again where somebody can hear of it
                    self._failure = error

    def _tell_of_failure(self) -> None:
        if self._failure is not None and not self._told:
            self._told = True
            raise self._failure

    def __str__(self) -> str:
        return f"The {self._name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class KeptFile:
    """A file that is opened when there is a session: a conversation that does not begin leaves none.

    An observer for `Conversation(observers=...)`, for example of a replay bundle:

        KeptFile("replay", lambda session: ReplayWriter("talk.replay", session, voice=voice, prompt=prompt))

    What `add` raises is told by the conversation, which goes on without it.
    """

    def __init__(self, name: str, open_file: "Callable[[Session], Keeper]") -> None:
        self.name = name
        self._open = open_file
        self._background: InBackground | None = None

    def begin(self, session: "Session") -> None:
        """Raises what opening the file raises."""
        self._background = InBackground(self._open(session), self.name)

    def add(self, record: "FrameRecord") -> None:
        """The next frame."""
        if self._background is not None:
            self._background.add(record)

    def close(self) -> None:
        """Completes the file; closing twice is allowed."""
        if self._background is not None:
            self._background.close()

    def __str__(self) -> str:
        return f"The {self.name}"
