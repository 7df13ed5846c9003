"""The live conversation in a real terminal, with real keys."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from terminal.conftest import Terminal

KEPT = "--record r.wav --transcript t.json --replay t.replay"


def talk(terminal: Terminal, tmp_path: Path, *options: str, width: int = 80, height: int = 24) -> None:
    """The demo, to a user who lets it greet, and then hums every other two seconds for a minute."""
    seconds = np.arange(60 * 24000) / 24000
    soundfile.write(tmp_path / "hum.wav", 0.1 * np.sin(1200 * seconds) * (seconds > 6) * (seconds % 4 < 2), 24000)
    program = f"{shlex.quote(sys.executable)} -m pymoshi talk --seed 3 --threads 1"
    devices = "--input-device file:hum.wav --output-device null"
    terminal.run(f"{program} {devices} {KEPT} {' '.join(options)}", width, height)


def spoken(lines: list[str]) -> bool:
    """Whether words of the model can be seen."""
    return any(re.match(r"\[?\d\d:\d\d\.\d\]? (?!\(?you )\S", line) for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_picture_fills_the_terminal(width: int, height: int, terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path, width=width, height=height)
    lines = terminal.see(spoken)
    assert len(lines) == height
    assert lines[0].startswith("pymoshi  demo · cpu")
    assert lines[1] == "─" * width
    assert lines[-1].startswith("space or m mute")
    assert lines[-3].startswith("frame ")
    assert "of 80 ms" in lines[-3]
    terminal.press("q")
    terminal.see(lambda lines: "ended: 0" in lines)


def test_keys_do_what_they_say(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path)
    terminal.see(lambda lines: lines[-4].startswith(("● listening", "● speaking")))
    terminal.press("m")
    terminal.see(lambda lines: lines[-4].startswith("● muted") and "microphone off" in lines[-6])
    terminal.press("Space")
    terminal.see(lambda lines: "muted" not in lines[-4] and "microphone on" in lines[-6])
    terminal.press("+", "+", "Up", "-", "F5", "+")
    terminal.see(lambda lines: "volume 120 %" in lines[-5])
    terminal.press("i")
    terminal.press("C-z")
    terminal.press("q")
    terminal.see(lambda lines: "ended: 0" in lines)


def test_what_was_said_stays_on_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path)
    terminal.see(spoken)
    terminal.press("q")
    lines = terminal.see(lambda lines: "ended: 0" in lines)
    assert spoken(lines)
    assert any(line.startswith("[") for line in lines)  # of the transcript; the picture has no brackets
    assert "Recording: r.wav" in lines


def test_ctrl_c_gives_the_terminal_back_and_completes_the_files(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path)
    terminal.see(spoken)
    terminal.press("C-c")
    terminal.see(lambda lines: "ended: 130" in lines)
    terminal.press("e", "c", "h", "o", "ed", "Enter")  # `cat` gives it back, and the terminal shows what is typed
    terminal.see(lambda lines: lines.count("echoed") == 2)
    report = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert soundfile.info(tmp_path / "r.wav").frames == report["stats"]["frames"] * 1920


def test_push_to_talk_is_silent_until_space_is_pressed(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path, "--push-to-talk")
    lines = terminal.see(lambda lines: lines[-4].startswith("● muted"))
    assert "press space and speak" in lines[-4]
    assert lines[-1].startswith("space talk/done")
    terminal.press("Space")
    terminal.see(lambda lines: "microphone on" in lines[-6] and any("you speak" in line for line in lines))
    terminal.press("q")
    terminal.see(lambda lines: "ended: 0" in lines)


def test_terminal_that_changes_its_size_is_filled_again(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path)
    terminal.see(spoken)
    terminal.tmux("resize-window", "-x", "100", "-y", "30")
    terminal.see(lambda lines: len(lines) == 30 and lines[1] == "─" * 100 and lines[-1].startswith("space or m"))
    terminal.press("q")
    terminal.see(lambda lines: "ended: 0" in lines)


def test_plain_lines_leave_the_terminal_as_it_is(terminal: Terminal, tmp_path: Path) -> None:
    talk(terminal, tmp_path, "--plain")
    terminal.see(spoken)
    terminal.press("C-c")
    terminal.see(lambda lines: "ended: 130" in lines)
