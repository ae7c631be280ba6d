"""Cutting: edges one after another, each for good unless the answer suffers (ACDC, Conmy et al. 2023, arXiv 2304.14997)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from das.circuits.contrasts import Contrasts
from das.circuits.graph import Edges, Graph
from das.circuits.replaced import Replacement, batches_of
from das.circuits.streams import Streams, Swapped
from das.errors import DasError

MOST = 5000
"""Edges that are cut one by one: each costs a run."""


class Cutter:
    """Runs in which edges are cut, each beginning at the layer that the edge leads into.

    Ends must come from the top down, since a run is started from what the one before it left of the layers below. now: the mean
    logit difference; span: by how much that is larger with nothing cut than with all."""

    def __init__(self, streams: Streams, found: Contrasts, replaced: Replacement, cut: Edges) -> None:
        self.graph = streams.graph
        self._runs = [(batch, Swapped.of(streams, batch, replaced)) for batch in batches_of(streams, found)]
        none, every, self.now = (self._of(each) for each in (self.graph.all & False, self.graph.all, cut))
        self.span = none - every

    def _of(self, cut: Edges) -> float:
        self.cut = torch.from_numpy(cut.copy())
        return self._difference(0)

    def without(self, end: int, node: int) -> float:
        """The mean logit difference where this edge is cut too."""
        self.cut[end, node] = True
        found = self._difference(self.graph.layer_of(end))
        self.cut[end, node] = False
        return found

    def _difference(self, start: int) -> float:
        each = [batch.difference(run.answers(self.cut, start)) for batch, run in self._runs]
        return float(torch.cat(each).double().mean())


@dataclass(frozen=True)
class Cut:
    """kept: the edges that were left. losses: what was lost when an edge was cut, as a share of all that there is to lose,
    (ends, nodes)."""

    kept: Edges
    losses: NDArray[np.float64]


def cut(
    streams: Streams, found: Contrasts, replaced: Replacement, threshold: float = 0.01,
    progress: Callable[[float], None] | None = None,
) -> Cut:  # fmt: skip
    """Goes through the edges from the logits down, and cuts each by which the mean logit difference between base and source
    answer falls by less than `threshold`, as a share of the difference between swapping none and all.

    DasError where there are more than `MOST` edges.
    """
    graph = streams.graph
    if len(graph) > MOST:
        raise DasError(f"there are {len(graph):,} edges, too many to cut one by one (at most {MOST:,}): take eap-ig")
    cutter = Cutter(streams, found, replaced, graph.all & False)
    losses = np.zeros(graph.all.shape)
    for i, (end, node) in enumerate(downwards(graph, graph.all)):
        left = cutter.without(end, node)
        losses[end, node] = (cutter.now - left) / cutter.span
        if losses[end, node] < threshold:
            cutter.cut[end, node], cutter.now = True, left
        if progress:
            progress((i + 1) / len(graph))
    return Cut(graph.all & ~cutter.cut.numpy(), losses)


def downwards(graph: Graph, edges: Edges) -> Iterator[tuple[int, int]]:
    """Ends and nodes of edges, from the logits down; of one end the highest node first."""
    for end in reversed(range(len(graph.ends))):
        yield from ((end, int(node)) for node in np.flatnonzero(edges[end])[::-1])
