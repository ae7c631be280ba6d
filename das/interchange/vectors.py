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
from das.network.site import Site
from das.pairs.dataset import Dataset, Rows


@torch.no_grad()
def vectors(engine: Engine, data: Dataset, rows: Rows, sites: Sequence[Site]) -> Iterator[tuple[Site, Tensor]]:
    """What some of the prompts have at each site, (rows, entries of all places); at those of the same layers at once."""
    for spots in dict.fromkeys(tuple(site.spots) for site in sites):
        mine = [site for site in sites if tuple(site.spots) == spots]
        captures = captures_for(engine, data, mine)
        parts: dict[Site, list[Tensor]] = {site: [] for site in mine}
        for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            capture = captures.sources(some)
            for site in mine:
                parts[site].append(torch.cat(values_at(capture, site.places, data.prompts.positions, some), 1).float().cpu())
        yield from ((site, torch.cat(part)) for site, part in parts.items())
