"""Choosing: how much of an answer circuits of growing size carry, and the smallest that carries enough.

*Faithfulness*: everything outside the circuit is swapped: how often does the base's answer stay? *Completeness*: everything
inside it is swapped, and nothing else: how often does the source's answer come? The latter is the circuit's IIA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.circuits.contrasts import Contrasts
from das.circuits.cutting import Cutter, downwards
from das.circuits.graph import Edges, Graph
from das.circuits.outcomes import Outcome, outcomes
from das.circuits.replaced import Replacement
from das.circuits.streams import Streams
from das.stats import Bootstrap, quantiles

ENOUGH = 0.8
"""The least that the lower end of a circuit's faithfulness may be, as a share of the whole network's."""
SIZES, CLOSER = 12, 4
"""Sizes that are tried first, over all orders of magnitude, and how often the span between the smallest that is enough and the
next below is halved after."""

Floats = NDArray[np.floating[Any]]
Progress = Callable[[float], None] | None


@dataclass(frozen=True)
class Trial:
    """Judges circuits of a network on some pairs. swap: see `das.circuits.replaced.SWAPS`."""

    streams: Streams
    found: Contrasts
    replaced: Replacement
    swap: str = "source"

    def rows(self, circuits: Sequence[Edges], progress: Progress = None) -> list[dict[str, Any]]:
        """Of each circuit its number of `edges`; `faithfulness` and `completeness` with their 95 % intervals (`_low`, `_high`);
        and the same as shares of the logit difference between base and source answer that all edges make, `_logit`."""
        every = self.streams.graph.all
        each = self._outcomes([s for kept in circuits for s in (every & ~kept, kept)], progress)
        both = zip(circuits, each[::2], each[1::2], strict=True)
        return [self._row(*one) for one in both]

    def _outcomes(self, swaps: Sequence[Edges], progress: Progress = None) -> list[Outcome]:
        return outcomes(self.streams, self.found, self.replaced, swaps, progress)

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        """The logit differences with nothing swapped, and with everything."""
        none, every = self._outcomes([self.streams.graph.all & False, self.streams.graph.all])
        return none.difference, every.difference

    def _row(self, kept: Edges, outside: Outcome, inside: Outcome) -> dict[str, Any]:
        shared, (none, every) = self.found.bootstrap(), self._ends
        came = inside.left if self.swap == "source" else ~inside.stayed
        row: dict[str, Any] = {"edges": int(kept.sum()), "pairs": len(self.found)}
        for name, hits in (("faithfulness", outside.stayed), ("completeness", came)):
            low, high = shared.interval(hits)
            row |= {name: float(hits.mean()), f"{name}_low": low, f"{name}_high": high}
        row |= _shares(shared, "faithfulness", outside.difference, every, none)
        return row | _shares(shared, "completeness", inside.difference, none, every)


def _shares(shared: Bootstrap, name: str, found: Floats, nothing: Floats, everything: Floats) -> dict[str, float]:
    """How far a logit difference comes on the way from nothing to everything, a ratio of means with its interval."""

    def share(means: Floats) -> Floats:
        apart: Floats = means[..., 2] - means[..., 1]
        return (means[..., 0] - means[..., 1]) / np.where(np.abs(apart) > 1e-9, apart, np.nan)

    each = np.stack([found, nothing, everything]).astype(float)
    low, high = quantiles(share(shared.by_row(each)))
    return {f"{name}_logit": float(share(each.mean(1))), f"{name}_logit_low": low, f"{name}_logit_high": high}


# --- the smallest that is enough ---


def sizes_of(graph: Graph, count: int = SIZES) -> list[int]:
    """Numbers of edges from few to all."""
    return sorted({round(float(n)) for n in np.geomspace(min(5, len(graph)), len(graph), count)})


@dataclass(frozen=True)
class Chosen:
    """kept: the smallest circuit that was found to be enough; all edges where none is. asked: of so many best edges, before
    dead ends were pruned. enough: whether it is. curve: see `Trial.rows`, with `asked`."""

    kept: Edges
    asked: int
    enough: bool
    curve: pd.DataFrame

    @classmethod
    def of(cls, curve: pd.DataFrame, graph: Graph, scores: Floats, threshold: float = ENOUGH) -> Chosen:
        """From the circuits that were tried (see `tried`)."""
        asked = _around(curve, threshold)[1]
        enough = bool((curve["faithfulness_low"] >= threshold).any())
        return cls(graph.best(scores, asked), asked, enough, curve)


def tried(
    trial: Trial, scores: Floats, sizes: Sequence[int], threshold: float = ENOUGH, progress: Progress = None
) -> pd.DataFrame:
    """Circuits of the best edges by `scores` (ends, nodes): of several sizes, then of some between the smallest whose
    faithfulness is enough and the next below. A row for each, see `Trial.rows`, with `asked`."""
    graph = trial.streams.graph

    def rows(some: Sequence[int], told: Progress = None) -> pd.DataFrame:
        each = trial.rows([graph.best(scores, n) for n in some], told)
        return pd.DataFrame([{"asked": n} | row for n, row in zip(some, each, strict=True)])

    curve = rows(sizes, progress)
    for _ in range(CLOSER):
        low, high = _around(curve, threshold)
        if high - low < 2:
            break
        curve = pd.concat([curve, rows([round((low * high) ** 0.5) if low > 1 else (low + high) // 2])], ignore_index=True)
    return curve.drop_duplicates("asked").sort_values("asked", ignore_index=True)


def _around(curve: pd.DataFrame, threshold: float) -> tuple[int, int]:
    """The smallest number of edges that is enough, after the largest below that; all where none is."""
    enough = curve[curve["faithfulness_low"] >= threshold]["asked"]
    high = int(enough.min() if len(enough) else curve["asked"].max())
    below = curve[curve["asked"] < high]["asked"]
    return int(below.max()) if len(below) else 0, high


# --- what each edge is worth ---


def losses(trial: Trial, kept: Edges, progress: Progress = None) -> Floats:
    """What a circuit's logit difference falls by when one of its edges is cut too, as a share of all that there is to lose; 0
    of edges outside. (ends, nodes)"""
    graph, found = trial.streams.graph, np.zeros(kept.shape)
    cutter = Cutter(trial.streams, trial.found, trial.replaced, graph.all & ~kept)
    for i, (end, node) in enumerate(downwards(graph, kept)):
        found[end, node] = cutter.now - cutter.without(end, node)
        if progress:
            progress((i + 1) / int(kept.sum()))
    return found / cutter.span
