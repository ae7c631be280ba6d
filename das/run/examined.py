"""Examined: what the evidence of a hypothesis takes: the scorecards of the alignments at its chosen site."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from das.find.kinds import Kind
from das.find.rank import curve_widths
from das.interchange.score import MOST
from das.judge.dose import CURVES, DOSES, LEVEL
from das.judge.evidence import questions
from das.judge.reading import ANSWERS
from das.judge.reading import ROWS as READ
from das.network.site import Site
from das.pairs.origin import POOL
from das.run.amounts import ROWS, Amounts, Meter, times, together
from das.run.captured import Capturing, met
from das.run.searched import CHOSEN, Group, Searching

POOLED = 2000
"""Prompts among which a plan looks for what can be asked of a hypothesis."""

CLAIMED = 0.2
"""The share of hypotheses that score enough to be asked what they are computed from."""

SWAPS = {"resampled": 6, "cause": 4}
"""Trial → features that are swapped in it, see `das.judge.evidence`; in the others one."""


def asked_of(meter: Meter, name: str) -> dict[str, int]:
    """Trial of a hypothesis → how many pairs it puts, found on prompts of the task."""
    e, s = meter.e, meter.e.settings
    if not e.task.hypotheses[name].model.complete:
        return {"resampled": s.test_pairs}
    put = questions(e.task, [name], e.task.some(min(POOLED, POOL * s.test_pairs)), s.seed)
    return {trial.removeprefix(f"{name}: "): len(pairs) for trial, pairs in put.items()}


class Examining:
    """Counts what scorecards take. sites: where an alignment may lie; each is as likely."""

    def __init__(self, meter: Meter, sites: Sequence[Site]) -> None:
        self.meter, self.sites, self.s = meter, sites, meter.e.settings
        self.again = Capturing(meter, 0)  # what is captured for scorecards finds nothing that was kept

    def scorecards(self, put: Mapping[str, int], kinds: Mapping[Kind, int], val: int, test: int) -> Amounts:
        """Of so many alignments of each kind at one site. put: trial → pairs; val, test: pairs of the splits."""
        cards, trials = sum(kinds.values()), {name: n for name, n in put.items() if name.split()[0] != LEVEL}
        looks = [self._trial(trials, name, cards) for name in trials]
        looks += [times(self._look(_curve(kind), test), count) for kind, count in kinds.items() if _curve(kind)]
        captured = [self._trials(trials), self.again.passes(test, 1, 1), self.meter.captured(0, val + test)]
        most = max(trials.values(), default=0)
        return together(*looks, *captured, self._doses(put, cards), self._readings(min(READ, most), cards), {"cards": cards})

    def _look(self, features: float, pairs: float, rows: int = ROWS) -> Amounts:
        """Features at a site of which one does not know which it is, on pairs of one question, so many rows at once."""
        chunks = math.ceil(pairs / rows)
        each = self.meter.resumed("judged", self.sites, 1, features, pairs / max(1, chunks))
        return together(times(each, chunks / len(self.sites)), {"features": features * chunks})

    def _at_once(self, trials: Mapping[str, int]) -> int:
        return max(1, min(ROWS, MOST // max(1, len(trials))))

    def _trial(self, trials: Mapping[str, int], name: str, cards: int) -> Amounts:
        return self._look(cards * SWAPS.get(name.split()[0], 1), trials[name], self._at_once(trials))

    def _trials(self, trials: Mapping[str, int]) -> Amounts:
        """Their prompts, captured; the natural pairs stand in three of them."""
        if not trials:
            return {}
        rows, pool = self._at_once(trials), POOL * self.s.test_pairs
        chunks = math.ceil(max(trials.values()) / rows)
        each = met(pool, max(1, len(trials) - 2) * min(rows, max(trials.values())))
        return together(self.meter.captured(chunks * each, chunks * each, chunks), {"batches": chunks})

    def _doses(self, put: Mapping[str, int], cards: int) -> Amounts:
        """Directions added to prompts, for each variable that has levels."""
        levels = {name: n for name, n in put.items() if name.split()[0] == LEVEL}
        variables = len({name.split()[1] for name in levels})
        if not variables:
            return {}
        n, (add, own) = max(levels.values()), (2 * len(DOSES), (len(CURVES) - 2) * len(DOSES))
        looks = together(self._look(cards * add, n), self._look(cards * own, n))
        sources = cards * n * len(levels)
        captured = self.meter.captured(variables * 2 * n, variables * 2 * n + sources)
        return together(times(looks, variables), captured)

    def _readings(self, pairs: int, cards: int) -> Amounts:
        """What the network reads at the site: gradients of several answers, for bases and for patched vectors."""
        step = self.meter.resumed("trained", self.sites, 1, 2, max(1, pairs))
        captured = self.meter.captured(pairs, pairs)
        return times(together(times(step, (1 + ANSWERS) / 2 / len(self.sites)), captured), cards)

    # --- all of a hypothesis ---

    def hypothesis(self, name: str) -> Amounts:
        """Its scorecards, what the network answers to its test pairs, and alignments of what it is computed from."""
        s, put = self.s, asked_of(self.meter, name)
        kinds = Counter(cell.kind for cell in self.meter.e.examined({name: self.sites[0]}))
        cards = self.scorecards(put, kinds, s.val_pairs, s.test_pairs)
        replies = together(self._look(kinds.total(), s.test_pairs), self.again.passes(s.test_pairs, 1, 1))
        return together(cards, replies, {"pairs": sum(put.values())}, self._causes(name))

    def _causes(self, name: str) -> Amounts:
        """Alignments of what a variable is computed from, made for a hypothesis that may be supported."""
        hypothesis, kind = self.meter.e.task.hypotheses[name], self.s.kind
        own = set(hypothesis.variables)
        causes = len(set().union(*map(hypothesis.model.causes, own)) - own) if hypothesis.model.complete else 0
        if not causes or not kind.trains:
            return {}
        group = Group(kind, self.sites, 1, 1, causes / len(self.sites), CHOSEN, causes)
        return times(Searching(self.meter, self.again).trained([group]), CLAIMED)


def _curve(kind: Kind) -> int:
    """How many widths are on the rank curve of a cell."""
    return len(curve_widths(kind, kind.width)) if kind.ordered and kind.width else 0
