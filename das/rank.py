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
    """To how many columns subspaces (by any number: hypothesis, site, subspace, tolerance) can be cut: the smallest width
    whose IIA is within the tolerance of the best, sought among doublings first, and then by halves."""
    tried: dict[int, Curve] = {i: {} for i in wanted}
    points = {i: [*_doublings(width_of(subspace)), width_of(subspace)] for i, (_, _, subspace, _) in wanted.items()}
    while points:
        some = {i: (*wanted[i][:2], [narrowed(wanted[i][2], width) for width in at]) for i, at in points.items()}
        for i, hits in score(engine, data, some, captures=captures).items():
            tried[i] |= dict(zip(points[i], hits.mean(1).tolist(), strict=True))
        gaps = {i: _skipped(curve, wanted[i][3]) for i, curve in tried.items()}
        points = {i: [gap[len(gap) // 2]] for i, gap in gaps.items() if gap}
    return {i: choose_rank(curve, wanted[i][3]) for i, curve in tried.items()}


def _doublings(width: int) -> list[int]:
    """1, 2, 4, … below a width."""
    return [2**n for n in range((width - 1).bit_length())]


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
    bounded = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Boundless) and a.rank}
    _order(bounded, engine, val, captures)
    wanted = {i: (a.cell.hypothesis, a.cell.site, a.hard, _tolerance(a)) for i, a in bounded.items()}
    for i, width in narrowest(wanted, engine, val, captures).items():
        alignments[i].hard = narrowed(alignments[i].hard, width)
    return found


def _order(bounded: Mapping[int, Alignment], engine: Engine, val: Dataset, captures: Captures | None) -> None:
    """Sorts the columns that alignments swap by how much is lost without each: below its boundary a mask is flat, and training
    leaves the column that is not needed at any place."""
    without = {i: [_without(a.hard, *at) for at in a.hard.mask.nonzero().tolist()] for i, a in bounded.items()}
    wanted = {i: (a.cell.hypothesis, a.cell.site, without[i]) for i, a in bounded.items()}
    for i, hits in (score(engine, val, wanted, captures=captures) if wanted else {}).items():
        a, mask = bounded[i], bounded[i].hard.mask
        left = torch.full(mask.shape, 2.0).masked_scatter(mask > 0, torch.tensor(hits.mean(1), dtype=torch.float32))
        order = left.argsort(dim=1, stable=True)
        assert a.hard.basis is not None
        basis = a.hard.basis.take_along_dim(order[None], 2)
        a.hard, a.soft = (Subspace(basis, part.mask.take_along_dim(order, 1)) for part in (a.hard, a.soft))


def _without(subspace: Subspace, variable: int, column: int) -> Subspace:
    mask = subspace.mask.clone()
    mask[variable, column] = 0
    return replace(subspace, mask=mask)


def _refine(
    found: dict[int, Curve], alignments: Sequence[Alignment], engine: Engine, val: Dataset, captures: Captures | None
) -> None:
    """Takes curves also at the widths that were skipped next to the chosen one, so that any rank can be found."""
    while gaps := {i: gap for i, curve in found.items() if (gap := _skipped(curve, _tolerance(alignments[i])))}:
        for i, points in _taken(gaps, alignments, engine, val, None, captures).items():
            found[i] = dict(sorted((found[i] | points).items()))


def _skipped(curve: Curve, tolerance: float) -> list[int]:
    """Widths at which the curve was not taken and that may be the one to choose: those next below the chosen one, else those
    next above the best, if it falls there."""
    chosen, best = choose_rank(curve, tolerance), max(curve, key=curve.__getitem__)
    below = max((width for width in curve if width < chosen), default=0)
    above = min((width for width in curve if width > best), default=best)
    falls = curve[above] < curve[best] - tolerance
    return list(range(below + 1, chosen)) or list(range(best + 1, above if falls else 0))


def _tolerance(alignment: Alignment) -> float:
    kind = alignment.cell.kind
    assert isinstance(kind, Boundless | Nested)
    return kind.tolerance
