"""What tests compare of a conversation: every bit that came out of it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pymoshi import Frame, Session

Said = list[tuple[Any, ...]]


def frame_bits(frame: Frame) -> tuple[Any, ...]:
    codes = None if frame.codes is None else frame.codes.tobytes()
    return frame.index, frame.text_token, frame.text, codes, frame.user_codes.tobytes(), frame.audio.tobytes()


def said(session: Session, frames: Iterable[NDArray[np.float32]]) -> Said:
    """Everything that `frames` brought, to be compared with `==`."""
    return [frame_bits(frame) for frame in session.run(frames)]
