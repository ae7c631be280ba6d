"""Rank: IIA by the number of swapped columns, and the rank that an alignment is given by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from das.alignment import Alignment
from das.captures import Captures
from das.dataset import Dataset
from das.engine import Engine
from das.kinds import Boundless, Nested
from das.score import score
from das.site import Site
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


def narrowed(subspace: Subspace, width: int) -> Subspace:
    """What the subspace swaps of the first `width` columns of each variable."""
    return replace(subspace, mask=subspace.mask * (torch.arange(subspace.mask.shape[1]) < width))


def width_of(subspace: Subspace) -> int:
    """How many of the first columns hold all that is swapped, of any variable."""
    return int(subspace.mask.sum(1).max())


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
    """The rank curve of every Nested alignment, by its number among the alignments; its own width is on it."""
    nested = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Nested)}
    points = {i: sorted({*widths(a.hard.mask.shape[1]), width_of(a.hard)}) for i, a in nested.items()}
    return _taken(points, alignments, engine, data, progress, captures)


def _taken(
    points: Mapping[int, Sequence[int]], alignments: Sequence[Alignment], engine: Engine, data: Dataset,
    progress: Callable[[float], None] | None, captures: Captures | None,
) -> dict[int, Curve]:  # fmt: skip
    """IIA of alignments, by their numbers, at some widths each."""
    asked = {i: (alignments[i].cell, [cut(alignments[i].hard, width) for width in at]) for i, at in points.items()}
    wanted = {i: (cell.hypothesis, cell.site, subspaces) for i, (cell, subspaces) in asked.items()}
    found = score(engine, data, wanted, progress=progress, captures=captures) if wanted else {}
    return {i: dict(zip(at, found[i].mean(1).tolist(), strict=True)) for i, at in points.items()}


def narrowest(
    wanted: Mapping[int, tuple[str, Site, Subspace, float]], engine: Engine, data: Dataset, captures: Captures | None = None
) -> dict[int, int]:
    """The width to which subspaces (by any number: hypothesis, site, subspace, tolerance) can be cut, found by bisection: one
    whose IIA is within the tolerance of the best seen, where one column less is not."""

    def iia(at: Mapping[int, int]) -> dict[int, float]:
        some = {i: (*wanted[i][:2], [narrowed(wanted[i][2], width)]) for i, width in at.items()}
        return {i: float(hits.mean()) for i, hits in score(engine, data, some, captures=captures).items()}

    low, high = dict.fromkeys(wanted, 0), {i: width_of(s) for i, (_, _, s, _) in wanted.items()}
    best = iia(high) if wanted else {}
    while middle := {i: (low[i] + high[i]) // 2 for i in wanted if high[i] - low[i] > 1}:
        for i, found in iia(middle).items():
            best[i] = max(best[i], found)
            (high if found >= best[i] - wanted[i][3] else low)[i] = middle[i]
    return high


def settle(
    alignments: Sequence[Alignment], engine: Engine, val: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[int, Curve]:  # fmt: skip
    """Gives every alignment its rank by validation pairs: cuts a Nested one by its rank curve, which is returned, and from a
    Boundless one the columns below its boundary that add nothing."""
    found = curves(alignments, engine, val, progress, captures)
    _refine(found, alignments, engine, val, captures)
    for i, curve in found.items():
        a = alignments[i]
        a.hard = a.soft = cut(a.hard, choose_rank(curve, _tolerance(a)))
    bounded = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Boundless)}
    wanted = {i: (a.cell.hypothesis, a.cell.site, a.hard, _tolerance(a)) for i, a in bounded.items()}
    for i, width in narrowest(wanted, engine, val, captures).items():
        alignments[i].hard = narrowed(alignments[i].hard, width)
    return found


def _refine(
    found: dict[int, Curve], alignments: Sequence[Alignment], engine: Engine, val: Dataset, captures: Captures | None
) -> None:
    """Takes curves also at the widths between the chosen one and the one before it, so that any rank can be found."""
    while gaps := {i: gap for i, curve in found.items() if (gap := _skipped(curve, _tolerance(alignments[i])))}:
        for i, points in _taken(gaps, alignments, engine, val, None, captures).items():
            found[i] = dict(sorted((found[i] | points).items()))


def _skipped(curve: Curve, tolerance: float) -> list[int]:
    """The widths next below the chosen one at which the curve was not taken."""
    chosen = choose_rank(curve, tolerance)
    return list(range(1 + max((width for width in curve if width < chosen), default=0), chosen))


def _tolerance(alignment: Alignment) -> float:
    kind = alignment.cell.kind
    assert isinstance(kind, Boundless | Nested)
    return kind.tolerance
