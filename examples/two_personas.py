"""Two personas talk to each other, on one set of weights.  python two_personas.py talk.wav [SECONDS] [MODEL]

With a PersonaPlex model each has a voice and a role of its own: `python two_personas.py talk.wav 60 personaplex`.
"""

import sys

import numpy as np

import pymoshi
from pymoshi.recording import Recording

target = sys.argv[1]
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
model = pymoshi.load(sys.argv[3] if len(sys.argv) > 3 else "demo")


def persona(voice: str, prompt: str, seed: int) -> pymoshi.Session:
    """A session in this role; on a model that has only its own, in that one."""
    return model.session(voice=voice, prompt=prompt, seed=seed) if model.has_personas else model.session(seed=seed)


silence = np.zeros(model.frame_size, np.float32)
said = [silence, silence]
arrives = 3.0  # seconds: the second one comes in later, or both would say hello at once

first = persona("NATF2", "You are a curious person who asks short questions.", seed=1)
second = persona("NATM1", "You are a retired sailor who loves to tell stories.", seed=2)
with first, second, Recording(target) as file:
    for index in range(round(seconds * model.frame_rate)):
        frames = [first.step(said[1])]
        if index >= arrives * model.frame_rate:
            frames.append(second.step(said[0]))
        for name, frame in zip(("first", "second"), frames, strict=False):
            if frame.text:
                print(f"{index * 0.08:7.2f} s  {name:6}  {frame.text.strip()}")
        said = [frame.audio for frame in frames] + [silence] * (2 - len(frames))
        file.write(said[0], said[1])  # the first on the left, the second on the right
