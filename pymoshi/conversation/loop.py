"""The real-time loop: 80 ms in, one step of the model, 80 ms out, and again.

    source.read(1920) -> mute -> session.step -> volume -> sink.write -> observers, events

The microphone is the clock: a frame is done whenever 1920 samples have come. What happens when things go wrong is
decided here, and stated:

- A frame is *late* if it is done more than 80 ms after the last of its input came. Nothing else follows from that.
- If more than 3 frames of input wait, the computer has stalled or is too slow: the oldest are thrown away until one
  frame waits, and counted (`FrameRecord.shed_ms`). So the delay never grows, whatever happens.
- If no input comes for half a second, or the source says that its device is lost, the model hears silence at the
  clock's pace until there is input again. What piled up meanwhile, beyond a frame, is thrown away and counted.
- If five seconds of frames took longer to compute than to hear, the machine is too slow, and is told so with the rate.
- An interrupted model is made to write padding and is not heard, until it has been quiet for a quarter of a second, or
  for 2 seconds at most.
- An observer (a recording, a transcript) that fails is left out from then on, with a notice; the conversation goes on.

What the playing side does about late frames and foreign clocks is in `pymoshi.audio.playout`. Nothing here starts a
thread or asks the system for the time, so that tests run an hour of it in seconds.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from pymoshi.audio.clock import Clock, SystemClock
from pymoshi.audio.ports import AudioSink, AudioSource, EndOfAudio, PortStats, Samples, stats_of
from pymoshi.conversation.controls import Controls
from pymoshi.conversation.events import (
    FRAME_SECONDS,
    Event,
    FrameDone,
    FrameRecord,
    Notice,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    TextPiece,
)
from pymoshi.conversation.levels import Pace, SpeechDetector, dbfs
from pymoshi.errors import AudioDeviceError, PymoshiError

if TYPE_CHECKING:
    from pymoshi.session import Frame

SAMPLE_RATE: Final = 24_000
FRAME_SIZE: Final = 1920
MOST_WAITING: Final = 3  # frames of input
LOST_AFTER: Final = 0.5  # s without input
_POLL: Final = 0.1  # s: how long a request to stop may go unnoticed
_QUIET_DB: Final = -45.0
_QUIET_FRAMES: Final = 3
_LONGEST_INTERRUPT: Final = 25  # frames
_REMIND: Final = 375  # frames (30 s) between two notices that the machine is too slow
_DRAIN: Final = 1.0  # s: how long the end of the model's voice may take to be played
_RAMP: Final = 120  # samples (5 ms) in which mute and volume take effect

logger = logging.getLogger("pymoshi")


class Steps(Protocol):
    """What the loop needs of a session."""

    def step(self, pcm: ArrayLike) -> "Frame": ...

    def force_text(self, token: int | None) -> None: ...


class Observer(Protocol):
    """Sees every frame, in the loop's own thread, after its sound was handed on. It should be quick."""

    def add(self, record: FrameRecord) -> None: ...


@dataclass(slots=True)
class LoopStats:
    """A conversation in numbers, so far."""

    frames: int = 0
    late: int = 0
    shed_ms: float = 0.0
    """Input that was thrown away, by the policy above."""
    lost_ms: float = 0.0
    """Silence that stood in for a device that was away."""
    underruns: int = 0
    overruns: int = 0
    xruns: int = 0
    trimmed_ms: float = 0.0
    """Output that was left out to catch up: pauses, mostly."""
    step_ms: float = 0.0
    """The mean over the last 5 s, and the worst so far."""
    worst_step_ms: float = 0.0

    @property
    def frames_per_second(self) -> float:
        """What this machine could compute; a conversation takes 12.5."""
        return 1000 / self.step_ms if self.step_ms > 0 else 0.0


