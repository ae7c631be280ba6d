"""Rank: IIA by the number of swapped columns, and the rank that a Nested alignment is given by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from das.alignment import Alignment
from das.captures import Captures
from das.dataset import Dataset
from das.engine import Engine
from das.kinds import Nested
from das.score import score
from das.subspace import Subspace

EVERY_WIDTH = 8
"""Rank curves have every width up to here and about geometrically spaced ones beyond."""

Curve = dict[int, float]
"""Width, in columns of each variable → IIA."""


def widths(k: int) -> list[int]:
    """The widths at which a rank curve is taken."""
    if k <= EVERY_WIDTH:
        return list(range(1, k + 1))
    wide = np.geomspace(EVERY_WIDTH, k, 1 + round(4 * np.log2(k / EVERY_WIDTH))).round().astype(int)
    return sorted({*range(1, EVERY_WIDTH), *wide.tolist(), k})


def cut(subspace: Subspace, width: int) -> Subspace:
    """The subspace of the first `width` columns of each variable."""
    variables, k = subspace.mask.shape
    return replace(subspace, mask=(torch.arange(k) < width).float().expand(variables, -1))


def cuts(subspace: Subspace) -> list[Subspace]:
    """The subspace at every width of its rank curve."""
    return [cut(subspace, width) for width in widths(subspace.mask.shape[1])]


def choose_rank(curve: Mapping[int, float], tolerance: float) -> int:
    """The smallest width whose IIA is within `tolerance` of the best."""
    best = max(curve.values())
    return min(width for width, iia in curve.items() if iia >= best - tolerance)


def curves(
    alignments: Sequence[Alignment], engine: Engine, data: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[int, Curve]:  # fmt: skip
    """The rank curve of every Nested alignment, by its number among the alignments."""
    nested = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Nested)}
    wanted = {i: (a.cell.hypothesis, a.cell.site, cuts(a.hard)) for i, a in nested.items()}
    found = score(engine, data, wanted, progress=progress, captures=captures) if wanted else {}
    return {i: dict(zip(widths(a.hard.mask.shape[1]), found[i].mean(1).tolist(), strict=True)) for i, a in nested.items()}


def settle(
    alignments: Sequence[Alignment], engine: Engine, val: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[int, Curve]:  # fmt: skip
    """Cuts every Nested alignment to the rank that its curve on validation pairs gives it; the curves."""
    found = curves(alignments, engine, val, progress, captures)
    for i, curve in found.items():
        a = alignments[i]
        assert isinstance(a.cell.kind, Nested)
        a.hard = a.soft = cut(a.hard, choose_rank(curve, a.cell.kind.tolerance))
    return found
