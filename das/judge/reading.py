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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from das.interchange.batch import Batch, Swap
from das.interchange.engine import Engine
from das.interchange.score import captures_for
from das.interchange.subspace import Subspace
from das.network.site import Site
from das.pairs.dataset import Dataset

ROWS, ANSWERS = 128, 64
"""Pairs, and answers, whose gradients are looked at; of more answers, as many random mixtures."""

ENERGY = 0.999
"""The share of the squared gradients that the read directions hold."""


@dataclass(frozen=True)
class Reading:
    """A subspace's two parts.

    read, unread: the directions that the subspace moves where the network reads, and elsewhere, as subspaces; the mask says how
        far each is swapped: as far as the whole subspace moves it, and no further than base and source differ.
    share: how much of the columns is read: their squared length in those directions, from 0 to 1.
    dormancy: how much of what the swap does where the network reads is beyond the read part: 0 where base and source differ
        there by as much, 1 where they do not differ at all.
    """

    read: Subspace
    unread: Subspace
    share: float
    dormancy: float


def read(engine: Engine, data: Dataset, name: str, site: Site, subspace: Subspace) -> Reading:
    """Splits a subspace at a site, by what the network reads of some of the pairs `name` of the data."""
    rows = np.arange(min(ROWS, len(data.pairs[name])))
    batch = Batch.capture(data, captures_for(engine, data, [site]), {name: rows})
    swap = batch.swap(name, site)
    directions = read_directions(engine, batch, name, site, swap, subspace).cpu()
    columns = torch.cat(_columns(subspace), 1)
    part = _part(subspace, swap, lambda columns: directions @ (directions.T @ columns))
    rest = _part(subspace, swap, lambda columns: columns - directions @ (directions.T @ columns))
    share = float((directions.T @ columns).square().sum() / max(1, columns.shape[1]))
    moved = (subspace.delta(swap.base, swap.source).cpu() @ directions).norm()
    natural = part.delta(swap.base, swap.source).norm()
    return Reading(part, rest, share, max(0.0, 1 - float(natural / moved)) if moved > 0 else 0.0)


def read_directions(engine: Engine, batch: Batch, name: str, site: Site, swap: Swap, subspace: Subspace) -> Tensor:
    """(d, r), orthonormal: where the answers' logits, less their mean, have gradients at the base and the patched vectors."""
    patched = subspace.delta(swap.base, swap.source)
    delta = torch.stack([torch.zeros_like(patched), patched]).requires_grad_()
    logits = batch.resume(engine, site, {name: swap}, [delta])
    tokens = batch.labels([name]).unique()
    answers = logits[..., tokens.to(logits.device)]
    totals = (answers - answers.mean(-1, keepdim=True)).flatten(0, 1).sum(0) @ _mixtures(len(tokens)).to(logits.device)
    gradients = [torch.autograd.grad(total, delta, retain_graph=True)[0].flatten(0, 1) for total in totals]
    _, size, directions = torch.linalg.svd(torch.cat(gradients), full_matrices=False)
    energy = size.square().cumsum(0)
    count = int((energy < ENERGY * energy[-1]).sum()) + 1 if energy[-1] > 0 else 0
    read: Tensor = directions[:count].T
    return read


def _mixtures(answers: int) -> Tensor:
    """(answers, at most ANSWERS): each answer, or random mixtures of all, which span as many of their gradients."""
    if answers <= ANSWERS:
        return torch.eye(answers)
    return torch.randn(answers, ANSWERS, generator=torch.Generator().manual_seed(0))


def _columns(subspace: Subspace) -> list[Tensor]:
    """The swapped columns of each variable, (d, rank of it)."""
    assert subspace.basis is not None
    return [subspace.basis[:, i, mask > 0.5] for i, mask in enumerate(subspace.mask)]


def _part(subspace: Subspace, swap: Swap, projected: Callable[[Tensor], Tensor]) -> Subspace:
    """What of each variable's columns lies in a space: as many directions, and how far each is swapped."""
    parts = []
    for columns, source in zip(_columns(subspace), swap.source, strict=True):
        directions, leaning, own = torch.linalg.svd(projected(columns), full_matrices=False)
        difference = (source - swap.base).float().cpu()
        parts.append((directions, _multiple(difference @ columns @ own.T * leaning, difference @ directions)))
    k = max(1, *(len(far) for _, far in parts))
    basis = [torch.nn.functional.pad(directions, (0, k - len(far))) for directions, far in parts]
    return Subspace(torch.stack(basis, 1), torch.stack([torch.nn.functional.pad(far, (0, k - len(far))) for _, far in parts]))


def _multiple(moved: Tensor, natural: Tensor) -> Tensor:
    """(directions,), from 0 to 1: the movement as a multiple of the natural difference; both (rows, directions)."""
    size = natural.square().sum(0).clamp(min=torch.finfo(natural.dtype).tiny)
    return ((moved * natural).sum(0) / size).clamp(0, 1)
