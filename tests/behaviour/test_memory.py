"""Memory: constant however long the conversation, given back with what it was for."""

import subprocess
import sys
from pathlib import Path

MEGABYTE = 1024  # kB

PROGRAM = """
import ctypes, resource, sys
from pathlib import Path
import numpy as np
import pymoshi

def held():  # kB of memory in use, without what the allocator keeps for later; elsewhere than on Linux the most so far
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)

def noise(frames):
    rng = np.random.default_rng(1)
    for _ in range(frames):
        yield rng.uniform(-0.3, 0.3, 1920).astype(np.float32)

model = pymoshi.load(sys.argv[1], device=sys.argv[2], threads=1)
"""


def memory(code: str, folder: Path, device: str) -> list[int]:
    """What the program held, in kB, each time it looked."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, str(folder), device], capture_output=True, text=True, check=True
    )
    return [int(line) for line in done.stdout.split()]


def test_three_minutes_take_the_memory_of_the_first(moshi_folder: Path, device: str) -> None:
    minutes = memory(  # the model's memory of 256 frames and the codec's of 10 s are full long before the first is over
        """
with model.session(seed=1) as session:
    for minute in range(3):
        for pcm in noise(750):
            session.step(pcm)
        print(held())
""",
        moshi_folder,
        device,
    )
    assert minutes[2] - minutes[0] < MEGABYTE


def test_sessions_streams_and_snapshots_give_their_memory_back(moshi_folder: Path, device: str) -> None:
    rounds = memory(
        """
with model.session(seed=1) as session:
    for round in range(8):
        for pcm in noise(25):
            session.step(pcm)
            moment = session.snapshot()
            with session.fork() as twin, model.mimi.stream() as stream:
                twin.step(pcm)
                stream.encode(pcm)
            session.restore(moment)
        session.reset()
        print(held())
""",
        moshi_folder,
        device,
    )
    assert rounds[7] - rounds[1] < MEGABYTE  # 150 twins would take 60


def test_a_closed_model_is_gone_with_its_last_session(moshi_folder: Path, device: str) -> None:
    loads = memory(
        """
for load in range(12):
    with pymoshi.load(sys.argv[1], device=sys.argv[2], threads=1) as other:
        session = other.session(seed=1)
    session.step(next(noise(1)))
    session.close()
    print(held())
""",
        moshi_folder,
        device,
    )
    assert loads[11] - loads[3] < MEGABYTE
