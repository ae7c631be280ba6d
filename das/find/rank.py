"""Rank: IIA by the number of swapped columns, and the rank that an alignment is given by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from das.find.alignment import Alignment
from das.find.kinds import Boundless, Nested
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.score import captures_for, score
from das.interchange.subspace import Subspace
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled

EVERY_WIDTH = 8
"""Rank curves have every width up to here and about geometrically spaced ones beyond."""

LEARNED = 0.05
"""A cell has learned something when its IIA is so far above that of swapping nothing."""

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


def unswapped(pairs: Labelled, captures: Captures) -> float:
    """IIA of swapping nothing, from captures with which the pairs have been scored."""
    return float((captures.answers[pairs.base] == pairs.label).mean())


def learned(iia: float, noop: float) -> bool:
    """Whether a subspace of this validation IIA has learned something. noop: IIA of swapping nothing."""
    return iia > noop + LEARNED


def curves(
    alignments: Sequence[Alignment], engine: Engine, data: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[int, Curve]:  # fmt: skip
    """The rank curve of every Nested alignment, by its number among the alignments; its own width is on it."""
    nested = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Nested)}
    points = {i: sorted({*widths(a.hard.mask.shape[1]), width_of(a.hard)}) for i, a in nested.items()}
    wanted = {i: (a.cell.hypothesis, a.cell.site, [cut(a.hard, width) for width in points[i]]) for i, a in nested.items()}
    found = score(engine, data, wanted, progress=progress, captures=captures)
    return {i: dict(zip(at, found[i].mean(1).tolist(), strict=True)) for i, at in points.items()}


def narrowest(
    wanted: Mapping[int, tuple[str, Site, Subspace, float]], engine: Engine, data: Dataset, captures: Captures | None = None
) -> dict[int, Curve]:
    """As much of the curves of subspaces (by any number: hypothesis, site, subspace, tolerance) as `choose_rank` needs to find
    to how many columns they can be cut: taken at doublings first, and then by halves."""
    tried: dict[int, Curve] = {i: {} for i in wanted}
    points = {i: _points(subspace) for i, (_, _, subspace, _) in wanted.items()}
    while points:
        some = {i: (*wanted[i][:2], [narrowed(wanted[i][2], width) for width in at]) for i, at in points.items()}
        for i, hits in score(engine, data, some, captures=captures).items():
            tried[i] |= dict(zip(points[i], hits.mean(1).tolist(), strict=True))
        gaps = {i: _skipped(curve, wanted[i][3]) for i, curve in tried.items()}
        points = {i: [gap[len(gap) // 2]] for i, gap in gaps.items() if gap}
    return tried


def _points(subspace: Subspace) -> list[int]:
    """1, 2, 4, … and all that a subspace swaps."""
    width = width_of(subspace)
    return [*(2**n for n in range((width - 1).bit_length())), width]


def settle(
    alignments: Sequence[Alignment], engine: Engine, val: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[int, Curve]:  # fmt: skip
    """Gives alignments of kinds that look for their rank the fewest columns whose IIA on validation pairs is within the kind's
    tolerance of the best. Returns the rank curves of the Nested ones.

    A Nested one is cut by the order of its training first. Where a cell of either kind has learned something, its columns are
    sorted by what is lost without each, and cut again: training leaves a column that is not needed at any place.
    """
    kinds = {i: a.cell.kind for i, a in enumerate(alignments) if a.rank}
    left = {i: kind.tolerance for i, kind in kinds.items() if isinstance(kind, Boundless | Nested)}
    nested = {i: alignments[i] for i in left if isinstance(kinds[i], Nested)}
    for a in nested.values():
        a.hard = cut(a.hard, a.hard.mask.shape[1])
    _shorten(nested, left, engine, val, captures)
    if left:
        captures = captures or captures_for(engine, val, [a.cell.site for a in alignments])
        some = _that_learned({i: alignments[i] for i in left}, engine, val, captures)
        _order(some, engine, val, captures)
        _shorten(some, left, engine, val, captures)
    for a in nested.values():
        a.soft = a.hard
    return curves(alignments, engine, val, progress, captures)


def _shorten(
    some: Mapping[int, Alignment], left: dict[int, float], engine: Engine, val: Dataset, captures: Captures | None
) -> None:
    """Cuts alignments to the first columns that suffice. left: how much IIA each may still lose; what it loses here is taken
    from that."""
    wanted = {i: (a.cell.hypothesis, a.cell.site, a.hard, left[i]) for i, a in some.items()}
    for i, curve in narrowest(wanted, engine, val, captures).items():
        width = choose_rank(curve, left[i])
        left[i] = max(0.0, left[i] - max(curve.values()) + curve[width])
        some[i].hard = narrowed(some[i].hard, width)


def _that_learned(some: Mapping[int, Alignment], engine: Engine, val: Dataset, captures: Captures) -> dict[int, Alignment]:
    """Those that do better than swapping nothing, if only by their first columns: of the others no column is worth more than
    another."""
    parts = {i: [narrowed(a.hard, width) for width in _points(a.hard)] for i, a in some.items()}
    hits = score(engine, val, {i: (a.cell.hypothesis, a.cell.site, parts[i]) for i, a in some.items()}, captures=captures)
    best = {i: float(found.mean(1).max()) for i, found in hits.items()}
    return {i: a for i, a in some.items() if learned(best[i], unswapped(val.pairs[a.cell.hypothesis], captures))}


def _order(some: Mapping[int, Alignment], engine: Engine, val: Dataset, captures: Captures) -> None:
    """Sorts the columns that alignments swap by how much is lost without each."""
    without = {i: [_without(a.hard, *at) for at in a.hard.mask.nonzero().tolist()] for i, a in some.items()}
    wanted = {i: (a.cell.hypothesis, a.cell.site, without[i]) for i, a in some.items()}
    for i, hits in score(engine, val, wanted, captures=captures).items():
        a, mask = some[i], some[i].hard.mask
        left = torch.full(mask.shape, 2.0).masked_scatter(mask > 0, torch.tensor(hits.mean(1), dtype=torch.float32))
        order = left.argsort(dim=1, stable=True)
        assert a.hard.basis is not None
        basis = a.hard.basis.take_along_dim(order[None], 2)
        a.hard, a.soft = (Subspace(basis, part.mask.take_along_dim(order, 1)) for part in (a.hard, a.soft))


def _without(subspace: Subspace, variable: int, column: int) -> Subspace:
    mask = subspace.mask.clone()
    mask[variable, column] = 0
    return replace(subspace, mask=mask)


def _skipped(curve: Curve, tolerance: float) -> list[int]:
    """Widths at which the curve was not taken and that may be the one to choose: those next below the chosen one, else those
    next above the best, if it falls there."""
    chosen, best = choose_rank(curve, tolerance), max(curve, key=curve.__getitem__)
    below = max((width for width in curve if width < chosen), default=0)
    above = min((width for width in curve if width > best), default=best)
    falls = curve[above] < curve[best] - tolerance
    return list(range(below + 1, chosen)) or list(range(best + 1, above if falls else 0))
