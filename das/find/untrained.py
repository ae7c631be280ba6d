"""Untrained: the finder of kinds with nothing to find, which the others are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from das.find.alignment import Alignment, Cell
from das.find.kinds import Full, check_width
from das.find.search import Search
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """The cells' alignments; no pair is looked at."""
    data, variables = search.data["val"], search.variables
    return [untrained(cell, data.size(search.engine.lm, cell.site), variables[cell.hypothesis]) for cell in cells]


def untrained(cell: Cell, d: int, variables: int) -> Alignment:
    """The whole vector, or random columns of a vector of d entries for so many variables."""
    if isinstance(cell.kind, Full):
        return Alignment(cell, Whole(variables))
    k = cell.kind.width
    check_width(cell.kind, variables, d)
    basis = random_basis(d, variables * k, torch.Generator().manual_seed(cell.generator_seed))
    return Alignment(cell, Subspace(basis.unflatten(1, (variables, k)), torch.ones(variables, k)))
