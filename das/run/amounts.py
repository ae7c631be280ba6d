"""Amounts: how much the engine has to do, counted from a layout alone, in units whose price can be measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from das.interchange.captures import AT_ONCE
from das.interchange.engine import WORKING
from das.interchange.score import MOST
from das.network.site import Site
from das.run.layout import Layout
from das.run.shape import head_flops, layer_flops, layers_above, site_flops

Amounts = Mapping[str, float]
"""Unit → how many of it."""

UNITS = {
    "captured": "operations of forwards of whole prompts",
    "captured layers": "layers that these forwards call",
    "trained": "operations, forward, of what is run with gradients above a site",
    "trained layers": "layers that such runs call",
    "cells": "steps of one cell: its subspace is made and moved",
    "steps": "steps of all cells together",
    "judged": "operations of what is run without gradients above a site",
    "judged layers": "layers that such runs call",
    "features": "swaps of one feature on a batch of pairs",
    "batches": "batches of pairs that are put together for swaps without gradients",
    "pairs": "pairs that are drawn, labelled and tokenized",
    "loads": "times that the network is loaded and tried",
    "networks": "networks of other weights that are made and tried",
    "records": "cells that are judged and written, beside the forwards",
    "forms": "closed forms that are computed, beside the forwards",
    "cards": "scorecards, beside the forwards",
}
"""Unit → what it counts."""

OPERATIONS = {"captured": 1, "trained": 2, "judged": 1}
"""Units that count operations of forwards → by how much: a backward pass, which stops at the site, is another forward."""

ROWS = 32
"""Pairs of each hypothesis that are scored at once, see `das.interchange.score`."""


def together(*parts: Amounts) -> Amounts:
    """
    >>> dict(together({"cells": 1}, {"cells": 2, "steps": 1}))
    {'cells': 3, 'steps': 1}
    """
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return found


def times(amounts: Amounts, factor: float) -> Amounts:
    """So many times as much."""
    return {unit: factor * amount for unit, amount in amounts.items()}


def operations(amounts: Amounts) -> float:
    """Floating-point operations in all."""
    return sum(factor * amounts.get(unit, 0.0) for unit, factor in OPERATIONS.items())


@dataclass(frozen=True)
class Meter:
    """Counts what runs on a layout's network take. working: bytes that one run may take, see `das.interchange.engine`."""

    e: Layout
    working: float = WORKING

    @property
    def own(self) -> int:
        """Tokens of a prompt after the prefix that all share."""
        return self.tokens - len(self.e.sample.prefix(self.tokens - 1))

    @property
    def tokens(self) -> int:
        """Of the longest prompt."""
        return int(self.e.sample.lengths.max())

    def suffix(self, site: Site) -> int:
        """Tokens from a site on, at most."""
        return max(self.e.sample.width - int(self.e.sample.positions[p.position].min()) for p in site.places)

    def captured(self, bases: float, sources: float, passes: float = 1) -> Amounts:
        """Prompts as bases and as sources, these no higher than the highest site; passes: in how many batches."""
        config, depth = self.e.network.shape, self.e.network.shape.num_hidden_layers
        deep = min(depth, 1 + max(place.layer for site in self.e.sites for place in site.sources))
        token = layer_flops(config, self.tokens)
        flops = self.own * token * (bases * depth + sources * deep) + bases * head_flops(config)
        calls = [max(passes, rows / AT_ONCE) * layers for rows, layers in ((bases, depth), (sources, deep)) if rows]
        return {"captured": flops, "captured layers": sum(calls)}

    def resumed(self, unit: str, sites: Sequence[Site], names: int, copies: float, pairs: float) -> Amounts:
        """One pass of pairs of hypotheses side by side, each so many times, through what is above each of the sites."""
        config, seen = self.e.network.shape, self.tokens
        flops = sum(site_flops(config, site, self.suffix(site), seen) for site in sites)
        layers = sum(self._calls(unit, site, names, copies, pairs) * (1 + layers_above(config, site)) for site in sites)
        return {unit: flops * names * copies * pairs, f"{unit} layers": layers}

    def _calls(self, unit: str, site: Site, names: int, copies: float, pairs: float) -> float:
        """In how many runs, see `das.interchange.batch.Batch.shares`."""
        config = self.e.network.shape
        layers = max(1, layers_above(config, site)) if unit == "trained" else 1
        row = layers * self.suffix(site) * 24 * config.hidden_size * (4 if self.e.settings.dtype == "float32" else 2)
        most = max(1.0, self.working // row)
        beside = min(names, max(1, int(most // max(1, pairs))))
        deep = max(1, int(most // (max(1, pairs) * beside)))
        return math.ceil(names / beside) * max(1.0, copies / deep)

    def trained(self, sites: Sequence[Site], names: int, copies: float, pairs: float) -> Amounts:
        """One step of cells: of hypotheses side by side at each of the sites, `copies` of each, on so many pairs."""
        return together(self.resumed("trained", sites, names, copies, pairs), {"cells": len(sites) * names * copies})

    @staticmethod
    def at_once(names: int, pairs: float) -> float:
        """Pairs of each hypothesis that are scored at once."""
        return max(1, min(ROWS, MOST // names, pairs))

    def judged(self, sites: Sequence[Site], names: int, features: float, pairs: float) -> Amounts:
        """So many features of each hypothesis at each of the sites on so many pairs each."""
        rows = self.at_once(names, pairs)
        passes = pairs / rows
        each = self.resumed("judged", sites, names, features, rows)
        return together(times(each, passes), {"features": len(sites) * names * features * math.ceil(passes)})
