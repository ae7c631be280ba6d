"""Graph: what writes into a decoder's hidden states, what reads them, and the edges between, of which a circuit keeps some.

Every part adds to the hidden states, so what another part reads is a sum over all parts before it. An edge is one term of one
such sum (Elhage et al. 2021; Wang et al. 2023, arXiv 2211.00593).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Edges = np.ndarray[Any, np.dtype[np.bool_]]
"""(ends, nodes): which edges are meant, in a row those that lead into one end."""


@dataclass(frozen=True)
class Graph:
    """Of so many layers, with so many query heads and groups of them that share keys and values.

    parallel: a layer's MLP reads what its attention reads, and not what that adds.
    nodes write: the embedding, then of each layer its heads and its MLP. ends read: of each layer the queries of each head, the
    keys and the values of each group, and the MLP; at last the logits.
    """

    layers: int
    heads: int
    groups: int
    parallel: bool = False

    @cached_property
    def nodes(self) -> list[str]:
        """Names of what writes."""
        return ["embedding", *(n for i in range(self.layers) for n in [*_each("head", i, self.heads), f"MLP {i}"])]

    @cached_property
    def ends(self) -> list[str]:
        """Names of what reads."""
        return [*(name for layer in range(self.layers) for name in self._ends_of(layer)), "logits"]

    def _ends_of(self, layer: int) -> list[str]:
        keys, values = _each("key", layer, self.groups), _each("value", layer, self.groups)
        return [*_each("query", layer, self.heads), *keys, *values, f"MLP {layer}"]

    def before(self, layer: int) -> int:
        """How many nodes lie below a layer."""
        return 1 + layer * (self.heads + 1)

    def first_end(self, layer: int) -> int:
        """Where a layer's ends begin."""
        return layer * (self.heads + 2 * self.groups + 1)

    def layer_of(self, end: int) -> int:
        """The layer that an end belongs to; of the logits, the number of layers."""
        return end // self.first_end(1)

    @cached_property
    def all(self) -> Edges:
        """Every edge that there is."""
        seen = np.zeros((len(self.ends), len(self.nodes)), bool)
        for layer in range(self.layers):
            first, last, below = self.first_end(layer), self.first_end(layer + 1) - 1, self.before(layer)
            seen[first : last + 1, :below] = True
            seen[last, below : below + self.heads] = not self.parallel
        seen[-1] = True
        return seen

    @cached_property
    def feeds(self) -> Edges:
        """Which nodes go by what an end reads: a head by its queries and by its group's keys and values."""
        feeds = np.zeros((len(self.ends), len(self.nodes)), bool)
        group: NDArray[np.int64] = np.arange(self.heads) // (self.heads // self.groups)
        for layer in range(self.layers):
            first, node, h, g = self.first_end(layer), self.before(layer), self.heads, self.groups
            feeds[first : first + h, node : node + h] = np.eye(h, dtype=bool)
            for ends in (first + h, first + h + g):
                feeds[ends : ends + g, node : node + h] = np.arange(g)[:, None] == group
            feeds[first + h + 2 * g, node + h] = True
        return feeds

    def __len__(self) -> int:
        """How many edges there are."""
        return int(self.all.sum())

    def pruned(self, kept: Edges) -> Edges:
        """Without dead ends: what comes from a node into which nothing leads, or goes into one out of which nothing does.

        Where all else is swapped, such an edge carries nothing that is not there anyway: its node says what it says in the
        source's run, or is not heard.
        """
        while True:
            led_to = np.any(self.feeds & np.any(kept, 1, keepdims=True), 0) | (np.arange(len(self.nodes)) == 0)
            heard = np.any(self.feeds & np.any(kept, 0), 1) | (np.arange(len(self.ends)) == len(self.ends) - 1)
            left: Edges = kept & led_to & heard[:, None]
            if bool((left == kept).all()):
                return left
            kept = left

    def best(self, scores: NDArray[np.floating], count: int) -> Edges:
        """The `count` edges of the highest scores (ends, nodes), dead ends pruned."""
        at = np.flatnonzero(self.all)
        chosen = np.zeros(self.all.shape, bool)
        chosen.ravel()[at[np.argsort(-scores.ravel()[at], kind="stable")[:count]]] = True
        return self.pruned(chosen)

    def random(self, count: int, rng: np.random.Generator) -> Edges:
        """A circuit of random ways from the logits down to the embedding, until there are `count` edges or a few more."""
        kept = np.zeros(self.all.shape, bool)
        while kept.sum() < min(count, len(self)):
            node = rng.choice(np.flatnonzero(self.all[-1]))
            kept[-1, node] = True
            while node:
                end = rng.choice(np.flatnonzero(self.feeds[:, node]))
                node = rng.choice(np.flatnonzero(self.all[end]))
                kept[end, node] = True
        return kept

    def table(self, edges: Edges | None = None) -> pd.DataFrame:
        """A row for each edge, of all or of some: `edge` (its place in the flattened array), `writer`, `reader`, and their
        layers (−1: the embedding; the number of layers: the logits)."""
        at = np.flatnonzero(self.all if edges is None else edges)
        end, node = np.unravel_index(at, self.all.shape)
        per = self.heads + 1
        return pd.DataFrame(
            {
                "edge": at, "writer": np.array(self.nodes)[node], "reader": np.array(self.ends)[end],
                "writer_layer": (node - 1) // per, "reader_layer": [self.layer_of(e) for e in end],
            }
        )  # fmt: skip


def _each(kind: str, layer: int, count: int) -> list[str]:
    return [f"{kind} {layer}.{i}" for i in range(count)]
