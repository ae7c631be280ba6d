"""Evaluation: how often a swap does to the network what it does to the causal model, and what that is worth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from das.find.alignment import Alignment
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.score import Hits, captures_for, predictions, score
from das.judge.failures import splits
from das.judge.manifold import off_manifold
from das.memory import trim
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled


@dataclass(frozen=True)
class Baselines:
    """What stands beside every IIA on the same pairs.

    noop: nothing swapped. majority: always the commonest label. lm_base, lm_source: the network's own accuracy.
    ceiling: pairs of which the network answers base and source correctly.
    """

    noop: float
    majority: float
    lm_base: float
    lm_source: float
    ceiling: float

    def normalised(self, iia: float) -> float:
        """IIA on a scale where a no-op has 0 and the ceiling 1; nan where these coincide."""
        span = self.ceiling - self.noop
        return (iia - self.noop) / span if span > 1e-9 else float("nan")


def solved(pairs: Labelled, predicted: NDArray[np.int64]) -> tuple[Hits, Hits]:
    """Which pairs' base, and which pairs' (first swapped) source, the network solves. predicted: see `predictions`."""
    changed = pairs.sources != pairs.base
    first = pairs.sources[changed.argmax(0), np.arange(len(pairs))]
    return predicted[pairs.base] == pairs.base_label, predicted[first] == pairs.source_label


def baselines(pairs: Labelled, predicted: NDArray[np.int64]) -> Baselines:
    """From the network's own answers (see `predictions`)."""
    base_right, source_right = solved(pairs, predicted)
    return Baselines(
        noop=float((predicted[pairs.base] == pairs.label).mean()),
        majority=float(np.unique(pairs.label, return_counts=True)[1].max() / len(pairs)),
        lm_base=float(base_right.mean()),
        lm_source=float(source_right.mean()),
        ceiling=float((base_right & source_right).mean()),
    )


# --- a cell's whole record ---


@dataclass
class Record:
    """An alignment with everything measured: `metrics[split][name]`, and hits on the test pairs (pairs,)."""

    alignment: Alignment
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    hits: Hits = field(default_factory=lambda: np.zeros(0, bool))


def evaluate(
    alignments: Sequence[Alignment], engine: Engine, splits: Mapping[str, Dataset],
    progress: Callable[[str, float], None] | None = None, room: float = 0.0,
) -> list[Record]:  # fmt: skip
    """Every cell on every split (`val` among them): IIA and flip IIA with hard and soft masks, baselines.

    One pass over each split. Hits are those of `test`, if given; how natural patched activations are is looked at on the last
    split.
    room: bytes in which captures may be kept between the passes over a split.
    """

    def tell(split: str) -> Callable[[float], None]:
        return lambda done: progress(split, done) if progress else None

    records = [Record(alignment) for alignment in alignments]
    sites = [a.cell.site for a in alignments]
    for split, data in {"val": splits["val"], **splits}.items():
        captures = captures_for(engine, data, sites, room)
        found = score(engine, data, _wanted(alignments), progress=tell(split), captures=captures)
        trim()
        _note(records, split, data, found, predictions(engine, data.prompts, captures.answers))
    for record, place in zip(records, off_manifold(alignments, engine, data, captures), strict=True):
        record.metrics[split] |= asdict(place)
    return records


def examine(
    alignments: Sequence[Alignment], engine: Engine, data: Dataset, progress: Callable[[float], None] | None = None
) -> list[Record]:
    """Finished alignments as they are, on one more data set: metrics and hits of its `test` pairs."""
    records = [Record(alignment) for alignment in alignments]
    found = score(engine, data, _wanted(alignments, soft=False), progress=progress)
    _note(records, "test", data, found, predictions(engine, data.prompts))
    return records


def _wanted(alignments: Sequence[Alignment], soft: bool = True) -> dict[Any, tuple[str, Site, list[Feature]]]:
    """What has to be scored: (cell, part), and the whole vector once per hypothesis and site. soft: Boundless cells' soft masks
    too."""
    wanted: dict[Any, tuple[str, Site, list[Feature]]] = {}
    for i, a in enumerate(alignments):
        where = a.cell.hypothesis, a.cell.site
        parts = {"own": a.feature, "random": _twin(a), "soft": a.soft if soft else None}
        wanted |= {(i, part): (*where, [feature]) for part, feature in parts.items() if feature is not None}
        wanted[where] = (*where, [Whole(a.feature.variables)])
    return wanted


def _note(
    records: Sequence[Record], split: str, data: Dataset, found: Mapping[Any, Hits], predicted: NDArray[np.int64]
) -> None:
    """Turns a split's hits into every record's metrics."""
    changed = {name: p.label != p.base_label for name, p in data.pairs.items()}
    beside = {name: baselines(p, predicted) for name, p in data.pairs.items()}
    right = {name: solved(p, predicted) for name, p in data.pairs.items()}
    for i, record in enumerate(records):
        a = record.alignment
        where = a.cell.hypothesis, a.cell.site
        whole, own = found[where][0], found[i, "own"][0]
        named = {"iia": own, "whole": whole}
        named["iia_soft"] = found.get((i, "soft"), own[None])[0]
        named["random"] = found.get((i, "random"), whole[None])[0]
        name = a.cell.hypothesis
        record.metrics[split] = _metrics(a, named, changed[name], beside[name])
        parts = splits(*right[name], own).items()
        record.metrics[split] |= {f"iia_{part}": found["iia"] for part, found in parts if found["pairs"]}
        if split == "test":
            record.hits = own


def _twin(a: Alignment) -> Feature | None:
    """A random feature of the alignment's size."""
    return a.feature.twin(torch.Generator().manual_seed(zlib.crc32(f"random {a.cell.id}".encode())))


def _metrics(a: Alignment, named: Mapping[str, Hits], flips: Hits, beside: Baselines) -> dict[str, float]:
    metrics = {name: float(hits.mean()) for name, hits in named.items()}
    if flips.any():
        metrics |= {f"flip_{name}": float(hits[flips].mean()) for name, hits in named.items()}
    metrics |= {"noop": beside.noop, "majority": beside.majority, "lm_base": beside.lm_base, "lm_source": beside.lm_source}
    metrics |= {"ceiling": beside.ceiling, "normalised": beside.normalised(metrics["iia"]), "rank": float(a.rank)}
    return metrics
