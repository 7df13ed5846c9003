"""Third stage: the language model learns dialogues that follow the rules, with users of all kinds."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training import codec, language, vocabulary
from training.audio import Mask
from training.dialogue import Assets, Dialogue, play
from training.means import Means
from training.script import FIRST, LAST

BATCH, LENGTH = 6, 448  # dialogues, frames of each
FROM_THE_START = 0.45  # of the dialogues
SHIFTED = 0.8  # of those: else a track would always meet the welcome at the same place, and be learned by heart
SPLICED = 0.5
WRONG_OWN, WRONG_HEARD = 0.04, 0.02  # codes replaced by random ones: a slip must not derail what follows
OTHER_SILENCE = 0.06  # of the silent frames whose codes count
RATE_OF_LEARNING = 2e-3


class Dialogues:
    """Training batches, without end."""

    def __init__(self, tracks: Path, assets: Assets, seed: int) -> None:
        from moshi.models.lm_utils import _delay_sequence

        content = np.load(tracks)
        self._codes, self._speaks, self._seeds = content["codes"].astype(np.int64), content["speaks"], content["seeds"]
        self._assets = assets
        self._draw = np.random.default_rng(seed)
        self._delayed = _delay_sequence
        self._initial = torch.full((1, 1 + language.STREAMS, 1), codec.CARD)
        self._initial[:, 0] = vocabulary.SIZE

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """(input, target) int64 [BATCH, 1 + STREAMS, LENGTH], and which dialogues begin at the beginning."""
        rows, targets, heads = [], [], []
        for _ in range(BATCH):
            matrix, due, begin = self._dialogue()
            delayed = self._delayed(language.DELAYS, torch.tensor(matrix)[None], self._initial)
            # Only a true beginning shows the initial tokens, or the welcome would become a matter of luck.
            rows.append(torch.cat([self._initial, delayed], 2)[:, :, begin : begin + LENGTH])
            target = delayed[:, :, begin : begin + LENGTH].clone()
            target[0, :2] = torch.tensor(due[:, begin : begin + LENGTH])  # neither is delayed
            targets.append(target)
            heads.append(begin == 0)
        return torch.cat(rows), torch.cat(targets), torch.tensor(heads)

    def _dialogue(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """int64 [1 + STREAMS, frames], what is due of its first two rows, and the frame to begin with."""
        number = int(self._draw.integers(len(self._codes)))
        room = self._codes.shape[2] - LENGTH
        from_the_start = self._draw.random() < FROM_THE_START
        begin = 0 if from_the_start else int(self._draw.integers(20, room))
        if self._seeds[number] >= 0:  # with its own echo
            heard, speaks = self._codes[number], self._speaks[number]
            said = play(speaks, self._assets, np.random.default_rng(self._seeds[number]))
        else:
            heard, speaks = self._user(number)
            if from_the_start and self._draw.random() < SHIFTED:
                by = int(self._draw.integers(speaks.size))
                heard, speaks = np.roll(heard, -by, 1), np.roll(speaks, -by)
            last = FIRST - 1 if from_the_start else int(self._draw.integers(FIRST, LAST + 1))
            said = play(speaks, self._assets, self._draw, last, greet=from_the_start)
        return _matrix(said, heard), said.due, begin

    def _user(self, number: int) -> tuple[NDArray[np.int64], Mask]:
        """A track, perhaps with the end of another one behind a pause."""
        heard, speaks = self._codes[number], self._speaks[number]
        other = int(self._draw.integers(len(self._codes)))
        if self._draw.random() > SPLICED or self._seeds[other] >= 0:
            return heard, speaks
        pauses, others = _pauses(speaks), _pauses(self._speaks[other])
        if len(pauses) == 0 or len(others) == 0:
            return heard, speaks
        end, begin = int(self._draw.choice(pauses)), int(self._draw.choice(others))
        n = heard.shape[1]
        tail = slice(begin, begin + n - end)
        joined = np.concatenate([heard[:, :end], self._codes[other][:, tail]], 1)
        flags = np.concatenate([speaks[:end], self._speaks[other][tail]])
        short = n - joined.shape[1]
        if short > 0:  # the other track was too short: begin anew with the first one's start
            joined = np.concatenate([joined, heard[:, :short]], 1)
            flags = np.concatenate([flags, speaks[:short]])
        return joined, flags


def _pauses(speaks: Mask) -> NDArray[np.int64]:
    """Frames in the middle of ten silent ones."""
    quiet = np.convolve(speaks, np.ones(10), "same") == 0
    return np.flatnonzero(quiet)


def _matrix(said: Dialogue, heard: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([said.text[None], said.codes, heard])


def _with_slips(tokens: Tensor) -> Tensor:
    own, heard = slice(1, 1 + codec.CODEBOOKS), slice(1 + codec.CODEBOOKS, None)
    made = tokens.clone()
    for streams, share in ((own, WRONG_OWN), (heard, WRONG_HEARD)):
        part = made[:, streams]
        wrong = share * 2 * torch.rand(tokens.shape[0], 1, 1)  # some dialogues more than others
        slip = (torch.rand(part.shape) < wrong) & (part < codec.CARD)
        part[slip] = torch.randint(0, codec.CARD, (int(slip.sum()),))
    return made


def _losses(model: Any, data: tuple[Tensor, Tensor, Tensor], silence: Tensor) -> dict[str, Tensor]:
    tokens, target, heads = data
    hidden, logits = model.forward_text(_with_slips(tokens))
    text = target[:, 0]
    each = functional.cross_entropy(logits[:, 0].transpose(1, 2).float(), text, reduction="none")
    weight = torch.where(text == vocabulary.PAD, 1.0, 2.0)
    weight[:, 0][~heads] = 0  # without the frames before it, nobody could know
    own = target[:, 1 : 1 + codec.CODEBOOKS]
    busy = ((own != silence[None, :, None]) & (own < codec.CARD)).any(1) | (text != vocabulary.PAD)
    chosen = (busy | (torch.rand(busy.shape) < OTHER_SILENCE)).flatten().nonzero()[:, 0]
    steps = target.permute(0, 2, 1).flatten(0, 1)[chosen]  # [N, 1 + STREAMS]
    states = hidden.flatten(0, 1)[chosen][None]
    depth = model.forward_depformer_training(steps.T[None], states)[0]  # [CODEBOOKS, N, CARD]
    codes = steps[:, 1 : 1 + codec.CODEBOOKS].T
    known = codes < codec.CARD
    return {
        "text": (each * weight).sum() / weight.sum(),
        "audio": functional.cross_entropy(depth[known].float(), codes[known]),
        "wrong": (depth[known].argmax(-1) != codes[known]).float().mean(),
    }


def train(target: Path, tracks: Path, assets: Assets, steps: int, seed: int = 0) -> None:
    """Writes the language model."""
    torch.manual_seed(seed)
    data, model = Dialogues(tracks, assets, seed), language.build().train()
    silence = torch.tensor(assets.silence)
    optimisers = _optimisers(model)
    means = Means(every=50, digits=5)
    for step in range(steps):
        share = min(1, (step + 1) / 30) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        losses = _losses(model, data.batch(), silence)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * share
            optimiser.zero_grad()
        (3 * losses["text"] + losses["audio"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        means.add(losses)
        if (step + 1) % 250 == 0:
            torch.save(model.state_dict(), target)
    torch.save(model.state_dict(), target)


def _optimisers(model: Any) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings, output layers and norms."""
    inside: list[Tensor] = []
    outside: list[Tensor] = []
    for name, weight in model.named_parameters():
        matrix = weight.dim() == 2 and ("transformer." in name or "depformer." in name) and "emb" not in name
        (inside if matrix else outside).append(weight)
    adam = torch.optim.AdamW([{"params": outside, "peak": RATE_OF_LEARNING}], betas=(0.9, 0.98), weight_decay=0.01)
    muon = torch.optim.Muon(
        [{"params": inside, "peak": RATE_OF_LEARNING}], weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, muon]
