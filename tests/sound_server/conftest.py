"""Tests on a real sound server. They need it installed, and some time, so they run when they are asked for:

PYMOSHI_TEST_SOUND=1 pytest tests/sound_server
"""

import os
import sys
from collections.abc import Iterator

import pytest

from sound_server.card import SoundCard

collect_ignore = [] if os.environ.get("PYMOSHI_TEST_SOUND") else ["test_devices.py", "test_doctor.py"]


@pytest.fixture(scope="session")
def _card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundCard]:
    assert "sounddevice" not in sys.modules, "PortAudio has started already, and would not see this card"
    with SoundCard(tmp_path_factory.mktemp("pulse")) as card, pytest.MonkeyPatch.context() as patch:
        for name, value in card.environment.items():
            patch.setenv(name, value)
        yield card


@pytest.fixture
def card(_card: SoundCard) -> SoundCard:
    """The virtual sound card, plugged in and awake; the only one that this process sees."""
    _card.settle()
    return _card
