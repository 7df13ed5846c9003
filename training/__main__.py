"""`python -m training all` makes the demo model from nothing; `python -m training STEP` repeats one step.

Steps, in order: voice people crops encoder ear assets tracks decoder language export bundle. All their files go to
--work: the model as published ones look to `pymoshi-demo` in it, the package's own files to `bundle`. --smoke runs all
of it with a handful of steps.
"""

import argparse
import logging
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import torch

from training import (
    crops,
    evaluate,
    export,
    people,
    tracks,
    train_decoder,
    train_ear,
    train_encoder,
    train_language,
    vocabulary,
    voice,
)
from training.assets import make_assets
from training.dialogue import Assets

log = logging.getLogger("training")


class Run:
    """The steps, over the files that they hand each other."""

    def __init__(self, work: Path, roots: list[Path], smoke: bool) -> None:
        self._work, self._roots = work, roots
        self._scale = 0.003 if smoke else 1.0
        work.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self._work / name

    def _count(self, whole: int, least: int = 1) -> int:
        return max(least, int(whole * self._scale))

    def _assets(self) -> Assets:
        made: Assets = pickle.loads(self._path("assets.pkl").read_bytes())
        return made

    def voice(self) -> None:
        vocabulary.train_tokenizer(self._path("tokenizer.model"))
        voice.speak_lines(self._path("lines.npz"))

    def people(self) -> None:
        people.collect_sounds(self._path("sounds.npz"), self._roots)
        people.collect(self._path("people.npz"), self._roots)

    def crops(self) -> None:
        crops.render_crops(
            self._path("crops.npz"), self._path("people.npz"), self._path("sounds.npz"), self._count(5000, 300)
        )

    def encoder(self) -> None:
        train_encoder.train(
            self._path("encoder.pt"), self._path("crops.npz"), self._path("lines.npz"), self._count(ENCODER_STEPS, 10)
        )

    def ear(self) -> None:
        train_ear.train(
            self._path("ear.pt"),
            self._path("encoder.pt"),
            self._path("people.npz"),
            self._path("sounds.npz"),
            self._path("lines.npz"),
            self._count(EAR_STEPS, 10),
        )

    def assets(self) -> None:
        make_assets(
            self._path("encoder.pt"), self._path("lines.npz"), self._path("tokenizer.model"), self._path("assets.pkl")
        )

    def tracks(self) -> None:
        tracks.render_tracks(
            self._path("tracks.npz"),
            self._path("ear.pt"),
            self._assets(),
            self._path("people.npz"),
            self._path("sounds.npz"),
            self._count(2400, 20),
        )

    def decoder(self) -> None:
        train_decoder.train(
            self._path("codec.pt"), self._path("encoder.pt"), self._assets(), self._count(DECODER_STEPS, 4)
        )
        log.info("%s", evaluate.evaluate(self._path("codec.pt"), self._assets()))

    def language(self) -> None:
        train_language.train(
            self._path("language.pt"), self._path("tracks.npz"), self._assets(), self._count(LANGUAGE_STEPS, 4)
        )

    def export(self) -> None:
        export.export(
            self._path("pymoshi-demo"),
            self._path("codec.pt"),
            self._path("ear.pt"),
            self._path("language.pt"),
            self._path("tokenizer.model"),
        )

    def bundle(self) -> None:
        export.bundle(self._path("pymoshi-demo"), self._path("bundle"))


ENCODER_STEPS, EAR_STEPS, DECODER_STEPS, LANGUAGE_STEPS = 1600, 8000, 15500, 5000

STEPS: dict[str, Callable[[Run], None]] = {
    "voice": Run.voice,
    "people": Run.people,
    "crops": Run.crops,
    "encoder": Run.encoder,
    "ear": Run.ear,
    "assets": Run.assets,
    "tracks": Run.tracks,
    "decoder": Run.decoder,
    "language": Run.language,
    "export": Run.export,
    "bundle": Run.bundle,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("steps", nargs="+", choices=["all", *STEPS])
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="Folder of everything that is made.")
    parser.add_argument(
        "--root", type=Path, action="append", default=[], help="Where Debian packages were unpacked, besides /."
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="A handful of steps of each, to see that it runs.")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    run = Run(asked.work, [Path("/"), *asked.root], asked.smoke)
    for name in STEPS if "all" in asked.steps else asked.steps:
        begin = time.monotonic()
        STEPS[name](run)
        log.info("%s took %.0f s", name, time.monotonic() - begin)


if __name__ == "__main__":
    main()
