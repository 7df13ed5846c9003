"""Frame records for tests that need no conversation."""

import numpy as np
from numpy.typing import NDArray

from pymoshi.conversation.events import FrameRecord
from pymoshi.session import Frame


def record_of(frame: Frame, heard: NDArray[np.float32], forced: int | None = None) -> FrameRecord:
    """What the loop would tell of this frame on a machine that is fast enough."""
    return FrameRecord(
        index=frame.index, heard=heard, said=frame.audio, silenced=False, text=frame.text,
        text_token=frame.text_token, codes=frame.codes, user_codes=frame.user_codes, forced_text=forced,
        encode_ms=12, lm_ms=38, decode_ms=11, step_ms=62, wait_ms=18, late=False, backlog_ms=0, queued_ms=80, shed_ms=0,
        underruns=0, overruns=0, user_db=-20, model_db=-30,
    )  # fmt: skip


def made_up_record(index: int, heard: float = 0.25, said: float = -0.25) -> FrameRecord:
    """A frame with constant sound on both sides."""
    frame = Frame(
        audio=np.full(1920, said, np.float32), text="", text_token=3, codes=np.arange(8, dtype=np.int32),
        user_codes=np.arange(8, dtype=np.int32), index=index, encode_ms=12, lm_ms=38, decode_ms=11,
    )  # fmt: skip
    return record_of(frame, np.full(1920, heard, np.float32))
