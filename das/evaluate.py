"""Evaluation: how often a swap does to the network what it does to the causal model, and what that is worth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from das.alignment import Alignment
from das.dataset import Dataset, Labelled, Site
from das.engine import Engine, make_engine
from das.kinds import Boundless, Full, Nested
from das.lm import LM
from das.score import Hits, predictions, score
from das.subspace import Subspace, random_basis
from das.task import Task

EVERY_WIDTH = 32
"""Rank curves have every width up to here and about geometrically spaced ones beyond."""


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


def baselines(pairs: Labelled, predicted: NDArray[np.int64]) -> Baselines:
    """From the network's own answers (see `predictions`)."""
    own = predicted[pairs.base]
    base_right = own == pairs.base_label
    changed = pairs.sources != pairs.base
    first = pairs.sources[changed.argmax(0), np.arange(len(pairs))]
    source_right = predicted[first] == pairs.source_label
    return Baselines(
        noop=float((own == pairs.label).mean()),
        majority=float(np.unique(pairs.label, return_counts=True)[1].max() / len(pairs)),
        lm_base=float(base_right.mean()),
        lm_source=float(source_right.mean()),
        ceiling=float((base_right & source_right).mean()),
    )


def bootstrap(hits: NDArray[Any], base: NDArray[np.int64], rng: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """The 95 % interval of the mean of `hits` (pairs,) when base prompts are drawn anew; base: each pair's base prompt."""
    code = np.unique(base, return_inverse=True)[1]
    total, count = np.bincount(code, hits.astype(float)), np.bincount(code)
    weights = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), size=draws)
    means = (weights @ total) / (weights @ count)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


# --- a cell's whole record ---


@dataclass
class Record:
    """An alignment with everything measured: `metrics[split][name]`, and hits on the test pairs (pairs,)."""

    alignment: Alignment
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    hits: Hits = field(default_factory=lambda: np.zeros(0, bool))


def widths(k: int) -> list[int]:
    """The widths at which a rank curve is taken."""
    if k <= EVERY_WIDTH:
        return list(range(1, k + 1))
    wide = np.unique(np.geomspace(EVERY_WIDTH, k, 24).round().astype(int))
    return [*range(1, EVERY_WIDTH), *wide.tolist()]


def cut(alignment: Alignment, width: int) -> Subspace:
    """The subspace of the first `width` columns of each variable."""
    index = torch.arange(alignment.hard.mask.shape[1])
    return replace(alignment.hard, mask=(index < width).float().expand(alignment.hard.mask.shape[0], -1))


def choose_rank(curve: Mapping[int, float], tolerance: float) -> int:
    """The smallest width whose IIA is within `tolerance` of the best."""
    best = max(curve.values())
    return min(width for width, iia in curve.items() if iia >= best - tolerance)


def evaluate(
    alignments: Sequence[Alignment], engine: Engine, splits: Mapping[str, Dataset],
    progress: Callable[[str, float], None] | None = None,
) -> list[Record]:  # fmt: skip
    """Every cell on every split (`val` among them): IIA and flip IIA with hard and soft masks, curves, baselines.

    A Nested cell's rank is chosen on `val` first; the rest looks at each split once. Hits are those of `test`, if given.
    """

    def tell(split: str) -> Callable[[float], None]:
        return lambda done: progress(split, done) if progress else None

    records = [Record(alignment) for alignment in alignments]
    nested = {i: a for i, a in enumerate(alignments) if isinstance(a.cell.kind, Nested)}
    for split, data in {"val": splits["val"], **splits}.items():
        curves = score(engine, data, {i: _curve(a) for i, a in nested.items()}, progress=tell(split)) if nested else {}
        for i, hits in curves.items():
            points = zip(widths(alignments[i].hard.mask.shape[1]), hits.mean(1).tolist(), strict=True)
            records[i].curves[split] = dict(points)
        if split == "val":
            for i, a in nested.items():
                rank = choose_rank(records[i].curves["val"], a.cell.kind.tolerance)  # type: ignore[union-attr]
                a.hard = a.soft = cut(a, rank)
        _measure(records, engine, split, data, tell(split))
    return records


def _curve(a: Alignment) -> tuple[str, Site, list[Subspace]]:
    return a.cell.hypothesis, a.cell.site, [cut(a, w) for w in widths(a.hard.mask.shape[1])]


def _measure(records: Sequence[Record], engine: Engine, split: str, data: Dataset, tell: Callable[[float], None]) -> None:
    """One pass over a split: every cell's subspaces, and the whole vector once per hypothesis and site."""
    wanted: dict[Any, tuple[str, Site, Sequence[Subspace]]] = {}
    for i, record in enumerate(records):
        a = record.alignment
        subspaces = [a.hard, *([a.soft] if isinstance(a.cell.kind, Boundless) else []), *_rank_matched(a)]
        wanted[i] = (a.cell.hypothesis, a.cell.site, subspaces)
        everything = Subspace(None, torch.ones(a.hard.mask.shape[0], 1))
        wanted[(a.cell.hypothesis, a.cell.site)] = (a.cell.hypothesis, a.cell.site, [everything])
    found = score(engine, data, wanted, progress=tell)
    predicted = predictions(engine, data)
    changed = {name: p.label != p.base_label for name, p in data.pairs.items()}
    beside = {name: baselines(p, predicted) for name, p in data.pairs.items()}
    for i, record in enumerate(records):
        cell = record.alignment.cell
        own, whole = found[i], found[(cell.hypothesis, cell.site)]
        record.metrics[split] = _metrics(record.alignment, own, whole[0], changed[cell.hypothesis], beside[cell.hypothesis])
        if split == "test":
            record.hits = own[0]


def _rank_matched(a: Alignment) -> list[Subspace]:
    """A random subspace of the alignment's size and rank."""
    if a.hard.basis is None:
        return []
    d, v, k = a.hard.basis.shape
    generator = torch.Generator().manual_seed(zlib.crc32(f"random {a.cell.id}".encode()))
    return [Subspace(random_basis(d, v * k, generator).unflatten(1, (v, k)), a.hard.mask)]


def _metrics(a: Alignment, own: Hits, whole: Hits, flips: Hits, beside: Baselines) -> dict[str, float]:
    named: dict[str, Hits] = {"iia": own[0], "whole": whole}
    named["iia_soft"] = own[1] if isinstance(a.cell.kind, Boundless) else own[0]
    named["random"] = whole if isinstance(a.cell.kind, Full) else own[-1]
    metrics = {name: float(hits.mean()) for name, hits in named.items()}
    if flips.any():
        metrics |= {f"flip_{name}": float(hits[flips].mean()) for name, hits in named.items()}
    metrics |= {"noop": beside.noop, "majority": beside.majority, "lm_base": beside.lm_base, "lm_source": beside.lm_source}
    metrics |= {"ceiling": beside.ceiling, "normalised": beside.normalised(metrics["iia"]), "rank": float(a.rank)}
    return metrics


def task_accuracy(task: Task, lm: LM, n: int = 500) -> dict[str, float]:
    """The network's accuracy on drawn prompts of the base and of every shift, strict: its first token is the answer's."""
    table = {}
    for name in ["base", *task.shifts]:
        prompts, answers = task.draw(name, lm.tokenizer, np.random.default_rng(0), n)
        data = Dataset(prompts, {})
        own = predictions(make_engine(lm, data.shared_prefix()), data)
        table[name] = float((own == answers).mean())
    return table
