"""Directions: the finder of closed forms, which go by what prompts have at a site and train nothing through the network.

Each kind has a file of its own and says which columns a variable has there, the most important first; the rank is looked for as
that of `Nested` is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from das.errors import DasError
from das.find.alignment import Alignment, Cell
from das.find.kinds import Kind
from das.find.rank import settle
from das.find.search import Search
from das.interchange.subspace import Subspace
from das.interchange.vectors import vectors
from das.pairs.dataset import Labelled

ROWS = 2048
"""Pairs that are looked at."""

MANY = 256
"""Values of a variable that are too many to go by: each would be seen a few times."""


@dataclass(frozen=True)
class Seen:
    """What pairs have at a site.

    base: (pairs, d); sources: (variables, pairs, d). values: (variables, pairs), the number of each variable's value in the
    base; None where no causal model says it. changed: (variables, pairs), whether the source has another value, as far as is
    known; alone: and differs in nothing else.
    """

    base: Tensor
    sources: Tensor
    values: Tensor | None
    changed: Tensor
    alone: Tensor

    @cached_property
    def centred(self) -> Tensor:
        """The base's vectors less their mean."""
        return self.base - self.base.mean(0)

    def each_value(self, kind: Kind) -> Tensor:
        """`values`; DasError for pairs that do not know them."""
        if self.values is None:
            raise DasError(f"the pairs do not say which values the variable has, which {kind.label} goes by; lat goes without")
        if (most := int(self.values.max()) + 1) > MANY:
            raise DasError(
                f"{kind.label} goes by the values of the variable, which has {most} in {len(self.base)} pairs, and at most "
                f"{MANY} can be told apart: name lat, or a kind that trains"
            )
        return self.values


class Direction(Kind):
    """A closed form."""

    finder = "directions"
    ordered = True

    @abstractmethod
    def columns(self, seen: Seen) -> list[Tensor]:
        """Per variable (d, at most k) columns, the most important first."""


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """Closed forms for all cells, their ranks settled."""
    done = [a for name in dict.fromkeys(cell.hypothesis for cell in cells) for a in _of_hypothesis(name, cells, search)]
    settle(done, search.engine, search.data["val"], room=search.room)
    return done


def _of_hypothesis(name: str, cells: Sequence[Cell], search: Search) -> Iterator[Alignment]:
    for here, seen in sights(name, cells, search):
        found = {kind: _found(kind, seen) for kind in dict.fromkeys(cell.kind for cell in here)}
        yield from (Alignment(cell, found[cell.kind]) for cell in here)  # seeds change nothing


def sights(name: str, cells: Sequence[Cell], search: Search) -> Iterator[tuple[list[Cell], Seen]]:
    """A hypothesis' cells of each site, with what training pairs have there."""
    data = search.data["train"]
    pairs = data.pairs[name].take(slice(ROWS))
    every, places = np.unique(np.concatenate([pairs.base[None], pairs.sources]), return_inverse=True)
    sites = list(dict.fromkeys(cell.site for cell in cells if cell.hypothesis == name))
    for site, rows in vectors(search.engine, data, every, sites):
        seen = _seen(pairs, rows[places.reshape(-1, len(pairs))])
        yield [cell for cell in cells if (cell.hypothesis, cell.site) == (name, site)], seen


def _seen(pairs: Labelled, rows: Tensor) -> Seen:
    """rows: (1 + variables, pairs, d), what base and sources have."""
    changed = pairs.sources != pairs.base if pairs.changed is None else pairs.changed
    alone = changed & (False if pairs.alone is None else pairs.alone)
    values = None if pairs.classes is None else torch.from_numpy(pairs.classes)
    return Seen(rows[0], rows[1:], values, torch.from_numpy(changed), torch.from_numpy(alone))


def _found(kind: Kind, seen: Seen) -> Subspace:
    assert isinstance(kind, Direction)
    variables, d = len(seen.sources), seen.base.shape[1]
    if variables > d:
        raise DasError(f"{variables} variables need a column each, and the vectors there have {d} entries: align fewer")
    return _subspace([columns[:, : d // variables] for columns in kind.columns(seen)])  # at most k


def _subspace(columns: Sequence[Tensor]) -> Subspace:
    """Variables' columns made orthonormal, the first of each before the second of any; as wide as the widest, with random
    columns in the others, which are not swapped, and come last so that they take nothing from those that are."""
    k, d, variables = max(1, *(part.shape[1] for part in columns)), len(columns[0]), len(columns)
    there = torch.stack([torch.arange(k) < part.shape[1] for part in columns], 1)  # (k, variables)
    wide = torch.randn(d, k, variables, generator=torch.Generator().manual_seed(0))
    for i, part in enumerate(columns):
        wide[:, : part.shape[1], i] = part
    order = (~there.flatten()).int().argsort(stable=True)
    basis = torch.empty(d, k * variables)
    basis[:, order] = torch.linalg.qr(wide.flatten(1)[:, order])[0]
    return Subspace(basis.unflatten(1, (k, variables)).mT, there.T.float())


def principal(rows: Tensor, k: int) -> Tensor:
    """The first k directions of rows (n, d) by the sum of squares along them, (d, at most k); the same for the same rows."""
    directions: Tensor = torch.linalg.svd(rows, full_matrices=False)[2][:k].T
    return directions


def means(rows: Tensor, values: Tensor) -> Tensor:
    """The mean row of each value times the root of how often it occurs, (values, columns). values: (rows,) of 0, 1, …"""
    indicators = torch.nn.functional.one_hot(values).float()
    return indicators.T @ rows / indicators.sum(0).clamp(min=1).sqrt()[:, None]
