"""Reply: what a network answered to some pairs, and how likely it holds their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.pairs.dataset import Rows
from das.task.answers import END, NONE, Answers, Real


@dataclass
class Reply:
    """logits: (copies, pairs · slots, vocabulary), or with answers of several tokens (copies, pairs · slots, steps,
    vocabulary); of every pair the slots of each role, one after another.
    answers: how answers are read; numbers: role → each pair's answer (see `das.pairs.dataset.ROLES`), (pairs,). clean: where a
    measure asks for it, what the network itself answers to each pair's prompt that has the counterfactual answer (see
    `das.pairs.dataset.Labelled.match`), (pairs · slots, vocabulary) or (pairs · slots, steps, vocabulary).
    """

    logits: Tensor
    answers: Answers
    numbers: Mapping[str, Rows]
    clean: Tensor | None = None

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
        """Of a role's answer: of its tokens, each after those before it, together, and of its forms summed; where it must end,
        of all tokens by which it does not go on. (copies, pairs)"""
        tokens, slot = self._spelled(role)
        said = torch.log_softmax(self.of(role), -1)
        each = self._ended(_gathered(said, tokens), tokens, lambda: self._no_more(said).logsumexp(-1)).sum(3)
        return torch.where(slot < 0, -torch.inf, _slotted(each, slot)).logsumexp(-1)

    def rank(self, role: str = "label") -> Tensor:
        """Of a role's answer: 1, and one more for each token that is likelier than its own; of several tokens the one that lies
        farthest back, of several forms the one that lies farthest ahead; an end is the likeliest of the tokens by which it does
        not go on. 1 where it is given. (copies, pairs)"""
        (tokens, slot), rows = self._spelled(role), self.of(role)
        own = self._ended(_gathered(rows, tokens), tokens, lambda: self._no_more(rows).amax(-1))
        ahead = torch.stack([(rows > one[..., None]).sum(-1) for one in own.unbind(-1)], -1)
        worst = ahead.masked_fill((tokens == NONE)[None, :, None], 0).amax(3)
        return _slotted(worst, slot).masked_fill(slot < 0, rows.shape[-1]).amin(-1).float() + 1

    def lead(self, role: str = "label") -> Tensor:
        """By how much a role's answer is given, above 0 where it is and below where it is not: its token's logit less the
        largest of all others; of several tokens the least of theirs, of several forms the most; for an end the largest logit of
        the tokens by which it does not go on less that of those by which it does. Of answers that are numbers, the tolerance
        less the error. (copies, pairs)"""
        if isinstance(self.answers, Real):
            wanted = self._table(self.answers.values[self.numbers[role]]).to(self.logits.dtype)
            return self.answers.tolerance - (self.logits - wanted).abs().flatten(2).amax(-1)
        (tokens, slot), rows = self._spelled(role), self.of(role)
        own = self._ended(_gathered(rows, tokens), tokens, lambda: self._no_more(rows).amax(-1))
        others = torch.stack([_without(rows, one).amax(-1) for one in tokens.unbind(-1)], -1)
        others = self._ended(others, tokens, lambda: rows[..., self._table(self.answers.going_on)].amax(-1))
        least = (own - others).masked_fill((tokens == NONE)[None, :, None], torch.inf).amin(3)
        return _slotted(least, slot).masked_fill(slot < 0, -torch.inf).amax(-1)

    def divergence(self) -> Tensor:
        """The Kullback–Leibler divergence, in nats, of the network's answer under the swap from its own answer to the prompt
        that has the counterfactual answer: Σ p·log(p/q) over the vocabulary, p its own, q under the swap; of answers of several
        tokens summed over their steps, those of the first form (sequences are matched token by token as in Kim & Rush 2016,
        arXiv 1606.07947). Patching is measured by it in Zhang & Nanda 2024, arXiv 2309.16042. (copies, pairs)"""
        tokens, slot = self._spelled("label")
        assert self.clean is not None
        own, now = torch.log_softmax(self.clean, -1), torch.log_softmax(self.of("label"), -1)
        own = own.reshape(1, *now.shape[1:])
        each = torch.where(own.isneginf(), 0.0, own.exp() * (own - now)).sum(-1)  # (copies, pairs, slots, steps)
        first = each.take_along_dim(slot[None, :, :1, None], 2)[:, :, 0]
        return first.masked_fill((tokens[..., 0] == NONE)[None], 0.0).sum(-1)

    def loss(self) -> Tensor:
        """How far a network is from the counterfactual answer: the cross-entropies of its tokens, summed, so that it is that
        of the answer as a whole; of answers that are numbers, the mean squared error. (copies, pairs)"""
        return -self.nearness()

    def nearness(self, role: str = "label") -> Tensor:
        """Of a role's answer: its log-probability; of answers that are numbers, less the mean squared error from it. (copies,
        pairs)"""
        if isinstance(self.answers, Real):
            wanted = self._table(self.answers.values[self.numbers[role]]).to(self.logits.dtype)
            return -(self.logits - wanted).square().flatten(2).mean(-1)
        return self.log_probability(role)

    def _no_more(self, values: Tensor) -> Tensor:
        """Values (…, vocabulary) without the tokens by which answers go on."""
        return values.index_fill(-1, self._table(self.answers.going_on), -torch.inf)

    def _ended(self, each: Tensor, tokens: Tensor, end: Callable[[], Tensor]) -> Tensor:
        """Values of forms' tokens (copies, pairs, slots, steps, forms) with those of their ends, where there are any. end:
        gives that of each step, (copies, pairs, slots, steps)."""
        if not self.answers.going_on.size:
            return each
        return torch.where((tokens == END)[None, :, None], end()[..., None], each)

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


def _without(values: Tensor, tokens: Tensor) -> Tensor:
    """Values (copies, pairs, slots, steps, vocabulary) as they are but for one token of each pair and step, (pairs, steps)."""
    index = tokens.clamp(min=0)[None, :, None, :, None].expand(*values.shape[:4], 1)
    return values.scatter(-1, index, -torch.inf)


def _slotted(each: Tensor, slot: Tensor) -> Tensor:
    """each: (copies, pairs, slots, forms); slot: (pairs, forms), from which a form is read. Returns (copies, pairs, forms)."""
    return each.gather(2, slot.clamp(min=0).expand(len(each), -1, -1)[:, :, None])[:, :, 0]
