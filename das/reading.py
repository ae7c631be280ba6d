"""Reading: which directions at a site the rest of the network reads, and the part of a subspace that lies in them.

A swap can work through a direction that natural inputs leave alone, fed from one that nothing reads (Makelov et al. 2023,
"Is this the subspace you are looking for?", arXiv 2311.17030). Then the read part of the subspace does nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from das.batch import Batch, Swap
from das.dataset import Dataset
from das.engine import Engine
from das.score import captures_for
from das.site import Site
from das.subspace import Subspace

ROWS, ANSWERS = 128, 64
"""Pairs, and answers, whose gradients are looked at; of more answers, as many random mixtures."""

ENERGY = 0.999
"""The share of the squared gradients that the read directions hold."""

SLIGHT = 0.02
"""A column whose part in a space is shorter than this has none in it. (A copy that nothing reads may be many times louder than
what is read, and a swap may go by the sum of the two.)"""


@dataclass(frozen=True)
class Reading:
    """A subspace's two parts.

    read, unread: what of the swapped columns lies in the directions that are read, and outside of them, as subspaces.
    share: how much of the columns is read: their squared length in those directions, from 0 to 1.
    dormancy: how much of what the swap does in the read part does not come from there: 0 where the read part is moved as far as
        base and source differ in it, 1 where they do not differ in it at all.
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
    directions = read_directions(engine, batch, name, site, swap, subspace)
    columns = torch.cat(_columns(subspace), 1)
    part = _part(subspace, lambda columns: directions @ (directions.T @ columns))
    rest = _part(subspace, lambda columns: columns - directions @ (directions.T @ columns))
    share = float((directions.T @ columns).square().sum() / max(1, columns.shape[1]))
    return Reading(part, rest, share, _dormancy(subspace, part, swap))


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


def _dormancy(subspace: Subspace, part: Subspace, swap: Swap) -> float:
    change = subspace.delta(swap.base, swap.source)
    moved = part.delta(swap.base, (swap.base + change).expand_as(swap.source)).norm()
    natural = part.delta(swap.base, swap.source).norm()
    return 1 - float(min(1.0, natural / moved)) if moved > 0 else 0.0


def _columns(subspace: Subspace) -> list[Tensor]:
    """The swapped columns of each variable, (d, rank of it)."""
    assert subspace.basis is not None
    return [subspace.basis[:, i, mask > 0.5] for i, mask in enumerate(subspace.mask)]


def _part(subspace: Subspace, projected: Callable[[Tensor], Tensor]) -> Subspace:
    """The span of each variable's projected columns; of each at most as many as it has."""
    parts = []
    for columns in _columns(subspace):
        directions, length, _ = torch.linalg.svd(projected(columns), full_matrices=False)
        parts.append(directions[:, length > SLIGHT])
    k = max(1, *(part.shape[1] for part in parts))
    basis = torch.stack([torch.nn.functional.pad(part, (0, k - part.shape[1])) for part in parts], 1)
    return Subspace(basis, torch.stack([(torch.arange(k) < part.shape[1]).float() for part in parts]))
