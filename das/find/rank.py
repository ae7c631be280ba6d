"""Rank: IIA by the number of swapped columns, and the rank that an alignment is given by it. What is said of columns holds for
the units of a mask, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from das.find.alignment import Alignment, Curve
from das.find.kinds import Kind
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Listed
from das.interchange.score import captures_for, score
from das.network.site import Site
from das.pairs.dataset import Dataset

EVERY_WIDTH = 8
"""Rank curves have every width up to here and about geometrically spaced ones beyond."""

LEARNED = 0.05
"""A cell has learned something when its IIA is so far above that of swapping nothing."""


def widths(k: int) -> list[int]:
    """The widths at which a rank curve is taken."""
    if k <= EVERY_WIDTH:
        return list(range(1, k + 1))
    wide = np.geomspace(EVERY_WIDTH, k, 1 + round(4 * np.log2(k / EVERY_WIDTH))).round().astype(int)
    return sorted({*range(1, EVERY_WIDTH), *wide.tolist(), k})


def doublings(k: int) -> list[int]:
    """1, 2, 4, … and k."""
    return [*(2**n for n in range((k - 1).bit_length())), k]


def curve_widths(kind: Kind, k: int) -> list[int]:
    """Those of a cell's curve. A closed form's, which stands beside every cell and takes longer to judge than to find, has
    fewer."""
    return widths(k) if kind.trains else doublings(k)


def cut(feature: Listed, width: int) -> Listed:
    """The feature of the first `width` columns of each variable."""
    variables, k = feature.mask.shape
    return feature.masked((torch.arange(k) < width).float().expand(variables, -1))


def uncut(feature: Feature) -> Listed:
    """The feature of all columns."""
    assert isinstance(feature, Listed)
    return cut(feature, feature.mask.shape[1])


def narrowed(feature: Listed, width: int) -> Listed:
    """What the feature swaps of the first `width` columns of each variable."""
    return feature.masked(feature.mask * (torch.arange(feature.mask.shape[1]) < width))


def width_of(feature: Listed) -> int:
    """How many of the first columns hold all that is swapped, of any variable."""
    return int(feature.mask.sum(1).max())


def by_width(feature: Feature) -> dict[int, Listed]:
    """A variable's rank → a feature's first columns, at every width of its rank curve; empty where it has no columns."""
    if not isinstance(feature, Listed):
        return {}
    return {width * feature.unit: cut(feature, width) for width in widths(feature.mask.shape[1])}


def choose_rank(curve: Mapping[int, float], tolerance: float) -> int:
    """The smallest width whose IIA is within `tolerance` of the best."""
    best = max(curve.values())
    return min(width for width, iia in curve.items() if iia >= best - tolerance)


def unswapped(data: Dataset, name: str, captures: Captures) -> float:
    """IIA of swapping nothing, from captures with which the pairs `name` have been scored."""
    return float(data.right(captures.said.each, name, "label").mean())


def learned(iia: float, noop: float) -> bool:
    """Whether a feature of this validation IIA has learned something. noop: IIA of swapping nothing."""
    return iia > noop + LEARNED


@dataclass
class Scores:
    """IIA of parts of what alignments swap, on one data set: a part that was asked for before is not scored again. Parts are
    told apart by their columns, in whatever order these lie. where: number of an alignment → its hypothesis and site."""

    where: Mapping[int, tuple[str, Site]]
    engine: Engine
    data: Dataset
    captures: Captures | None = None
    known: dict[int, dict[frozenset[int], float]] = field(default_factory=dict)
    order: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, alignments: Sequence[Alignment], engine: Engine, data: Dataset, captures: Captures | None = None
    ) -> Scores:  # fmt: skip
        """Of alignments by their numbers in a list."""
        return cls({i: (a.cell.hypothesis, a.cell.site) for i, a in enumerate(alignments)}, engine, data, captures)

    def __call__(
        self, parts: Mapping[int, Sequence[Listed]], progress: Callable[[float], None] | None = None
    ) -> dict[int, list[float]]:
        keys = {i: [self._key(i, part) for part in some] for i, some in parts.items()}
        new = {i: dict(zip(keys[i], some, strict=True)) for i, some in parts.items()}
        new = {i: {key: some[key] for key in some if key not in self.known.setdefault(i, {})} for i, some in new.items()}
        wanted = {i: (*self.where[i], list(some.values())) for i, some in new.items() if some}
        for i, hits in score(self.engine, self.data, wanted, progress=progress, captures=self.captures).items():
            self.known[i] |= zip(new[i], hits.mean(1).tolist(), strict=True)
        return {i: [self.known[i][key] for key in some] for i, some in keys.items()}

    def _key(self, i: int, part: Listed) -> frozenset[int]:
        first = torch.arange(part.mask.numel()).view(part.mask.shape)
        return frozenset(self.order.setdefault(i, first)[part.mask > 0].tolist())

    def sort(self, i: int, order: Tensor) -> None:
        """From now on the alignment's columns lie in another order, (variables, k)."""
        self.order[i] = self.order[i].gather(1, order)


