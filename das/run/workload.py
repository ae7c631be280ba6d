"""Workload: what every stage of a run takes, counted from its layout, in the units of `das.run.amounts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from das.find.kinds import Kind, Random
from das.find.rank import widths
from das.find.screen import PAIRS
from das.judge.nulls import SITES
from das.pairs.origin import POOL
from das.run.amounts import Amounts, Meter, times, together
from das.run.captured import Capturing, met
from das.run.examined import Examining
from das.run.layout import Layout
from das.run.searched import CHOSEN, GRID, LUCK, Group, Searching
from das.task.plain_shifts import named_shifts

LOOKED = 128
"""Pairs of each hypothesis of the first look."""

ASKED = 500
"""Prompts on which a network's accuracy under a shift is taken."""


DEAD, REACHED = 0.1, 16
"""The share of sites that are taken to be dead, and the pairs of a batch on which the others show that they are not."""


@dataclass(frozen=True)
class Part:
    """A stage: what its workers share, what each of them does for itself, and what one does while the others wait."""

    shared: Amounts = field(default_factory=dict)
    each: Amounts = field(default_factory=dict)
    alone: Amounts = field(default_factory=dict)

    def total(self, workers: int) -> Amounts:
        """What all workers do."""
        return together(self.shared, times(self.each, workers), self.alone)

    def longest(self, workers: int) -> Amounts:
        """What one of them does from the beginning to the end."""
        return together(times(self.shared, 1 / workers), self.each, self.alone)


def counted(e: Layout, meter: Meter, room: float) -> dict[str, Part]:
    """Stage (see `das.run.stages.PURPOSES`) → what it takes; those that the settings ask for, in their order. room: bytes for
    captures."""
    return _Stages(e, meter, room).parts()