class Loop:
    """One conversation's loop. `run` belongs to one thread; `stats` and `state` may be read from any.

    padding: the text token that says nothing. advice: what a person could change if the machine is too slow.
    """

    def __init__(
        self,
        session: Steps,
        source: AudioSource,
        sink: AudioSink,
        emit: Callable[[Event], None],
        *,
        controls: Controls | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        padding: int = 3,
        advice: str = "",
    ) -> None:
        self._session = session
        self._source = source
        self._sink = sink
        self._emit = emit
        self._controls = controls or Controls()
        self._observers = list(observers)
        self._clock = clock or SystemClock()
        self._padding = padding
        self._advice = advice
        self._paced = bool(getattr(source, "paced", True))
        self.stats = LoopStats()
        self.state: State | None = None
        self._index = 0
        self._user = SpeechDetector("user")
        self._model = SpeechDetector("model", threshold=_QUIET_DB, above_floor=0.0, hangover=0.4)
        self._pace = Pace()
        self._reminded = -_REMIND
        self._silence_due: float | None = None
        """When the next frame of silence is due; None while there is input."""
        self._shed = 0  # samples, since the last frame
        self._gain = 0.0 if self._controls.muted else 1.0  # of the input, at the end of the last frame
        self._volume = self._controls.volume
        self._interrupted = 0  # frames since an interruption that has not been obeyed yet
        self._quiet = 0  # frames
        self._details = ("", "")
        self._ports = (PortStats(), PortStats())  # of source and sink, after the last frame

    # ---- frame by frame ----------------------------------------------------------------------------------------

    def run(self) -> str:
        """Converses until the input ends or somebody stops it. Returns why it ended.

        Raises AudioDeviceError if a port fails, and whatever the session raises.
        """
        if self._paced:
            self._source.skip(self._source.pending())  # said while the model was loading: to nobody
        self._show_state()
        reason = "the input ended"
        try:
            while (heard := self._hear()) is not None:
                self._turn(*heard)
            reason = "stopped"
        except EndOfAudio:
            self._drain()
        finally:
            for detector in (self._user, self._model):
                for event in detector.finish(self._time):
                    self._emit(event)
        return reason

    @property
    def _time(self) -> float:
        return round(self._index * FRAME_SECONDS, 2)

    def _turn(self, heard: Samples, wait_ms: float) -> None:
        began = self._clock.now()
        backlog = self._source.pending()
        heard = self._mute(heard)
        forced = self._next_token()
        if forced is not None:
            self._session.force_text(forced)
        frame = self._session.step(heard)
        step_ms = (self._clock.now() - began) * 1000
        silenced = self._interrupted > 0
        self._play(frame.audio, silenced)
        record = self._record(frame, heard, forced, silenced, wait_ms, step_ms, backlog)
        self._obey_interrupt(frame.audio)
        self._count(record)
        self._tell(record)
        self._index += 1

    def _hear(self) -> tuple[Samples, float] | None:
        """The next frame of input and the milliseconds that it took to come; None if the conversation is to stop."""
        began = self._clock.now()
        while not self._controls.stopping:
            self._shed_backlog()
            now = self._clock.now()
            timeout = _POLL if self._silence_due is None else max(0.0, self._silence_due - now)
            with _blamed_on("source"):
                heard = self._source.read(FRAME_SIZE, timeout)
            now = self._clock.now()
            if heard is None:
                heard = self._silence(now, began)
            else:
                self._silence_due = None
            if heard is not None:
                return heard, (now - began) * 1000
        return None

    def _shed_backlog(self) -> None:
        """Throws away what waits, but for one frame, if it is too much; after a silence that is all that waits."""
        waiting = self._source.pending()
        if waiting > FRAME_SIZE * (MOST_WAITING if self._silence_due is None else 1):
            self._shed += self._source.skip(waiting - FRAME_SIZE)

    def _silence(self, now: float, began: float) -> Samples | None:
        """A frame of silence, if the device is away and one is due."""
        if self._silence_due is None:
            if now - began < LOST_AFTER and not stats_of(self._source).lost:
                return None
            self._silence_due = now
            self._shed += self._source.skip(self._source.pending())  # the begin of a frame whose end never came
        if now < self._silence_due:
            return None
        # After a stall the silence goes on from now: nobody misses the rest of it.
        self._silence_due = max(self._silence_due, now - FRAME_SECONDS) + FRAME_SECONDS
        self.stats.lost_ms += FRAME_SECONDS * 1000
        return np.zeros(FRAME_SIZE, np.float32)

    def _mute(self, heard: Samples) -> Samples:
        gain = 0.0 if self._controls.muted else 1.0
        faded = _scaled(heard, self._gain, gain)
        self._gain = gain
        return faded

    def _next_token(self) -> int | None:
        if self._controls.taken_interrupt():
            self._sink.clear()
            self._interrupted, self._quiet = 1, 0
        if self._interrupted:
            return self._padding
        return self._controls.next_token(quiet=not (self._user.speaking or self._model.speaking))

    def _obey_interrupt(self, said: Samples) -> None:
        """Whether the model has fallen silent, after it was told to."""
        if not self._interrupted:
            return
        self._interrupted += 1
        self._quiet = self._quiet + 1 if dbfs(said) < _QUIET_DB else 0
        if self._quiet >= _QUIET_FRAMES or self._interrupted > _LONGEST_INTERRUPT:
            self._interrupted = 0

    def _play(self, said: Samples, silenced: bool) -> None:
        volume = 0.0 if silenced else self._controls.volume
        with _blamed_on("sink"):
            self._sink.write(np.clip(_scaled(said, self._volume, volume), -1.0, 1.0))
        self._volume = volume

    def _drain(self) -> None:
        """Waits until the end of the model's voice has been played."""
        until = self._clock.now() + _DRAIN
        while self._sink.queued() > 0 and self._clock.now() < until and not self._controls.stopping:
            self._clock.sleep(0.01)
        if not self._controls.stopping and self._paced:
            self._clock.sleep(min(stats_of(self._sink).latency, _DRAIN))

    # ---- what is told of it ------------------------------------------------------------------------------------

    def _record(
        self,
        frame: "Frame",
        heard: Samples,
        forced: int | None,
        silenced: bool,
        wait_ms: float,
        step_ms: float,
        backlog: int,
    ) -> FrameRecord:
        source, sink = self._ports = stats_of(self._source), stats_of(self._sink)
        backlog_ms = backlog * 1000 / SAMPLE_RATE
        shed, self._shed = self._shed, 0
        return FrameRecord(
            index=self._index,
            heard=heard,
            said=frame.audio,
            silenced=silenced,
            text=frame.text,
            text_token=frame.text_token,
            codes=frame.codes,
            user_codes=frame.user_codes,
            forced_text=forced,
            encode_ms=frame.encode_ms,
            lm_ms=frame.lm_ms,
            decode_ms=frame.decode_ms,
            step_ms=step_ms,
            wait_ms=wait_ms,
            late=self._paced and step_ms + backlog_ms > FRAME_SECONDS * 1000,
            backlog_ms=backlog_ms,
            queued_ms=self._sink.queued() * 1000 / SAMPLE_RATE,
            shed_ms=shed * 1000 / SAMPLE_RATE,
            underruns=sink.underruns,
            overruns=source.overruns,
            user_db=dbfs(heard),
            model_db=dbfs(np.zeros(0, np.float32) if silenced else frame.audio),
        )

    def _count(self, record: FrameRecord) -> None:
        self._pace.add(record.step_ms)
        source, sink = self._ports
        stats = self.stats
        stats.frames += 1
        stats.late += record.late
        stats.shed_ms += record.shed_ms
        stats.underruns, stats.overruns = sink.underruns, source.overruns
        stats.xruns = max(source.xruns, sink.xruns)  # one device reports the same in both directions
        stats.trimmed_ms = sink.trimmed * 1000 / SAMPLE_RATE
        stats.step_ms = self._pace.mean_ms
        stats.worst_step_ms = max(stats.worst_step_ms, record.step_ms)
        self._tell_of_devices(source, sink)

    def _tell(self, record: FrameRecord) -> None:
        time = self._time
        self._observe(record)
        if record.text:
            self._emit(TextPiece(time, record.text))
        speech: list[SpeechStarted | SpeechEnded] = self._user.hear(time, record.heard)
        speech += self._model.hear(time, record.played)
        for event in sorted(speech, key=lambda event: event.time):
            self._emit(event)
        self._emit(FrameDone(time, record))
        self._tell_of_pace()
        self._show_state()

    def _observe(self, record: FrameRecord) -> None:
        for observer in list(self._observers):
            try:
                observer.add(record)
            except Exception as error:
                self._observers.remove(observer)
                reason = str(error) if isinstance(error, PymoshiError | OSError) else repr(error)
                logger.warning("%s failed and is left out from now on", observer, exc_info=True)
                self._emit(Notice(self._time, "warning", f"{reason} The conversation goes on without it."))

    def _tell_of_pace(self) -> None:
        if not (self._paced and self._pace.too_slow and self._index - self._reminded >= _REMIND):
            return
        self._reminded = self._index
        text = f"Too slow: this machine computes {self._pace.rate:.1f} of the 12.5 frames a second that it takes."
        self._emit(Notice(self._time, "warning", f"{text} {self._advice}".strip()))

    def _tell_of_devices(self, source: PortStats, sink: PortStats) -> None:
        news = {port.detail: port.lost for port in (source, sink) if port.detail not in ("", *self._details)}
        for detail, lost in news.items():
            self._emit(Notice(self._time, "warning" if lost else "info", detail))
        self._details = (source.detail, sink.detail)

    def _show_state(self) -> None:
        state, detail = self._find_state()
        if state is not self.state:
            self.state = state
            self._emit(StateChanged(self._time, state, detail))

    def _find_state(self) -> tuple[State, str]:
        source, sink = self._ports
        if self._silence_due is not None or source.lost or sink.lost:
            return State.DEVICE_LOST, source.detail or sink.detail or "no sound comes from the microphone"
        if self._paced and self._pace.too_slow:
            return State.TOO_SLOW, f"{self._pace.rate:.1f} of 12.5 frames a second"
        if self._controls.muted:
            return State.MUTED, ""
        return (State.SPEAKING if self._model.speaking else State.LISTENING), ""


def _scaled(pcm: Samples, before: float, after: float) -> Samples:
    """`pcm` times `after`, reached from `before` within 5 ms; `pcm` itself where that changes nothing."""
    if before == after == 1.0:
        return pcm
    gains = np.full(pcm.size, after, np.float32)
    gains[:_RAMP] = np.linspace(before, after, _RAMP, dtype=np.float32)[: pcm.size]
    return pcm * gains


@contextmanager
def _blamed_on(port: str) -> Iterator[None]:
    """Errors of a port that is not ours get a type of ours."""
    try:
        yield
    except (PymoshiError, EndOfAudio):
        raise
    except Exception as error:
        raise AudioDeviceError(f"The audio {port} failed: {error!r}") from error
