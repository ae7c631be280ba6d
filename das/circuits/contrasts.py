"""Contrasts: pairs of prompts whose tokens line up and whose answers differ, by which edges are swapped and judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.errors import DasError
from das.interchange.accuracy import Accuracy
from das.interchange.engine import ResumeEngine
from das.interchange.score import predictions
from das.network.parts import tokens
from das.pairs.dataset import Dataset, Rows
from das.stats import Bootstrap
from das.task.encoded import Encoded

ROOM = 2.5e8
"""Bytes for what all nodes add in one batch."""
MOST = 32
"""Pairs that are run together."""


@dataclass(frozen=True)
class Contrasts:
    """prompts, others: bases and sources, token by token in the same columns. answer, other: the first token of either's
    answer, (pairs,). drawn: how many pairs there were before those were left out whose tokens do not line up, or of which the
    network does not answer both. middle: for a network that gives neither answer, the logit difference midway between those of
    base and source, (pairs,): on which side of it a run lies counts as its answer. accuracy: the network's on the prompts of
    the pairs that line up, as far as the first token of an answer goes. rows: the pairs' numbers among those that were
    drawn."""

    prompts: Encoded
    others: Encoded
    answer: Rows
    other: Rows
    drawn: int
    middle: NDArray[np.float32] | None = None
    accuracy: Accuracy | None = None
    rows: Rows | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Rows) -> Contrasts:
        """Some of the pairs."""
        prompts, others = self.prompts.take(rows), self.others.take(rows)
        middle = None if self.middle is None else self.middle[rows]
        numbers = None if self.rows is None else self.rows[rows]
        return Contrasts(prompts, others, self.answer[rows], self.other[rows], self.drawn, middle, self.accuracy, numbers)

    def batches(self, nodes: int, width: int, prefix: int) -> Iterator[Contrasts]:
        """As many at once as there is room for what so many nodes add to states of so many entries."""
        each = 4 * nodes * width * (self.prompts.width - prefix)
        rows = max(1, min(MOST, int(ROOM // each)))
        yield from (self.take(np.arange(i, min(i + rows, len(self)))) for i in range(0, len(self), rows))

    def bootstrap(self) -> Bootstrap:
        """By base and source prompt."""
        return Bootstrap(np.stack([self.prompts.identities(), self.others.identities()]))

    def difference(self, logits: Tensor) -> Tensor:
        """The logit of the base's answer less that of the source's, (pairs,)."""
        one, other = (torch.from_numpy(each)[:, None].to(logits.device) for each in (self.answer, self.other))
        return (logits.gather(1, one) - logits.gather(1, other))[:, 0]


def contrasts(engine: ResumeEngine, data: Dataset, name: str, variable: int | None = None) -> Contrasts:
    """Of a hypothesis' pairs those whose swap should lead to the source's own answer, another than the base's; whose prompts
    have every position in the same column; and of which the network answers both, as far as their first token goes.

    variable: only pairs in which this one of the hypothesis' variables is swapped alone. DasError where fewer than two are
    left."""
    p, prompts = data.pairs[name], tokens(data.prompts.asked())
    if not p.answered:
        raise DasError("circuits go by how prompts are answered: the pairs need the columns base_label and source_label")
    swapped = p.sources != p.base
    fit = (p.label != p.base_label) & (p.label == p.source_label)
    fit &= swapped.sum(0) == 1 if variable is None else swapped[variable] & (swapped.sum(0) == 1)
    answer, other = (data.answers.spelling(each)[:, 0] for each in (p.base_label, p.label))
    fit &= answer != other
    base, source = p.base, p.first_source
    level = fit & _level(prompts, base, source)
    rows = np.flatnonzero(level)
    said = predictions(engine, prompts.take(np.concatenate([base[rows], source[rows]])))
    right = rows[(said[: len(rows)] == answer[rows]) & (said[len(rows) :] == other[rows])]
    if len(right) < 2:
        raise DasError(
            f"{int(fit.sum())} of {len(p)} pairs should take the source's answer, the tokens of {len(rows)} line up with the "
            f"source's, and the network answers both of {len(right)}: too few for a circuit. Draw more, or other families"
        )
    found = prompts.take(base[right]), prompts.take(source[right])
    every = np.concatenate([answer[rows], other[rows]])
    accuracy = Accuracy(float((said == every).mean()), float(np.unique(every, return_counts=True)[1].max() / len(every)))
    return Contrasts(*found, answer[right], other[right], len(p), accuracy=accuracy, rows=right)


def _level(prompts: Encoded, one: Rows, other: Rows) -> NDArray[np.bool_]:
    """Pairs of prompts that are equally long and have every position in the same columns."""
    same: NDArray[np.bool_] = prompts.lengths[one] == prompts.lengths[other]
    for at in prompts.positions.values():
        same &= (at[one] == at[other]).all(1)
    return same


def own_contrasts(engine: ResumeEngine, found: Contrasts) -> Contrasts:
    """The same prompts for a network that does not know the answers: it is held to the side to which it leans, whichever that
    is. The answers of a pair change places where it leans to the base's more in the source."""
    both = [found.difference(_answers(engine, prompts)).cpu().numpy() for prompts in (found.prompts, found.others)]
    turned = both[0] < both[1]
    answer, other = np.where(turned, found.other, found.answer), np.where(turned, found.answer, found.other)
    middle = np.where(turned, -1, 1) * (both[0] + both[1]) / 2
    own = Contrasts(found.prompts, found.others, answer, other, found.drawn, middle)
    return own.take(np.flatnonzero(both[0] != both[1]))


def _answers(engine: ResumeEngine, prompts: Encoded, size: int = 128) -> Tensor:
    return torch.cat(
        [engine.clean(prompts.take(np.arange(i, min(i + size, len(prompts))))) for i in range(0, len(prompts), size)]
    )