class _Stages:
    """What the stages of a layout take."""

    def __init__(self, e: Layout, meter: Meter, room: float) -> None:
        self.e, self.s, self.meter = e, e.settings, meter
        self.names, self.share = len(e.hypotheses), 1.0 if e.settings.budget is None else e.settings.budget
        self.capturing = Capturing(meter, room)
        self.searching = Searching(meter, self.capturing)

    def parts(self) -> dict[str, Part]:
        s, made = self.s, {"pairs": Part(alone=together(self._begun, self.first_look()))}
        again = self._begun if s.workers > 1 else {}  # several processes are made anew for every stage
        if self.e.skips_dead:
            made["dead sites"] = Part(alone=together(again, self.dead_sites()))
        if s.budget is not None:
            made["screen" if s.screens else "trace"] = Part(self.screen() if s.screens else {}, again)
        found = {"grid": self.search([self.grid]), "closed forms": self.search(self.closed)}
        found |= {"chosen cells": self.search(self.chosen), "nulls": self.nulls() if s.nulls else {}}
        made |= {name: Part(amounts, again) for name, amounts in found.items() if amounts}
        made["evidence"] = Part(self.evidence(), again)
        if shifts := named_shifts(s.shifts, self.e.task.shifts):
            made["shifts"] = self.shifts(shifts, made)
        return made

    @property
    def _begun(self) -> Amounts:
        """What a process does before its share."""
        return {"loads": 1, "pairs": self.names * (self.s.train_pairs + self.s.val_pairs + self.s.test_pairs)}

    # --- the groups of cells ---

    @cached_property
    def grid(self) -> Group:
        return Group(self.s.kind, self.e.sites, self.names, self.s.seeds, self.share, GRID if self.share == 1 else CHOSEN)

    def _somewhere(self, kind: Kind, cells: float, learned: float = CHOSEN) -> Group:
        """Cells each at a site of its own, of which one does not know where it will be."""
        return Group(kind, self.e.sites, 1, 1, cells / len(self.e.sites), learned, max(1, min(self.names, round(cells))))

    @cached_property
    def closed(self) -> list[Group]:
        cells = Counter(cell.kind for cell in self.e.closed((cell.hypothesis, cell.site) for cell in self.e.grid()))
        names = {kind: max(1, round(n / len(self.e.sites))) for kind, n in cells.items()}
        return [Group(k, self.e.sites, names[k], 1, self.share * n / len(self.e.sites) / names[k]) for k, n in cells.items()]

    @cached_property
    def chosen(self) -> list[Group]:
        there, site = set(self.e.grid()), self.e.sites[0]
        every = self.e.refinement(dict.fromkeys(self.e.hypotheses, site))
        return [self._somewhere(kind, n) for kind, n in Counter(c.kind for c in every if c not in there).items()]

    # --- stages ---

    def first_look(self) -> Amounts:
        """The whole vector's swap at every site on a few pairs; what its process does before is not in it."""
        few = min(LOOKED, self.s.val_pairs)
        return together(self.capturing.passes(few, 1), self.meter.judged(self.e.sites, self.names, 1, few))

    def dead_sites(self) -> Amounts:
        """Some points of the ball around each site's difference, forward and backward: of most sites on one batch of the first
        hypothesis, of dead ones on all pairs of all; while any is left, the pairs of all are captured."""
        s, names, sites = self.s, self.names, self.e.sites
        batch, few = min(REACHED, s.train_pairs), min(PAIRS, s.train_pairs)
        one = self.meter.resumed("trained", sites, 1, 4 + max(self.e.variables.values()), batch)
        batches = 1 + min(1.0, DEAD * len(sites)) * (few / batch - 1)
        captured = self.meter.captured(batches * names * batch, batches * names * batch, batches)
        return together(times(one, (1 - DEAD) + DEAD * names * few / batch), captured)

    def screen(self) -> Amounts:
        """For each hypothesis: its pairs are captured, one forward and backward from the lowest site, a swap at every site."""
        few, batch, names = min(PAIRS, self.s.train_pairs), min(self.s.batch, self.s.train_pairs), self.names
        lowest = max(self.e.sites, key=lambda site: (-site.entry, self.meter.suffix(site)))
        slopes = self.meter.resumed("trained", [lowest], 1, 1, batch)
        swaps = together(self.meter.resumed("judged", self.e.sites, 1, 1, batch), {"features": len(self.e.sites)})
        captured = self.meter.captured(few, few, few / batch)
        return together(times(captured, names), times(together(slopes, swaps), names * few / batch))

    def search(self, groups: Sequence[Group]) -> Amounts:
        """Cells found and judged."""
        work = self.searching
        return together(work.trained(groups), work.computed(groups), work.recorded(groups))

    def nulls(self) -> Amounts:
        """Each draw: of every hypothesis some sites in an untrained network, with shuffled answers, and by random subspaces."""
        s, each = self.s, self.names * min(SITES, len(self.e.sites))
        cells, val = s.nulls * each, s.val_pairs
        untrained = self.searching.trained([self._somewhere(s.kind, each, LUCK)])
        shuffled = self.searching.trained([self._somewhere(s.kind, cells, LUCK)])
        at = self._somewhere(Random(), cells)
        curve = len(widths(max(1, s.kind.width))) * s.nulls * self.names / max(1, cells)  # at the chosen sites alone
        score = times(self.meter.judged(at.sites, 1, 1, val), at.weight * (1 + curve))
        passes = self.capturing.passes(val, 1)
        anew = times(together(untrained, passes, {"networks": 1}), s.nulls)
        return together(anew, shuffled, passes, passes, times(score, 3))

    def evidence(self) -> Amounts:
        """Of all hypotheses, each at a site of which one does not know where it will be."""
        work = Examining(self.meter, self.e.sites)
        return together(*map(work.hypothesis, self.e.hypotheses))

    def shifts(self, shifts: Mapping[str, object], stages: Mapping[str, Part]) -> Part:
        """Under each shift every alignment as it is; and as much of the grid anew as is asked for."""
        s = self.s
        shares = list(s.retrain.values()) if isinstance(s.retrain, dict) else [s.retrain] * len(shifts)
        groups = [self.grid, *self.closed, *self.chosen]
        looks = [times(self.meter.judged(g.sites, g.names, g.copies, s.test_pairs), g.weight * 2.5) for g in groups]
        asked = together(self.meter.captured(ASKED, 0), {"pairs": ASKED})
        again = self.meter.captured(met(POOL * s.test_pairs, 2 * self.names * s.test_pairs), 0)
        one = together(asked, {"pairs": self.names * s.test_pairs}, again, self.capturing.passes(s.test_pairs, 1), *looks)
        trained = [self._anew(stages, share) for share in shares if share]
        return Part(together(asked, times(one, len(shifts) * (1 + len(trained))), *trained), {"loads": 1})

    def _anew(self, stages: Mapping[str, Part], share: float) -> Amounts:
        """A run under a shift on a share of the grid, without nulls."""
        parts = [times(stages[name].shared, share) for name in ("grid", "closed forms") if name in stages]
        parts += [stages[name].shared for name in ("chosen cells", "evidence") if name in stages]
        return together(
            self._begun,
            self.first_look(),
            self.dead_sites() if self.e.skips_dead else {},
            self.screen() if share < 1 else {},
            *parts,
        )
