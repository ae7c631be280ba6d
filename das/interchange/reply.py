"""Reply: what a network answered to some pairs, and how likely it holds their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.pairs.dataset import Rows
from das.task.answers import Answers, Real


@dataclass
class Reply:
    """logits: (copies, pairs · slots, vocabulary), or with answers of several tokens (copies, pairs · slots, steps,
    vocabulary); of every pair the slots of each role, one after another.
    answers: how answers are read; numbers: role → each pair's answer (see `das.pairs.dataset.ROLES`), (pairs,).
    """

    logits: Tensor
    answers: Answers
    numbers: Mapping[str, Rows]

    @cached_property
    def _slots(self) -> int:
        """How many rows each pair has."""
        return self.logits.shape[1] // len(next(iter(self.numbers.values())))

    def of(self, role: str) -> Tensor:
        """The logits that a role's answer is read from, (copies, pairs, slots, steps, vocabulary)."""
        steps = self.logits.shape[2] if self.logits.dim() > 3 else 1
        rows = self.logits.reshape(len(self.logits), -1, self._slots, steps, self.logits.shape[-1])
        if self._slots == self.answers.slots:  # the same rows for all roles
            return rows
        start = list(self.numbers).index(role) * self.answers.slots
        return rows[:, :, start : start + self.answers.slots]

    def right(self, role: str = "label") -> NDArray[np.bool_]:
        """Where the answer of a role was given, (copies, pairs)."""
        rows = self.of(role).flatten(1, 2)
        said = self.answers.said(rows if self.logits.dim() > 3 else rows[:, :, 0]).detach().cpu().numpy()
        return self.answers.right(said, self.numbers[role])

    def log_probability(self, role: str = "label") -> Tensor:
        """Of a role's answer: of its tokens, each after those before it, together, and of its forms summed. (copies, pairs)"""
        tokens, slot = self._spelled(role)
        each = _gathered(torch.log_softmax(self.of(role), -1), tokens).sum(3)
        return torch.where(slot < 0, -torch.inf, _slotted(each, slot)).logsumexp(-1)

    def rank(self, role: str = "label") -> Tensor:
        """Of a role's answer: 1, and one more for each token that is likelier than its own; of several tokens the one that lies
        farthest back, of several forms the one that lies farthest ahead. 1 where it is given. (copies, pairs)"""
        (tokens, slot), rows = self._spelled(role), self.of(role)
        own = _gathered(rows, tokens)
        ahead = torch.stack([(rows > one[..., None]).sum(-1) for one in own.unbind(-1)], -1)
        worst = ahead.masked_fill((tokens < 0)[None, :, None], 0).amax(3)
        return _slotted(worst, slot).masked_fill(slot < 0, rows.shape[-1]).amin(-1).float() + 1

    def loss(self) -> Tensor:
        """How far a network is from the counterfactual answer: the cross-entropies of its tokens, summed, so that it is that
        of the answer as a whole; of answers that are numbers, the mean squared error. (copies, pairs)"""
        if isinstance(self.answers, Real):
            wanted = self._table(self.answers.values[self.numbers["label"]]).to(self.logits.dtype)
            return (self.logits - wanted).square().flatten(2).mean(-1)
        return -self.log_probability()

    def _spelled(self, role: str) -> tuple[Tensor, Tensor]:
        """A role's answers by their forms, see `das.task.answers.Answers.table`. DasError where they are numbers."""
        tokens, slot = map(self._table, self.answers.table(self.numbers[role]))
        return tokens, slot

    def _table(self, entries: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(entries)).to(self.logits.device)


def _gathered(values: Tensor, tokens: Tensor) -> Tensor:
    """values: (copies, pairs, slots, steps, vocabulary); tokens: (pairs, steps, forms), −1 where a form has none: 0 there.
    Returns (copies, pairs, slots, steps, forms)."""
    index = tokens.clamp(min=0)[None, :, None].expand(*values.shape[:4], -1)
    return values.gather(-1, index).masked_fill((tokens < 0)[None, :, None], 0.0)


def _slotted(each: Tensor, slot: Tensor) -> Tensor:
    """each: (copies, pairs, slots, forms); slot: (pairs, forms), from which a form is read. Returns (copies, pairs, forms)."""
    return each.gather(2, slot.clamp(min=0).expand(len(each), -1, -1)[:, :, None])[:, :, 0]
