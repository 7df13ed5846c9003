"""The page in a real browser, a headless Chromium with a microphone that plays a file. It takes a while and needs
Chromium and playwright, so it runs when it is asked for:

PYMOSHI_TEST_BROWSER=1 pytest tests/browser

The page's own signal processing and its Ogg code are tested in Node: node --test tests/browser/*.test.mjs
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.served import Served
from pymoshi.audio import files

if os.environ.get("PYMOSHI_TEST_BROWSER"):
    from playwright.sync_api import Browser, Page, expect, sync_playwright

    collect_ignore = []
else:
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py")]

_LEAD = 3.0  # seconds of silence, in which the model greets
_REST = 5.0
_PATIENCE = 60_000  # ms
_RATE = 48_000

# Measures what the page sends to the speaker: window.loudest is the highest RMS of 43 ms so far.
_EAR = """(() => {
    const connect = AudioNode.prototype.connect;
    window.loudest = 0;
    AudioNode.prototype.connect = function (to, ...rest) {
        if (to instanceof AudioDestinationNode) {
            const ear = this.context.createAnalyser();
            const heard = new Float32Array(ear.fftSize);
            connect.call(this, ear);
            setInterval(() => {
                ear.getFloatTimeDomainData(heard);
                const power = heard.reduce((sum, value) => sum + value * value, 0) / heard.length;
                window.loudest = Math.max(window.loudest, Math.sqrt(power));
            }, 40);
        }
        return connect.call(this, to, ...rest);
    };
})()"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`pymoshi serve` with the demo model, for all tests of a module."""
    with Served(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Served]:
    """One that a test may kill."""
    with Served(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def _microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silence, a question, silence; Chromium plays it again and again."""
    import soundfile
    import soxr

    question = files.read(Path(__file__).parents[2] / "examples" / "question.flac")
    speech = soxr.resample(question, 24_000, _RATE)
    quiet = [np.zeros(round(seconds * _RATE), np.float32) for seconds in (_LEAD, _REST)]
    path = tmp_path_factory.mktemp("microphone") / "question.wav"
    soundfile.write(path, np.concatenate([quiet[0], speech[: 8 * _RATE], quiet[1]]), _RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def chromium(_microphone: Path) -> "Iterator[Browser]":
    """The browser."""
    program = os.environ.get("PYMOSHI_TEST_CHROMIUM") or shutil.which("chromium")
    assert program, "These tests need Chromium: apt install chromium, or name it in PYMOSHI_TEST_CHROMIUM."
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={_microphone}",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


OpenPage = Callable[..., "Page"]


@pytest.fixture
def open_page(chromium: "Browser") -> Iterator[OpenPage]:
    """Opens an address in a browser profile of its own. What goes wrong in the page fails the test.

    microphone: whether the user allows it. Other options are those of playwright's `new_context`.
    """
    contexts = []
    problems: list[str] = []

    def open_address(url: str, *, microphone: bool = True, **options: Any) -> "Page":
        given: dict[str, Any] = {
            "viewport": {"width": 1280, "height": 800},
            "permissions": ["microphone"] if microphone else [],
        }
        context = chromium.new_context(**(given | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE)
        page.add_init_script(_EAR)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if _is_refusal(message.text) else None)
        page.goto(url)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert problems == []


def _is_refusal(text: str) -> bool:
    """Whether the browser refused something that the page does, by the server's own rules."""
    return "Content Security Policy" in text or "Refused to" in text
