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
from das.interchange.measures import Measure
from das.interchange.score import IIA, Hits, Measured, captures_for, measured, predictions, score
from das.judge.failures import splits
from das.judge.manifold import off_manifold
from das.memory import trim
from das.network.site import Site
from das.pairs.dataset import Dataset

NONE: Mapping[str, Measure] = {}


@dataclass(frozen=True)
class Baselines:
    """What stands beside every IIA on the same pairs.

    noop: nothing swapped. majority: always the commonest label. lm_base, lm_source: the network's own accuracy.
    ceiling: pairs of which the network answers base and source correctly. These three are nan where nobody says their answers.
    """

    noop: float
    majority: float
    lm_base: float
    lm_source: float
    ceiling: float

    def normalised(self, iia: float) -> float:
        """IIA on a scale where a no-op has 0 and the ceiling 1; nan where these coincide, or there is no ceiling."""
        span = self.ceiling - self.noop
        return (iia - self.noop) / span if span > 1e-9 else float("nan")


def solved(data: Dataset, name: str, predicted: NDArray[Any]) -> tuple[Hits, Hits] | None:
    """Which pairs' base, and which pairs' (first swapped) source, the network solves; None where nobody says their answers.
    predicted: see `predictions`."""
    known = data.pairs[name].answered
    return (data.right(predicted, name, "base"), data.right(predicted, name, "source")) if known else None


def baselines(data: Dataset, name: str, predicted: NDArray[Any]) -> Baselines:
    """Of the pairs of a hypothesis, from the network's own answers (see `predictions`)."""
    base_right, source_right = solved(data, name, predicted) or [np.array([np.nan])] * 2
    return Baselines(
        noop=float(data.right(predicted, name, "label").mean()),
        majority=float(np.unique(data.pairs[name].label, return_counts=True)[1].max() / len(data.pairs[name])),
        lm_base=float(base_right.mean()),
        lm_source=float(source_right.mean()),
        ceiling=float((base_right * source_right).mean()),
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
    progress: Callable[[str, float], None] | None = None, room: float = 0.0, measures: Mapping[str, Measure] = NONE,
) -> list[Record]:  # fmt: skip
    """Every cell on every split (`val` among them): IIA and flip IIA with hard and soft masks, baselines.

    One pass over each split. Hits are those of `test`, if given; how natural patched activations are is looked at on the last
    split.
    room: bytes in which captures may be kept between the passes over a split. measures: what is taken beside, each also of
    swapping nothing, the whole vector and a random feature.
    """

    def tell(split: str) -> Callable[[float], None]:
        return lambda done: progress(split, done) if progress else None

    records = [Record(alignment) for alignment in alignments]
    sites = [a.cell.site for a in alignments]
    for split, data in {"val": splits["val"], **splits}.items():
        captures = captures_for(engine, data, sites, room)
        wanted = _wanted(alignments) | (_unswapped(alignments) if measures else {})
        found = measured(engine, data, wanted, measures, progress=tell(split), captures=captures)
        trim()
        hits = {key: each[IIA] for key, each in found.items()}
        _note(records, split, data, hits, predictions(engine, data.prompts, known=captures.said))
        _note_measures(records, split, data, found, measures)
    for record, place in zip(records, off_manifold(alignments, engine, data, captures), strict=True):
        record.metrics[split] |= asdict(place)
    return records


def examine(
    alignments: Sequence[Alignment], engine: Engine, data: Dataset, progress: Callable[[float], None] | None = None
) -> list[Record]:
    """Finished alignments as they are, on one more data set: metrics and hits of its `test` pairs."""
    records = [Record(alignment) for alignment in alignments]
    found = score(engine, data, _wanted(alignments, soft=False), progress=progress)
    _note(records, "test", data, found, predictions(engine, data.prompts, data.answers))
    return records


