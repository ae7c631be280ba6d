"""Vectors: what prompts have at sites, without a swap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from das.interchange.batch import values_at
from das.interchange.captures import AT_ONCE
from das.interchange.engine import Engine
from das.interchange.score import captures_for
from das.network.site import Site, Spot
from das.pairs.dataset import Dataset, Rows

ROOM = 2.5e8
"""Bytes for what the prompts of one forward have at several layers."""


@torch.no_grad()
def vectors(engine: Engine, data: Dataset, rows: Rows, sites: Sequence[Site]) -> Iterator[tuple[Site, Tensor]]:
    """What some of the prompts have at each site, (rows, entries of all places); at as many sites at once as there is room
    for."""
    room = int(ROOM // (4 * AT_ONCE * data.prompts.width * engine.lm.width))
    for mine in _together(sites, max(1, room)):
        captures = captures_for(engine, data, mine)
        parts: dict[Site, list[Tensor]] = {site: [] for site in mine}
        for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            capture = captures.sources(some)
            for site in mine:
                parts[site].append(torch.cat(values_at(capture, site.places, data.prompts.positions, some), 1).float().cpu())
        yield from ((site, torch.cat(part)) for site, part in parts.items())


def _together(sites: Sequence[Site], most: int) -> Iterator[list[Site]]:
    """The sites by what passes where they lie, of at most `most` such spots, and of one site's at least."""
    mine, spots = list[Site](), set[Spot]()
    for site in sorted(sites, key=lambda site: site.entry):
        if mine and len(spots | {*site.spots}) > most:
            yield mine
            mine, spots = [], set()
        mine, spots = [*mine, site], spots | {*site.spots}
    if mine:
        yield mine
