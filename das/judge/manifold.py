"""Manifold: how far patched activations lie from those that natural prompts cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from das.find.alignment import Alignment
from das.interchange.batch import Batch, batches
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.feature import changes
from das.interchange.score import captures_for
from das.network.site import Site
from das.pairs.dataset import Dataset

ROWS = 128
"""Pairs of each hypothesis that are looked at."""

OUTER = 0.95
"""The quantile of natural distances beyond which an activation counts as unnatural."""

FLOOR = 0.01
"""Directions in which natural activations vary less than this share of the mean variance count as varying so much."""

TINY = 1e-12
"""Beside distances, so that where nothing varies nothing is far."""


@dataclass(frozen=True)
class Place:
    """Where patched activations lie.

    off_manifold: the share of them that is farther out than 95 % of natural activations, so .05 for natural ones.
    distance: the median distance from the natural mean, in units of that of natural activations.
    """

    off_manifold: float
    distance: float


class Natural:
    """The law of natural activations at a site: mean and covariance of some, and the distances from it of others.

    fit, held: (rows, d) activations. A distance is Mahalanobis', with the covariance's small eigenvalues lifted to `FLOOR` of
    their mean, so that fewer rows than dimensions will do.
    """

    def __init__(self, fit: Tensor, held: Tensor) -> None:
        self._mean = fit.mean(0)
        _, size, self._directions = torch.linalg.svd(fit - self._mean, full_matrices=False)
        variance = size.square() / max(1, len(fit) - 1)
        self._floor = float(variance.sum() / fit.shape[1]) * FLOOR + 1e-12
        self._variance = variance.clamp(min=self._floor)
        self._held = self._distance(held).sort().values

    def _distance(self, rows: Tensor) -> Tensor:
        offset = rows - self._mean
        along = offset @ self._directions.T
        rest = (offset.square().sum(1) - along.square().sum(1)).clamp(min=0)
        distance: Tensor = (along.square() / self._variance).sum(1) + rest / self._floor
        return distance

    def place(self, rows: Tensor) -> Place:
        """Where activations (rows, d) lie among the held natural ones."""
        distance = self._distance(rows)
        beyond = distance > self._held.quantile(OUTER)
        return Place(float(beyond.float().mean()), float(((distance.median() + TINY) / (self._held.median() + TINY)).sqrt()))


@torch.no_grad()
def off_manifold(
    alignments: Sequence[Alignment], engine: Engine, data: Dataset, captures: Captures | None = None
) -> list[Place]:
    """For each alignment, where its patched activations lie among the natural ones at its site. captures: kept ones, if there
    are any."""
    sites = list(dict.fromkeys(a.cell.site for a in alignments))
    drawn = {name: np.arange(min(ROWS, len(pairs))) for name, pairs in data.pairs.items()}
    natural: dict[Site, list[Tensor]] = {site: [] for site in sites}
    patched: dict[int, list[Tensor]] = {i: [] for i in range(len(alignments))}
    for _, batch in batches(data, captures or captures_for(engine, data, sites), drawn, rows=32):
        for site in sites:
            here = {i: a for i, a in enumerate(alignments) if a.cell.site == site}
            natural[site].append(_collect(batch, site, here, patched))
    laws = {site: _law(torch.cat(rows)) for site, rows in natural.items()}
    return [laws[a.cell.site].place(torch.cat(patched[i])) for i, a in enumerate(alignments)]


def _collect(batch: Batch, site: Site, here: Mapping[int, Alignment], patched: dict[int, list[Tensor]]) -> Tensor:
    """Adds what each alignment's swap makes of the batch; returns the natural activations."""
    swaps = {name: batch.swap(name, site) for name in batch.pairs}
    for name, swap in swaps.items():
        mine = {i: a.feature for i, a in here.items() if a.cell.hypothesis == name}
        if mine:
            for i, delta in zip(mine, changes(list(mine.values()), swap.base, swap.source), strict=True):
                patched[i].append((swap.base.float() + delta).cpu())
    return torch.cat([swap.base.float().cpu() for swap in swaps.values()])


def _law(rows: Tensor) -> Natural:
    """From one half of the distinct activations, with the other half held; where all are equal, the one they are is both."""
    rows = torch.unique(rows, dim=0)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    return Natural(rows[::2], rows[1::2] if len(rows) > 1 else rows)
