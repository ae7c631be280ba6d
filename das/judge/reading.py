"""Reading: which directions at a site the rest of the network reads, and what of a subspace's swap they owe to nature.

A swap moves an activation by Q Qᵀ (s − b). Of that, the network sees the part in the directions that it reads, and this part
may be fed from two sides: from what base and source differ by in those very directions, or from a difference that nothing
reads, which the subspace's columns carry over into them. In an illusion (Makelov et al. 2023, "Is this the subspace you are
looking for?", arXiv 2311.17030) all of it is carried over, and nature never moves the read directions at all. A variable that
is there moves them by itself.

So the read part asks: how far do the answers follow if every read direction moves *no further than the subspace moves it, and
no further than base and source differ there*? The directions are the principal vectors between columns and read space; along
each the subspace's movement is measured as a multiple of the natural difference, over natural pairs, and cut to [0, 1].
- An illusion differs by nothing there: its read part does nothing, however wide the subspace around it.
- Where a louder, unread copy of a variable beside it feeds the swap, the multiple is 1 or more, and nature's own difference
  does as well.
- A spare column that leans a little into a direction read for another reason moves it a little, and so does the read part. (To
  swap that direction whole, as if leaning were lying there, would spoil the variable that lives in it.)
- Only to ask how much is *fed* from the read side would call the louder copy an illusion; to ask whether the whole vector's
  swap flips as much would miss an illusion beside an honest variable; a bound on how much a column must lean would depend on
  the loudness of copies, which has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from das.interchange.batch import Batch, Swap
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Parts, kept
from das.interchange.reply import Reply
from das.interchange.score import captures_for
from das.network.site import Site
from das.pairs.dataset import Dataset

ROWS, ANSWERS = 128, 8
"""Pairs, and answers, whose gradients are looked at; of more answers, as many random mixtures, others for every row."""

ENERGY = 0.999
"""The share of the squared gradients that the read directions hold."""


@dataclass(frozen=True)
class Reading:
    """What of a feature the network reads.

    parts: the feature where the network reads, and elsewhere.
    dormancy: how much of what the swap does where the network reads is beyond the read part: 0 where base and source differ
        there by as much, 1 where they do not differ at all.
    """

    parts: Parts
    dormancy: float


def read(engine: Engine, data: Dataset, name: str, site: Site, feature: Feature) -> Reading | None:
    """Splits a feature at a site, by what the network reads of some of the pairs `name` of the data. None for a feature that
    has no directions of its own, as the whole vector."""
    if not feature.size:
        return None
    rows = np.arange(min(ROWS, len(data.pairs[name])))
    batch = Batch.capture(data, captures_for(engine, data, [site]), {name: rows})
    swap = batch.swap(name, site)
    directions = read_directions(engine, batch, name, site, swap, feature)
    parts = feature.parts(directions, swap.base, swap.source)
    if parts is None:
        return None
    moved = (feature.swap(swap.base, swap.source) @ directions).norm()
    natural = parts.inside.swap(swap.base, swap.source).norm()
    beyond = max(0.0, 1 - float(natural / moved)) if moved > 0 else 0.0
    return Reading(parts, round(beyond, 4))  # a difference of near equals: what follows is rounding


def read_directions(engine: Engine, batch: Batch, name: str, site: Site, swap: Swap, feature: Feature) -> Tensor:
    """(d, r), orthonormal: where the answers' logits, less their mean, have gradients at the base and the patched vectors."""
    patched = feature.swap(swap.base, swap.source)
    delta = torch.stack([torch.zeros_like(patched), patched]).requires_grad_()
    centred = _centred(batch.reply(engine, site, {name: swap}, [delta], [partial(kept, [feature] * 2)]))
    totals = torch.einsum("ra,raj->j", centred, _mixtures(*centred.shape).to(centred.device))
    gradients = [torch.autograd.grad(total, delta, retain_graph=True)[0].flatten(0, 1) for total in totals]
    _, size, directions = torch.linalg.svd(torch.cat(gradients), full_matrices=False)
    energy = size.square().cumsum(0)
    count = int((energy < ENERGY * energy[-1]).sum()) + 1 if energy[-1] > 0 else 0
    read: Tensor = directions[:count].T
    return read


def _centred(reply: Reply) -> Tensor:
    """(rows, answers): the logits of the counterfactual answers' tokens, less their mean; of answers of several tokens, those
    of each step beside each other; of answers that are numbers, what the network gives."""
    steps = reply.answers.tokens_of(np.unique(reply.numbers["label"]))
    logits = reply.of("label").flatten(0, 2)  # (copies · pairs · slots, steps, vocabulary)
    if not steps:
        return logits.flatten(1)
    each = [logits[:, at, torch.from_numpy(tokens).to(logits.device)] for at, tokens in enumerate(steps)]
    return torch.cat([answers - answers.mean(-1, keepdim=True) for answers in each], -1)


def _mixtures(rows: int, answers: int) -> Tensor:
    """(rows, answers, at most ANSWERS): each answer, or random mixtures of all, which over the rows span as much."""
    if answers <= ANSWERS:
        return torch.eye(answers).expand(rows, -1, -1)
    return torch.randn(rows, answers, ANSWERS, generator=torch.Generator().manual_seed(0))