def curves(
    alignments: Sequence[Alignment], scores: Scores, progress: Callable[[float], None] | None = None
) -> dict[int, Curve]:  # fmt: skip
    """The rank curve of every alignment whose kind orders its columns, by its number among the alignments; its own width is on
    it."""
    features = {i: a.feature for i, a in enumerate(alignments) if a.cell.kind.ordered and isinstance(a.feature, Listed)}
    kinds = {i: alignments[i].cell.kind for i in features}
    points = {i: sorted({*curve_widths(kinds[i], f.mask.shape[1]), width_of(f)}) for i, f in features.items()}
    found = scores({i: [cut(feature, width) for width in points[i]] for i, feature in features.items()}, progress)
    ranks = {i: [width * features[i].unit for width in at] for i, at in points.items()}
    return {i: dict(zip(at, found[i], strict=True)) for i, at in ranks.items()}


def narrowest(wanted: Mapping[int, tuple[Listed, float]], scores: Scores) -> dict[int, Curve]:
    """As much of the curves of features (by number: feature, tolerance) as `choose_rank` needs to find to how many columns they
    can be cut: taken at doublings first, and then by halves."""
    tried: dict[int, Curve] = {i: {} for i in wanted}
    points = {i: doublings(width_of(feature)) for i, (feature, _) in wanted.items()}
    while points:
        for i, found in scores({i: [narrowed(wanted[i][0], width) for width in at] for i, at in points.items()}).items():
            tried[i] |= dict(zip(points[i], found, strict=True))
        gaps = {i: _skipped(curve, wanted[i][1]) for i, curve in tried.items()}
        points = {i: [gap[len(gap) // 2]] for i, gap in gaps.items() if gap}
    return tried


def settle(
    alignments: Sequence[Alignment], engine: Engine, val: Dataset, progress: Callable[[float], None] | None = None,
    room: float = 0.0,
) -> None:  # fmt: skip
    """Gives alignments of kinds that look for their rank the fewest columns whose IIA on validation pairs is within the kind's
    `tolerance` of the best, and those of kinds that order their columns their rank curve.

    Of one column per variable there is nothing to look for. Else one of the latter is cut by its order first. Where a cell has
    learned something, its columns are then sorted by what is lost without each, and cut again: a column that is not needed may
    lie at any place. room: bytes for captures.
    """
    alignments = [a for a in alignments if not isinstance(a.feature, Listed) or a.feature.mask.shape[1] > 1]
    if not alignments:
        return
    captures = captures_for(engine, val, [a.cell.site for a in alignments], room)
    scores = Scores.of(alignments, engine, val, captures)
    searched = {i: a for i, a in enumerate(alignments) if a.rank and a.cell.kind.slack is not None}
    left = {i: a.cell.kind.slack or 0.0 for i, a in searched.items()}
    ordered = {i: a for i, a in searched.items() if a.cell.kind.ordered}
    told = progress or (lambda share: None)
    _shorten(ordered, left, scores)
    told(0.4)
    some = _that_learned(searched, scores, val, captures)
    _order(some, scores)
    told(0.7)
    _shorten(some, left, scores)
    for i, curve in curves(alignments, scores, lambda share: told(0.8 + 0.2 * share)).items():
        alignments[i].curve = curve


def _listed(a: Alignment) -> Listed:
    """What an alignment swaps, if it is of a kind that looks for a rank."""
    assert isinstance(a.feature, Listed)
    return a.feature


def _shorten(some: Mapping[int, Alignment], left: dict[int, float], scores: Scores) -> None:
    """Cuts alignments to the first columns that suffice. left: how much IIA each may still lose; what it loses here is taken
    from that."""
    for i, curve in narrowest({i: (_listed(a), left[i]) for i, a in some.items()}, scores).items():
        width = choose_rank(curve, left[i])
        left[i] = max(0.0, left[i] - max(curve.values()) + curve[width])
        some[i].feature = narrowed(_listed(some[i]), width)


def _that_learned(some: Mapping[int, Alignment], scores: Scores, val: Dataset, captures: Captures) -> dict[int, Alignment]:
    """Those that do better than swapping nothing, if only by their first columns: of the others no column is worth more than
    another."""
    found = scores({i: [narrowed(_listed(a), width) for width in doublings(width_of(_listed(a)))] for i, a in some.items()})
    return {i: a for i, a in some.items() if learned(max(found[i]), unswapped(val, a.cell.hypothesis, captures))}


def _order(some: Mapping[int, Alignment], scores: Scores) -> None:
    """Sorts the columns that alignments swap by how much is lost without each."""
    without = {i: [_without(_listed(a), *at) for at in _listed(a).mask.nonzero().tolist()] for i, a in some.items()}
    for i, found in scores(without).items():
        mask = _listed(some[i]).mask
        left = torch.full(mask.shape, 2.0).masked_scatter(mask > 0, torch.tensor(found))
        order = left.argsort(dim=1, stable=True)
        soft = some[i].soft
        some[i].feature, some[i].soft = _listed(some[i]).sorted(order), soft and soft.sorted(order)
        scores.sort(i, order)


def _without(feature: Listed, variable: int, column: int) -> Listed:
    mask = feature.mask.clone()
    mask[variable, column] = 0
    return feature.masked(mask)


def _skipped(curve: Curve, tolerance: float) -> list[int]:
    """Widths at which the curve was not taken and that may be the one to choose: those next below the chosen one, else those
    next above the best, if it falls there."""
    chosen, best = choose_rank(curve, tolerance), max(curve, key=curve.__getitem__)
    below = max((width for width in curve if width < chosen), default=0)
    above = min((width for width in curve if width > best), default=best)
    falls = curve[above] < curve[best] - tolerance
    return list(range(below + 1, chosen)) or list(range(best + 1, above if falls else 0))
