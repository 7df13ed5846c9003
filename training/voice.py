"""The assistant's voice: every line spoken once by hibari-tts, and the time of each word, from pocketsphinx."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from training.audio import RATE, Sound, as_int16, at_level, trimmed
from training.script import LINES, PHONES, SPELLED_FOR_THE_SYNTHESISER

log = logging.getLogger("training")

LEVEL = -22.5  # dBFS


def plain_words(text: str) -> list[str]:
    """As a recogniser writes them: lower case, no punctuation."""
    return [word for word in (re.sub(r"[^a-z']", "", word.lower()) for word in text.split()) if word]


def recogniser(**options: Any) -> Any:
    """A pocketsphinx decoder that knows the script's words."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, loglevel="FATAL", **options)
    for word, phones in PHONES.items():
        if decoder.lookup_word(word) is None:
            decoder.add_word(word, phones, True)
    return decoder


def for_recogniser(sound: Sound) -> bytes:
    """16 kHz PCM with some silence around it, loud enough."""
    loud = sound / (np.abs(sound).max() + 1e-9) * 0.6
    return as_int16(soxr.resample(np.pad(loud, (4800, 4800)), RATE, 16000)).tobytes()


def speak_lines(target: Path) -> None:
    """Writes lines.npz: sound0, words0 (start and end of each word, seconds), sound1, ..."""
    from hibari import Hibari

    synthesiser = Hibari()
    aligner = recogniser(bestpath=False)
    content: dict[str, Any] = {}
    for number, text in enumerate(LINES):
        sound = trimmed(np.asarray(synthesiser(_spelled(text), seed=number, speed=1.0), np.float32), 0.06)
        assert sound is not None, text
        sound = at_level(sound, LEVEL)
        fade = np.linspace(0, 1, 480, dtype=np.float32)
        sound[:480] *= fade
        sound[-480:] *= fade[::-1]
        content[f"sound{number}"] = sound
        content[f"words{number}"] = _word_times(aligner, text, sound)
    np.savez(target, **content)
    seconds = sum(len(content[f"sound{number}"]) for number in range(len(LINES))) / RATE
    log.info("the assistant's %d lines last %.1f s", len(LINES), seconds)


def _spelled(text: str) -> str:
    for word, spelling in SPELLED_FOR_THE_SYNTHESISER.items():
        text = re.sub(rf"\b{word}\b", spelling, text)
    return text


def _word_times(aligner: Any, text: str, sound: Sound) -> Sound:
    words = plain_words(text)
    aligner.set_align_text(" ".join(words))
    aligner.start_utt()
    aligner.process_raw(for_recogniser(sound), no_search=False, full_utt=True)
    aligner.end_utt()
    found = [
        (part.word.split("(")[0], part.start_frame / 100 - 0.2, (part.end_frame + 1) / 100 - 0.2)
        for part in aligner.seg() or []
        if part.word[0] not in "<(["
    ]
    if [word for word, _, _ in found] == words:
        return np.array([(start, end) for _, start, end in found], np.float32)
    log.warning("not aligned, spread evenly: %s", text)
    ends = np.cumsum([len(word) + 1 for word in words]) / (sum(map(len, words)) + len(words)) * len(sound) / RATE
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], 1).astype(np.float32)
