"""Race: successive halving over the sites of a hypothesis. All train for a first part of the steps; then the worse half stops,
and so on; the others train to the end as they would have without a race.

Successive halving: Karnin, Koren and Somekh 2013 (ICML); to spend trainings by, Jamieson and Talwalkar 2016 (arXiv 1502.07943).
What a rung decides, all cells of a grid have a say in: it is decided in the process that hands out the work, so that a race's
outcome does not depend on how the cells are shared out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from das.find.schedule import Schedule
from das.network.site import Site

RUNGS = (0.25, 0.5)
"""Shares of the training after which the worse half of the sites that are left stops: at the next check."""


def rungs(schedule: Schedule) -> list[int]:
    """The steps after which a race decides."""
    each = (math.ceil(share * schedule.steps / schedule.check_every) * schedule.check_every for share in RUNGS)
    return [step for step in dict.fromkeys(each) if step < schedule.steps]


def losers(scores: Mapping[tuple[str, Site], float]) -> list[tuple[str, Site]]:
    """Of every hypothesis the worse half of its sites, rounded down: of equals the later ones. scores: of the sites that are
    left, in the grid's order, their validation IIA."""
    mine: dict[str, list[Site]] = {}
    for name, site in sorted(scores, key=lambda key: -scores[key]):  # stable: of equals the first stays
        mine.setdefault(name, []).append(site)
    return [(name, site) for name, sites in mine.items() for site in sites[math.ceil(len(sites) / 2) :]]
