"""Columns: where the places of a site lie in prompts, and whether they can make a site."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np

from das.errors import DasError
from das.network.lm import LM
from das.network.site import Place, Site
from das.task.rendered import Prompts


def first_column(prompts: Prompts, sites: Iterable[Site]) -> int:
    """The first column that any place of the sites has in any prompt."""
    return min(int(prompts.positions[name].min()) for name in {name for site in sites for name in site.positions})


def sizes(lm: LM, prompts: Prompts, site: Site) -> tuple[int, ...]:
    """How many entries the vectors of each place have, all tokens of its position together; DasError where the base's and the
    source's differ, or places overlap."""
    one, found = prompts.take([0]), []
    for base, source in site.pairs:
        mine, other = _size(lm, one, base), _size(lm, one, source)
        if mine != other:
            raise DasError(
                f"{base} of the base has vectors of {mine} entries, and {source} of the source of {other}: a swap needs as many"
            )
        found.append(mine)
    check_apart(lm, prompts, site)
    return tuple(found)


def _size(lm: LM, one: Prompts, place: Place) -> int:
    return lm.size(*place.spot, one) * int(one.positions[place.position].shape[1])


def staged(lm: LM, site: Site) -> bool:
    """Whether the network may reach one place of a site from another: see `Site.staged`, and what it runs step by step."""
    return site.staged or (len(site.places) > 1 and any(lm.tap(*place.spot).stepped for place in site.places))


def check_apart(lm: LM, prompts: Prompts, site: Site) -> None:
    """DasError where two places of a site share an entry of an activation in any prompt: it cannot be given two values; or
    where one of them is a span that passes step by step."""
    for place in site.places if len(site.places) > 1 else ():
        if lm.tap(*place.spot).stepped and prompts.positions[place.position].shape[1] > 1:
            raise DasError(f"{place} is a span of steps, which act on each other: name and join its steps one by one")
    for one, other in combinations(site.places, 2):
        if _same_entries(lm, one, other):
            mine, others = (prompts.positions[place.position] for place in (one, other))
            if (both := (mine[:, :, None] == others[:, None]).any((1, 2))).any():
                raise DasError(
                    f"{one} and {other} share a token in {int(both.sum())} of {len(both)} prompts, and part of the network: "
                    "places of one site must be apart"
                )


def _same_entries(lm: LM, one: Place, other: Place) -> bool:
    """Whether two spots are the same values, in part at least."""
    if one.layer == other.layer and one.component == other.component:
        return True
    a, b = lm.tap(*one.spot), lm.tap(*other.spot)
    if a.module is not b.module or a.input != b.input:
        return False
    return a.index is None or b.index is None or bool(np.isin(a.index.cpu().numpy(), b.index.cpu().numpy()).any())
