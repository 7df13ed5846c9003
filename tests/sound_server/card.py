"""A sound card without hardware: a PulseAudio server of our own, reached as any program reaches it, through ALSA.

It has a speaker, which the test can listen to, and a microphone, which the test can speak into. PortAudio sees it as
one device that does both, "card", and as two, "card_mic" and "card_speaker". Nothing of the user's own sound server is
touched: the socket, the settings and the state are in a folder of the test's.

    python tests/sound_server/card.py COMMAND...     runs a command on such a card
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

RATE: Final = 48_000
_NEEDED: Final = (
    "The virtual sound card needs: apt install libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins"
)

# Pulse's names: what is played to the sink `speaker` can be heard at its monitor; what is played to the sink `mouth`
# comes out of the source `mic`.
_SPEAKER: Final = ("module-null-sink", "sink_name=speaker", f"rate={RATE}")
_MOUTH: Final = ("module-null-sink", "sink_name=mouth", f"rate={RATE}")
_MIC: Final = ("module-remap-source", "source_name=mic", "master=mouth.monitor")
_ALSA: Final = """
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.card_mic { type pulse device mic }
pcm.card_speaker { type pulse device speaker }
pcm.card { type asym playback.pcm card_speaker capture.pcm card_mic }
"""


class SoundCard:
    """The server and its card, from construction to `close`. A context manager.

    `environment` is what a process needs to see it, instead of any other sound card; PortAudio reads it when it starts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # Pulse insists
        alsa = folder / "alsa.conf"
        alsa.write_text(_ALSA)
        self.environment: Mapping[str, str] = {
            "PULSE_SERVER": f"unix:{folder}/socket",
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
            "PULSE_CONFIG_PATH": str(folder),
            "PULSE_COOKIE": str(folder / "cookie"),
            "ALSA_CONFIG_PATH": str(alsa),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._awake: list[subprocess.Popen[bytes]] = []
        self._modules: list[str] = []
        try:
            self.start_server()
        except BaseException:
            self.close()
            raise

    # ---- the server ----------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        """Starts PulseAudio and plugs the card in."""
        native = f"module-native-protocol-unix auth-anonymous=1 socket={self._folder}/socket"
        log = (self._folder / "pulse.log").open("ab")
        with log:
            self._server = self._start(
                ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "-L", native],
                stdout=log,
                stderr=log,
            )
        for _ in range(100):
            if self._pactl("info", check=False).returncode == 0:
                break
            if self._server.poll() is not None:
                raise RuntimeError(f"pulseaudio did not start: {(self._folder / 'pulse.log').read_text()}")
            time.sleep(0.1)
        else:
            raise RuntimeError("pulseaudio does not answer")
        self.plug_in()

    def stop_server(self) -> None:
        """The server crashes, and the card with it."""
        self._modules.clear()
        if self._server is not None:
            self._end(self._server)
        for process in self._awake:
            self._end(process)
        self._awake.clear()

    # ---- the card ------------------------------------------------------------------------------------------------

    def plug_in(self) -> None:
        """The card appears, and is the default one."""
        for module in (_SPEAKER, _MOUTH, _MIC):
            self._modules.append(self._pactl("load-module", *module).stdout.decode().strip())
        self._pactl("set-default-sink", "speaker")
        self._pactl("set-default-source", "mic")
        # A null sink that nobody hurries runs in steps of two seconds. Clients that ask for 20 ms keep it going; they
        # are there before anybody else, and for as long as the card is.
        quick = ("--raw", "--latency-msec=20", f"--rate={RATE}")
        for command in (
            ["pacat", "-p", "-d", "speaker", *quick],
            ["pacat", "-p", "-d", "mouth", *quick],
            ["pacat", "-r", "-d", "mic", *quick],
        ):
            with open("/dev/zero", "rb") as zeros:
                self._awake.append(self._start(command, stdin=zeros))

    def settle(self) -> None:
        """Returns when the card runs at its pace; the first seconds of a null sink come in lumps."""
        ear = self.listen()
        steady = 0
        before = 0
        while steady < 10:
            time.sleep(0.05)
            heard = ear.heard().size
            steady = steady + 1 if 0 < heard - before < RATE // 5 else 0
            before = heard
        ear.stop()

    def unplug(self) -> None:
        """The card is pulled out while it is in use."""
        for module in reversed(self._modules):
            self._pactl("unload-module", module)
        self._modules.clear()
        for process in self._awake:
            self._end(process)
        self._awake.clear()

    # ---- its ends ------------------------------------------------------------------------------------------------

    def speak(self, pcm: NDArray[np.float32]) -> "subprocess.Popen[bytes]":
        """Somebody says `pcm`, float32 [n] at `RATE`, into the microphone. The process ends when it is sent."""
        file = self._folder / "speech.raw"
        file.write_bytes(pcm.astype("<f4").tobytes())
        command = ["pacat", "-p", "-d", "mouth", "--raw", "--format=float32le", "--channels=1", f"--rate={RATE}"]
        with file.open("rb") as stream:
            return self._start(command, stdin=stream)

    def listen(self) -> "Listener":
        """Records what the speaker plays, until it is asked for it."""
        file = self._folder / f"heard-{len(self._processes)}.raw"
        command = ["pacat", "-r", "-d", "speaker.monitor", "--raw", "--format=float32le", "--channels=1"]
        with file.open("wb") as stream:
            process = self._start([*command, f"--rate={RATE}", "--latency-msec=20"], stdout=stream)
        return Listener(process, file)

    # ---- processes -----------------------------------------------------------------------------------------------

    def _pactl(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        return self._run(["pactl", *arguments], check=check)

    def _run(self, command: list[str], *, check: bool) -> "subprocess.CompletedProcess[bytes]":
        environment = {**os.environ, **self.environment}
        try:
            return subprocess.run(command, env=environment, capture_output=True, check=check, timeout=20)
        except FileNotFoundError as error:
            raise RuntimeError(_NEEDED) from error
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{' '.join(command)}: {error.stderr.decode()}") from error

    def _start(self, command: list[str], **streams: Any) -> "subprocess.Popen[bytes]":
        if os.geteuid() == 0:  # as a sound server is run where it can be: what else the machine does must not be heard
            command = ["nice", "-n", "-11", *command]
        files: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        } | streams
        try:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, env={**os.environ, **self.environment}, **files
            )
        except FileNotFoundError as error:
            raise RuntimeError(_NEEDED) from error
        self._processes.append(process)
        return process

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        """Ends every process that was started here."""
        for process in reversed(self._processes):
            self._end(process)
        self._processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Listener:
    """A recording of the speaker that is going on."""

    def __init__(self, process: "subprocess.Popen[bytes]", file: Path) -> None:
        self._process = process
        self._file = file

    def heard(self) -> NDArray[np.float32]:
        """All that was played until now, float32 [n] at `RATE`."""
        data = self._file.read_bytes()
        return np.frombuffer(data[: len(data) // 4 * 4], "<f4").astype(np.float32)

    def stop(self) -> NDArray[np.float32]:
        """Ends the recording and returns it."""
        self._process.terminate()
        self._process.wait()
        return self.heard()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, SoundCard(Path(folder) / "pulse") as card:
        sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **card.environment}, check=False).returncode)