def _wanted(alignments: Sequence[Alignment], soft: bool = True) -> dict[Any, tuple[str, Site, list[Feature]]]:
    """What has to be scored: (cell, part), and the whole vector once per hypothesis and site. soft: cells' soft masks too,
    where they have such."""
    wanted: dict[Any, tuple[str, Site, list[Feature]]] = {}
    for i, a in enumerate(alignments):
        where = a.cell.hypothesis, a.cell.site
        parts = {"own": a.feature, "random": _twin(a), "soft": a.soft if soft else None}
        wanted |= {(i, part): (*where, [feature]) for part, feature in parts.items() if feature is not None}
        wanted[where] = (*where, [Whole(a.feature.variables)])
    return wanted


def _unswapped(alignments: Sequence[Alignment]) -> dict[Any, tuple[str, Site, list[Feature]]]:
    """Once per hypothesis a swap of nothing, at any of its sites."""
    wanted = {(a.cell.hypothesis, "noop"): a for a in alignments}
    return {key: (key[0], a.cell.site, [Whole(a.feature.variables).complement]) for key, a in wanted.items()}


def _note_measures(
    records: Sequence[Record], split: str, data: Dataset, found: Mapping[Any, Measured], measures: Mapping[str, Measure]
) -> None:
    """Means of measures: `probability`, of what stands beside it `noop_probability` and so on, and on the pairs whose
    counterfactual answer is another than the base answer `flip_probability`."""
    for i, record in enumerate(records):
        name, site = record.alignment.cell.hypothesis, record.alignment.cell.site
        pairs, metrics = data.pairs[name], record.metrics[split]
        keys = {"": (i, "own"), "noop_": (name, "noop"), "whole_": (name, site), "random_": (i, "random")}
        for measure, about in measures.items():
            each = {beside: found.get(key, found[name, site])[measure][0] for beside, key in keys.items()}
            some = about.where(pairs)
            flips = some & (pairs.label != pairs.base_label)
            if some.any():
                metrics |= {beside + measure: float(values[some].mean()) for beside, values in each.items()}
            if flips.any() and not about.flips:
                metrics[f"flip_{measure}"] = float(each[""][flips].mean())


def _note(records: Sequence[Record], split: str, data: Dataset, found: Mapping[Any, Hits], predicted: NDArray[Any]) -> None:
    """Turns a split's hits into every record's metrics."""
    changed = {name: p.flips for name, p in data.pairs.items()}
    beside = {name: baselines(data, name, predicted) for name in data.pairs}
    right = {name: solved(data, name, predicted) for name in data.pairs}
    for i, record in enumerate(records):
        a = record.alignment
        where = a.cell.hypothesis, a.cell.site
        whole, own = found[where][0], found[i, "own"][0]
        named = {"iia": own, "whole": whole}
        named["iia_soft"] = found.get((i, "soft"), own[None])[0]
        named["random"] = found.get((i, "random"), whole[None])[0]
        name = a.cell.hypothesis
        record.metrics[split] = _metrics(a, named, changed[name], beside[name])
        parts = splits(*known, own) if (known := right[name]) else {}
        record.metrics[split] |= {f"iia_{part}": found["iia"] for part, found in parts.items() if found["pairs"]}
        if split == "test":
            record.hits = own


def _twin(a: Alignment) -> Feature | None:
    """A random feature of the alignment's size."""
    return a.feature.twin(torch.Generator().manual_seed(zlib.crc32(f"random {a.cell.id}".encode())))


def _metrics(a: Alignment, named: Mapping[str, Hits], flips: Hits | None, beside: Baselines) -> dict[str, float]:
    metrics = {name: float(hits.mean()) for name, hits in named.items()}
    if flips is not None and flips.any():
        metrics |= {f"flip_{name}": float(hits[flips].mean()) for name, hits in named.items()}
    metrics |= {"noop": beside.noop, "majority": beside.majority, "lm_base": beside.lm_base, "lm_source": beside.lm_source}
    metrics |= {"ceiling": beside.ceiling, "normalised": beside.normalised(metrics["iia"]), "rank": float(a.rank)}
    return metrics
