"""Searched: what finding and judging cells takes: their training with its checks, their ranks, their records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from das.find.directions import ROWS
from das.find.grid import FOCUS
from das.find.kinds import Kind
from das.find.rank import curve_widths, doublings
from das.judge.manifold import ROWS as NATURAL
from das.network.site import Site
from das.pairs.origin import POOL
from das.run.amounts import Amounts, Meter, times, together
from das.run.captured import Capturing, met
from das.run.settings import Settings

GRID, CHOSEN, LUCK = 0.25, 0.5, 0.1
"""The share of cells that learn something, and so train to the end: of a grid (the demo: .14, of a screened grid more), at the
sites where hypotheses did best, and where there is nothing to be found."""


@dataclass(frozen=True)
class Group:
    """Cells of a kind: of `names` hypotheses side by side, `copies` of each, at each of some sites; on the average there are
    `weight` times as many. learned: the share of them that learn something, as far as one can guess."""

    kind: Kind
    sites: Sequence[Site]
    names: int = 1
    copies: float = 1
    weight: float = 1
    learned: float = GRID
    hypotheses: int = 0

    @property
    def every(self) -> int:
        """Of how many hypotheses they are in all: by default those side by side."""
        return self.hypotheses or self.names

    @property
    def cells(self) -> float:
        return self.weight * len(self.sites) * self.names * self.copies


FOCUSING, SETTLING = 1.5 * len(FOCUS), 6.0
"""Passes over validation pairs in which the widths to train on, and ranks, are looked for where something was learned; where
nothing was, ranks take half of them."""


def early(s: Settings) -> int:
    """After how many steps a cell stops that gains nothing."""
    return min(s.steps, (s.patience + 1) * s.check_every)


def mean_steps(s: Settings, learned: float) -> float:
    """Of a cell, where such a share of them learns something and goes on to the end."""
    return learned * s.steps + (1 - learned) * early(s)


def on_the_way(kind: Kind, learned: float) -> float:
    """Features of a cell that are scored while it trains to find the widths that it trains on."""
    if not (kind.settles and kind.ordered):
        return 0.0
    return learned * len(FOCUS) * (math.log2(max(2, kind.width)) + 2)


def settling(kind: Kind, learned: float) -> float:
    """Features of a cell that are scored when its rank is settled, see `das.find.rank.settle`: its curve, of which the widths
    that it is first cut to are a part, and where it has learned something as many as its columns are then."""
    k = kind.width
    if k <= 1 or (kind.slack is None and not kind.ordered):
        return 0.0
    first = len(curve_widths(kind, k)) if kind.ordered else len(doublings(k))
    return first if kind.slack is None else first + learned * (k / 4 + len(doublings(k)))


class Searching:
    """Counts what groups of cells take."""

    def __init__(self, meter: Meter, capturing: Capturing) -> None:
        self.meter, self.capturing, self.s = meter, capturing, meter.e.settings

    def trained(self, groups: Sequence[Group]) -> Amounts:
        """All groups in one training, and their ranks."""
        groups = [group for group in groups if group.kind.trains and group.cells]
        if not groups:
            return {}
        s, names = self.s, max(group.every for group in groups)
        some = self._any(groups, names)
        steps = mean_steps(s, some)
        passes = steps / s.check_every + max(self._passes(group.kind, some) for group in groups)
        whole = together(
            {"steps": steps}, self.capturing.steps(steps, names), self.capturing.passes(s.val_pairs, passes, names)
        )
        return together(whole, *map(self._cells, groups))

    @staticmethod
    def _any(groups: Sequence[Group], names: int) -> float:
        """How likely any cell of a hypothesis learns something: then its pairs are captured to the end."""
        none: float = math.prod((1 - group.learned) ** (group.cells / names) for group in groups)
        return 1 - none

    @staticmethod
    def _passes(kind: Kind, some: float) -> float:
        """Over the validation pairs, beside the checks. some: how likely some cell has learned something."""
        focus = FOCUSING * some if kind.settles and kind.ordered else 0
        return focus + (0 if kind.slack is None else SETTLING * (1 + some) / 2)

    def _cells(self, group: Group) -> Amounts:
        s, steps = self.s, mean_steps(self.s, group.learned)
        step = self.meter.trained(group.sites, group.names, group.copies, s.batch)
        checks = times(self._look(group, 1, s.val_pairs), steps / s.check_every)
        focus, ranks = on_the_way(group.kind, group.learned), settling(group.kind, group.learned)
        looks = [times(self._look(group, all_ / n, s.val_pairs), n) for all_, n in ((focus, FOCUSING), (ranks, SETTLING))]
        return times(together(times(step, steps), checks, *looks), group.weight)

    def _look(self, group: Group, features: float, pairs: int) -> Amounts:
        """So many features of every cell at once."""
        return self.meter.judged(group.sites, group.names, group.copies * features, pairs)

    def computed(self, groups: Sequence[Group]) -> Amounts:
        """Closed forms of all groups, and their ranks."""
        groups = [group for group in groups if not group.kind.trains and group.cells]
        if not groups:
            return {}
        s, names = self.s, max(group.every for group in groups)
        rows = names * met(POOL * s.train_pairs, 2 * min(ROWS, s.train_pairs))
        seen = self.meter.captured(0, rows) if any(g.kind.finder == "directions" for g in groups) else {}
        looks = [times(self._look(g, settling(g.kind, 0), s.val_pairs), g.weight) for g in groups if settling(g.kind, 0)]
        return together(seen, {"forms": sum(g.cells for g in groups)}, self.capturing.passes(s.val_pairs, 1, names), *looks)

    def recorded(self, groups: Sequence[Group]) -> Amounts:
        """What `das.judge.evaluate.evaluate` does, on validation and test pairs: each cell's own feature, a random one and a
        soft one, and once per site the whole vector."""
        groups = [group for group in groups if group.cells]
        if not groups:
            return {}
        s, every = self.s, sum(group.cells for group in groups)
        places = {(site, g.names) for g in groups for site in g.sites}
        whole = sum(names for _, names in places) / max(1.0, sum(len(g.sites) * g.names * g.copies for g in groups))
        names = max(group.every for group in groups)
        captured = [self.capturing.passes(n, 1, names) for n in (s.val_pairs, s.test_pairs, min(NATURAL, s.test_pairs))]
        captured += [self.meter.captured(self.capturing.unsaid(n, names), 0) for n in (s.val_pairs, s.test_pairs)]
        return together({"records": every}, *captured, *(self._looks(g, whole) for g in groups))

    def _looks(self, group: Group, whole: float) -> Amounts:
        features = 2 + (group.kind.annealed and group.kind.trains) + whole
        each = [self._look(group, features, n) for n in (self.s.val_pairs, self.s.test_pairs)]
        return times(together(*each), group.weight)
