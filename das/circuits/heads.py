"""Heads: what each attention head writes to the logits, and where it looks from the token that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.circuits.attention import attending, check_told, even
from das.circuits.regions import REGIONS
from das.errors import DasError
from das.network.asking import text_config
from das.network.limits import most_tokens
from das.network.lm import LM
from das.network.taps import Tap, recording
from das.network.unembedding import Unembedding, unembedding, written
from das.task.encoded import Encoded

Floats = NDArray[np.floating[Any]]
AGAIN = 24
"""Random tokens that are said twice, where so many fit."""
SEQUENCES = 16


@dataclass(frozen=True)
class Looked:
    """looks: (rows, layers, heads, regions), the share of the attention from the last token that falls on each region; even:
    (rows, regions), that if it fell on all tokens alike. writes: (rows, layers, heads), by how much what a head adds at the
    last token raises the logit of one answer over another's, read as the last norm scales that very state (direct logit
    attribution, Elhage et al. 2021); None where nobody knows, and why. difference: (rows,), that of the logits themselves."""

    looks: Floats
    even: Floats
    writes: Floats | None
    difference: Floats
    why: str = ""


@torch.no_grad()
def looked(lm: LM, prompts: Encoded, at: NDArray[np.int64], answer: NDArray[np.int64], other: NDArray[np.int64]) -> Looked:
    """Of prompts that are answered after their last token. at: the region of each token, (rows, width); answer, other: tokens,
    (rows,). DasError where the network gives no attention weights."""
    reading, why = _reading(lm, prompts)
    heads, n = lm.heads[0], len(prompts)
    looks: Floats = np.zeros((n, lm.layers, heads, len(REGIONS)), np.float32)
    writes: Floats = np.zeros((n, lm.layers, heads), np.float32)
    apart: Floats = np.zeros(n, np.float32)
    for part in even(prompts, heads):
        rows, some = part.rows, part.prompts
        place, told = torch.from_numpy(at[rows, -some.width :]), dict[int, Tensor]()
        where = torch.nn.functional.one_hot(place, len(REGIONS)).float()

        def note(layer: int, weights: Tensor, told: dict[int, Tensor] = told, where: Tensor = where) -> None:
            told[layer] = weights[:, :, -1].float().cpu() @ where

        taps = {} if reading is None else reading.taps
        into: dict[Any, Tensor] = {}
        with attending(lm, note), recording(taps, len(rows), 1, into):
            logits = lm.logits(some).float().cpu()
        check_told(lm, list(told))
        looks[rows] = torch.stack([told[i] for i in range(lm.layers)], 1).numpy()
        both = [torch.from_numpy(each[rows]) for each in (answer, other)]
        apart[rows] = (logits.gather(1, both[0][:, None]) - logits.gather(1, both[1][:, None]))[:, 0].numpy()
        if reading is not None:
            writes[rows] = reading.writes(into, *both).numpy()
    share: Floats = np.stack([(at == i).sum(1) for i in range(len(REGIONS))], 1) / (at >= 0).sum(1, keepdims=True)
    return Looked(looks, share, None if reading is None else writes, apart, why)


LAST = "last"
"""Key of the last layer's output among what is recorded."""


@dataclass(frozen=True)
class Reading:
    """How what heads add is read at the logits. matrices: of each layer (d, heads · size), the output projection."""

    lens: Unembedding
    matrices: list[Tensor]
    taps: dict[Any, Tap]
    heads: int

    def writes(self, into: dict[Any, Tensor], answer: Tensor, other: Tensor) -> Tensor:
        """(rows, layers, heads) of what was recorded at the last token."""
        state, device = into[LAST][:, 0].float(), into[LAST].device
        centred = state - state.mean(1, keepdim=True) if self.lens.centres else state
        rows = self.lens.matrix[answer.to(device)].float() - self.lens.matrix[other.to(device)].float()
        step = rows * self.lens.scale.float() / centred.square().mean(1, keepdim=True).sqrt()
        step = step - step.mean(1, keepdim=True) if self.lens.centres else step
        each = torch.stack([into[i][:, 0].float() * (step @ matrix) for i, matrix in enumerate(self.matrices)], 1)
        found: Tensor = each.unflatten(2, (self.heads, -1)).sum(3)
        return found.cpu()


def _reading(lm: LM, prompts: Encoded) -> tuple[Reading | None, str]:
    """None, and why, where more than a norm lies between what heads add and the logits."""
    try:
        lens = unembedding(lm, prompts)
        taps: dict[Any, Tap] = {i: lm.tap("heads", i) for i in range(lm.layers)}
        size = [lm.size("heads", i, prompts.take(np.arange(1))) for i in range(lm.layers)]
        matrices = [written(lm, "heads", i, torch.eye(n), prompts) for i, n in enumerate(size)]
    except DasError as error:
        return None, str(error)
    return Reading(lens, matrices, taps | {LAST: lm.tap("block_output", lm.layers - 1)}, lm.heads[0]), ""


# --- without a task ---


@torch.no_grad()
def repeating(lm: LM, seed: int = 0) -> tuple[Floats, Floats]:
    """Two scores of each head, (layers, heads), on random tokens that are said twice in the same order: the mean attention to
    the token before, over all tokens; and from a token's second mention to the one that followed its first (induction: Olsson
    et al. 2022, arXiv 2209.11895)."""
    rng, first = np.random.default_rng(seed), getattr(lm.tokenizer, "bos_token_id", None)
    special = set(getattr(lm.tokenizer, "all_special_ids", ()))
    plain = np.array([token for token in range(lm.words) if token not in special])
    fits = most_tokens(text_config(lm.model)) or 2 * AGAIN + 1
    n = min(AGAIN, (fits - 1) // 2, len(plain))
    once = np.stack([rng.permutation(plain)[:n] for _ in range(SEQUENCES)])
    begun = np.full((SEQUENCES, int(first is not None)), first or 0, np.int64)
    ids = np.concatenate([begun, once, once], 1).astype(np.int64)
    before: Floats = np.zeros((lm.layers, lm.heads[0]), np.float32)
    induced = before.copy()

    def note(layer: int, weights: Tensor) -> None:
        mean, second = weights.float().mean(0).cpu(), ids.shape[1] - n
        before[layer] = mean.diagonal(-1, 1, 2).mean(1)
        induced[layer] = mean.diagonal(1 - n, 1, 2)[:, second - (n - 1) :].mean(1)

    with attending(lm, note):
        lm.logits(Encoded(ids, np.full(SEQUENCES, ids.shape[1])))
    return before, induced
