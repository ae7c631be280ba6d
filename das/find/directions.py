"""Directions: finders in closed form, from what prompts have at a site: difference in means, and principal components.

Both order their columns by the variance that they explain, and both look for their rank as `Nested` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.errors import DasError
from das.find.alignment import Alignment, Cell
from das.find.kinds import Kind, check_width
from das.find.rank import settle
from das.find.search import Search
from das.interchange.subspace import Subspace
from das.interchange.vectors import vectors

ROWS = 2048
"""Base prompts that are looked at."""


@dataclass(frozen=True)
class Means(Kind):
    """Difference in means: per variable the directions in which the means of its values differ, at most k. Of two values it is
    one direction, from the mean of one to that of the other (Marks and Tegmark 2023, arXiv 2310.06824)."""

    ordered = True
    by_value = True

    k: int = 8
    tolerance: float = 0.02


@dataclass(frozen=True)
class PCA(Kind):
    """The k directions in which activations vary most, whatever the variable: what a finder is worth that has not asked for it.
    With several variables, each component is that of the variable whose values it tells apart best."""

    ordered = True
    by_value = True

    k: int = 8
    tolerance: float = 0.02


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """Closed forms for all cells, their ranks settled."""
    done = [a for name in dict.fromkeys(cell.hypothesis for cell in cells) for a in _of_hypothesis(name, cells, search)]
    settle(done, search.engine, search.data["val"], room=search.room)
    return done


def _of_hypothesis(name: str, cells: Sequence[Cell], search: Search) -> Iterator[Alignment]:
    pairs = search.data["train"].pairs[name]
    if pairs.classes is None:
        raise DasError(f"{name}: its pairs do not say which values the variable has, which means and pca go by")
    sites = list(dict.fromkeys(cell.site for cell in cells if cell.hypothesis == name))
    classes = torch.from_numpy(pairs.classes[:, :ROWS])
    for site, rows in vectors(search.engine, search.data["train"], name, sites, ROWS):
        here = [cell for cell in cells if (cell.hypothesis, cell.site) == (name, site)]
        found = {kind: _found(kind, rows - rows.mean(0), classes) for kind in dict.fromkeys(cell.kind for cell in here)}
        yield from (Alignment(cell, found[cell.kind]) for cell in here)  # seeds change nothing


def _found(kind: Kind, centred: Tensor, classes: Tensor) -> Subspace:
    check_width(kind, len(classes), centred.shape[1])
    return _subspace({Means: _means, PCA: _components}[type(kind)](centred, classes, kind.width))


def _means(centred: Tensor, classes: Tensor, k: int) -> list[Tensor]:
    """Per variable (d, at most k): the principal directions of its values' means, each counted as often as it occurs."""
    return [torch.linalg.svd(_by_value(centred, own), full_matrices=False)[2][: min(k, int(own.max()))].T for own in classes]


def _by_value(rows: Tensor, own: Tensor) -> Tensor:
    """The mean row of each value times the root of how often it occurs, (values, columns)."""
    indicators = torch.nn.functional.one_hot(own).float()
    return indicators.T @ rows / indicators.sum(0).clamp(min=1).sqrt()[:, None]


def _components(centred: Tensor, classes: Tensor, k: int) -> list[Tensor]:
    """Per variable at most k of the first k components per variable, those that tell its values apart best."""
    directions = torch.linalg.svd(centred, full_matrices=False)[2][: k * len(classes)].T
    told = torch.stack([_by_value(centred @ directions, own).square().sum(0) for own in classes]).argmax(0)
    return [directions[:, told == i][:, :k] for i in range(len(classes))]


def _subspace(columns: Sequence[Tensor]) -> Subspace:
    """Variables' columns made orthonormal, those of earlier ones first; as wide as the widest, with random columns in the
    others, which are not swapped."""
    k, d = max(1, *(part.shape[1] for part in columns)), len(columns[0])
    spare = torch.randn(d, k, generator=torch.Generator().manual_seed(0))
    wide = torch.cat([torch.cat([part, spare[:, part.shape[1] :]], 1) for part in columns], 1)
    basis = torch.linalg.qr(wide)[0].unflatten(1, (len(columns), k))
    return Subspace(basis, torch.stack([(torch.arange(k) < part.shape[1]).float() for part in columns]))
