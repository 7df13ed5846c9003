"""A live conversation to put into a program: `with Conversation(...) as c: for event in c: ...`"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar, Unpack, runtime_checkable

from pymoshi import forced_text
from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.ports import AudioSink, AudioSource
from pymoshi.conversation.controls import LOUDEST, Controls
from pymoshi.conversation.events import Ended, Event, Progress, State, StateChanged
from pymoshi.conversation.loop import Loop, LoopStats, Observer
from pymoshi.conversation.options import Options, parted
from pymoshi.conversation.queue import EventQueue
from pymoshi.errors import Cancelled, InputError, InternalError, PymoshiError, StateError, UnsupportedModelError
from pymoshi.model import Model, load
from pymoshi.options import real
from pymoshi.session import Session
from pymoshi.voices import Voice

_WAIT: Final = 0.2  # s: a wait without end would not notice Ctrl-C on Windows
_STEP: Final = 0.01  # of a progress that is worth an event
_STOP_WITHIN: Final = 30.0  # s: longer than any single step or batch of a prompt

logger = logging.getLogger("pymoshi")
_E = TypeVar("_E", bound=Event)


@runtime_checkable
class Beginner(Protocol):
    """An observer that wants the session, before its first frame. Optional."""

    def begin(self, session: Session) -> None: ...


@runtime_checkable
class Closer(Protocol):
    """An observer that has something to complete at the end. Optional."""

    def close(self) -> None: ...


class Conversation:
    """Somebody and the model, listening and speaking at the same time, until one stops it.

        with pymoshi.Conversation("personaplex", voice="NATF2", prompt="You are a friend.") as c:
            for event in c:
                match event:
                    case TextPiece(text=text):
                        print(text, end="", flush=True)

    model: a name, folder or file as `pymoshi.load` takes it; a `Model`, which may be shared by any number of
        conversations; or a `Session`, which then goes on from where it is. What was given is not closed.
    voice, prompt, seed: as `Model.session` takes them.
    source, sink: where the sound comes from and goes to (`pymoshi.audio.ports`, `pymoshi.audio.signals`); None for the
        machine's microphone and speaker.
    input_device, output_device: which of them, by index, name or part of it; None for the remembered or the usual ones.
    echo_cancel: keep the model from hearing itself through open speakers.
    record: a .wav or .flac file to write, the user on the left, the model on the right.
    muted, volume: how it starts.
    observers: objects with `add(record)`, called with every `FrameRecord` in the conversation's own thread: be quick.
        `begin(session)` before the first and `close()` after the last are called if they exist.
    options: further options of `load` and `Model.session`.

    Everything happens in a thread of its own, from `start` (or the beginning of the `with` block) on: loading,
    priming, talking. Errors in it are raised where events are fetched, or else at the end of the `with` block. All
    methods may be called from any thread; events go to one consumer.

    Events wait for a consumer up to a bound; then the oldest `FrameDone` are left out, see `events_left_out`. With a
    source that is not paced the conversation waits for the consumer instead.

    Raises InputError, TypeError at once for arguments that cannot be. In the thread: what `load` and `Model.session`
    raise, AudioDeviceError, AudioFileError.
    """

    def __init__(
        self,
        model: str | Path | Model | Session = "demo",
        *,
        voice: str | Path | Voice | None = None,
        prompt: str | None = None,
        seed: int | None = None,
        source: AudioSource | None = None,
        sink: AudioSink | None = None,
        input_device: int | str | None = None,
        output_device: int | str | None = None,
        echo_cancel: bool = True,
        record: str | Path | None = None,
        muted: bool = False,
        volume: float = 1.0,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        **options: Unpack[Options],
    ) -> None:
        load_options, session_options = parted(options)
        self._model: str | Path | Model | Session = model
        self._load_options = load_options
        self._session_options: dict[str, Any] = {"voice": voice, "prompt": prompt, "seed": seed, **session_options}
        _refuse_what_cannot_apply(model, load_options, self._session_options)
        self._source, self._sink = source, sink
        self._input, self._output, self._echo_cancel = input_device, output_device, echo_cancel
        self._record = None if record is None else Path(record)
        self._observers = list(observers)
        self._clock = clock or SystemClock()
        self._controls = Controls(muted=muted, volume=_checked_volume(volume))
        self._queue = EventQueue(lossless=not getattr(source, "paced", True))
        self._callbacks: list[tuple[type[Any], Callable[[Any], object]]] = []
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._loop: Loop | None = None
        self._state = State.LOADING
        self._error: BaseException | None = None

    # ---- what a program asks of it -----------------------------------------------------------------------------

    def mute(self) -> None:
        """From now on the model hears silence; it goes on speaking. Push-to-talk is `unmute` while the key is down."""
        self._controls.muted = True

    def unmute(self) -> None:
        self._controls.muted = False

    @property
    def muted(self) -> bool:
        return self._controls.muted

    def interrupt(self) -> None:
        """The model falls silent at once, and ends its sentence unheard. Text that waits to be said is forgotten."""
        self._controls.interrupt()

    def say(self, text: str) -> None:
        """Experimental: makes the model say this, now, in the middle of whatever goes on. See `Session.force_text`.

        Raises StateError while the model is loading, UnsupportedModelError if it has no tokenizer, InputError if there
        is nothing to say in the text.
        """
        self._force(text, waits=False)

    def hint(self, text: str) -> None:
        """Experimental: as `say`, but begins when neither side is speaking. Raises the same."""
        self._force(text, waits=True)

    def _force(self, text: str, *, waits: bool) -> None:
        model = self.session.model
        if model.tokenizer is None:
            raise UnsupportedModelError(f"{model.name} was loaded without a tokenizer: text cannot be forced on it.")
        tokens = forced_text.monologue(model.tokenizer, text, padding=model.info.text_padding)
        self._controls.say(tokens, waits=waits)

    @property
    def volume(self) -> float:
        """Of the model's voice, 0 to 4; 1 is as it speaks. Recordings do not know of it."""
        return self._controls.volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._controls.volume = _checked_volume(volume)

    def on(self, kind: type[_E], callback: Callable[[_E], object]) -> None:
        """Calls `callback` with each event of this kind, in the thread that iterates or waits, before it gets it."""
        self._callbacks.append((kind, callback))

    def stop(self) -> None:
        """Ends the conversation after the frame that it is at; returns at once. The last event is `Ended`."""
        self._controls.stop()
        self._queue.release()

    @property
    def state(self) -> State:
        """What it is doing now."""
        running = self._loop.state if self._loop else None
        if self._state in (State.STOPPING, State.ENDED) or running is None:
            return self._state
        return State.STOPPING if self._controls.stopping else running

    @property
    def stats(self) -> LoopStats:
        """Its numbers so far."""
        return self._loop.stats if self._loop else LoopStats()

    @property
    def events_left_out(self) -> int:
        """Events that were not fetched in time."""
        return self._queue.left_out

    @property
    def session(self) -> Session:
        """The session; the conversation's thread is using it. Raises StateError before there is one."""
        if self._session is None:
            raise StateError("The conversation has no session yet: it is loading, or was not started.")
        return self._session

    # ---- its events --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins; a `with` block and iterating do this. Raises StateError if it was started before."""
        if self._thread is not None:
            raise StateError("A conversation can be started once; make another one.")
        self._thread = threading.Thread(target=self._work, name="pymoshi-conversation", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Event]:
        """The events, as they come, until the conversation has ended. Raises what went wrong in it."""
        if self._thread is None:
            self.start()
        while not self._queue.exhausted:
            event = self._queue.get(_WAIT)
            if event is not None:
                self._call_back(event)
                yield event
        self._raise_error()

    def wait(self) -> None:
        """Calls the callbacks until the conversation has ended. Raises what went wrong in it."""
        for _ in self:
            pass

    async def __aiter__(self) -> AsyncIterator[Event]:
        """As `__iter__`, for `async for`: the event loop is free meanwhile."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        self._queue.wake = lambda: _wake(loop, changed)
        try:
            if self._thread is None:
                self.start()
            while not self._queue.exhausted:
                changed.clear()
                event = self._queue.poll()
                if event is not None:
                    self._call_back(event)
                    yield event
                elif not self._queue.exhausted:
                    await changed.wait()
        finally:
            self._queue.wake = None
        self._raise_error()

    def _call_back(self, event: Event) -> None:
        for kind, callback in self._callbacks:
            if isinstance(event, kind):
                callback(event)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Stops it and waits until devices, files and memory are given back; closing twice is allowed.

        Raises StateError if its thread does not come back, e.g. because a driver hangs.
        """
        self.stop()
        if self._thread is None:
            return
        self._thread.join(_STOP_WITHIN)
        if self._thread.is_alive():
            raise StateError(f"The conversation did not end within {_STOP_WITHIN:.0f} s: a device or a driver hangs.")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._raise_error()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self.close))
        if kind is None:
            self._raise_error()

    # ---- its thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            reason = self._converse()
            self._enter(State.ENDED)
            self._queue.put(Ended(self._now, reason))
        except Cancelled:
            self._enter(State.ENDED)
            self._queue.put(Ended(self._now, "stopped"))
        except PymoshiError as error:
            self._error, self._state = error, State.ENDED
        except Exception as error:
            logger.exception("the conversation failed")
            self._error, self._state = InternalError(f"The conversation failed: {error!r}"), State.ENDED
            self._error.__cause__ = error
        finally:
            self._queue.end()

    def _converse(self) -> str:
        with ExitStack() as stack:
            source, sink = self._open_ports(stack)
            if self._record is not None:
                self._observers.append(_recorder(self._record, paced=getattr(source, "paced", True)))
            for observer in self._observers:
                if isinstance(observer, Closer):
                    stack.callback(observer.close)
            session = self._session = self._prime(self._load(stack), stack)
            for observer in self._observers:
                if isinstance(observer, Beginner):
                    observer.begin(session)
            info = session.model.info
            self._loop = Loop(
                session,
                source,
                sink,
                self._queue.put,
                controls=self._controls,
                observers=self._observers,
                clock=self._clock,
                padding=info.text_padding,
                advice=_advice(info.weight_type, info.device),
            )
            reason = self._loop.run()
            self._enter(State.STOPPING)
            return reason

    def _open_ports(self, stack: ExitStack) -> tuple[AudioSource, AudioSink]:
        """The sound comes first: a machine without a microphone should say so before it loads for half a minute."""
        source, sink = self._source, self._sink
        if source is None or sink is None:
            from pymoshi.audio import stream  # here: only those who use the sound card need PortAudio

            if source is None and sink is None:
                opened = stream.open_duplex(self._input, self._output, echo_cancel=self._echo_cancel)
            else:
                opened = stream.open_input(self._input) if source is None else stream.open_output(self._output)
            stack.callback(opened.close)
            source, sink = opened if source is None else source, opened if sink is None else sink
        stack.callback(source.close)
        stack.callback(sink.close)
        return source, sink

    def _load(self, stack: ExitStack) -> Model | Session:
        if isinstance(self._model, Model | Session):
            return self._model
        self._enter(State.LOADING, str(self._model))
        model = load(self._model, **self._load_options, progress=self._progress("loading"))
        return stack.enter_context(model)

    def _prime(self, model: Model | Session, stack: ExitStack) -> Session:
        if isinstance(model, Session):
            return model
        self._enter(State.PRIMING)
        return stack.enter_context(model.session(**self._session_options, progress=self._progress("priming")))

    def _progress(self, what: str) -> Callable[[float], bool]:
        told = -1.0

        def report(fraction: float) -> bool:
            nonlocal told
            if fraction - told >= _STEP or fraction == 1.0:
                told = fraction
                self._queue.put(Progress(0.0, what, fraction))
            return not self._controls.stopping

        return report

    def _enter(self, state: State, detail: str = "") -> None:
        if self._state is not state or state is State.LOADING:
            self._state = state
            self._queue.put(StateChanged(self._now, state, detail))

    @property
    def _now(self) -> float:
        return round(self.stats.frames * 0.08, 2)


def _recorder(path: Path, *, paced: bool) -> Observer:
    from pymoshi.background import InBackground  # here: files bring libsndfile with them
    from pymoshi.recording import Recording

    recording = Recording(path)
    return InBackground(recording, "recording") if paced else recording


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the event loop was closed: nobody listens any more
        loop.call_soon_threadsafe(changed.set)


def _checked_volume(volume: float) -> float:
    return float(real("volume", volume, 0.0, LOUDEST))


def _refuse_what_cannot_apply(model: object, load_options: dict[str, Any], session_options: dict[str, Any]) -> None:
    if isinstance(model, Model | Session) and load_options:
        raise InputError(f"The model is loaded already: leave out {', '.join(sorted(load_options))}.")
    if isinstance(model, Session):
        given = sorted(name for name, value in session_options.items() if value is not None)
        if given:
            raise InputError(f"The session is made already: leave out {', '.join(given)}.")


def _advice(weights: str, device: str) -> str:
    smaller = "" if weights.startswith("q4") else "a q4_K version of the model, "
    faster = "a GPU (pymoshi devices), " if device == "cpu" else ""
    return f"What helps: {smaller}{faster}fewer other programs. pymoshi doctor tells what would run well here."
