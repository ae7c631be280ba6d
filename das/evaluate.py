"""Evaluation: how often a swap does to the network what it does to the causal model, and what that is worth."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from das.alignment import Alignment
from das.captures import Captures
from das.columns import Columns, codes
from das.dataset import Dataset, Labelled
from das.engine import Engine
from das.failures import splits
from das.kinds import Boundless, Nested
from das.lm import LM
from das.manifold import off_manifold
from das.memory import trim
from das.score import Hits, captures_for, predictions, score
from das.selftest import make_engine
from das.shifts import BASE, Variant
from das.site import Site
from das.subspace import Subspace, random_basis
from das.task import Task, ask
from das.verdict import solves

EVERY_WIDTH = 8
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
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    hits: Hits = field(default_factory=lambda: np.zeros(0, bool))


def widths(k: int) -> list[int]:
    """The widths at which a rank curve is taken."""
    if k <= EVERY_WIDTH:
        return list(range(1, k + 1))
    wide = np.geomspace(EVERY_WIDTH, k, 1 + round(4 * np.log2(k / EVERY_WIDTH))).round().astype(int)
    return sorted({*range(1, EVERY_WIDTH), *wide.tolist(), k})


def cut(subspace: Subspace, width: int) -> Subspace:
    """The subspace of the first `width` columns of each variable."""
    variables, k = subspace.mask.shape
    return replace(subspace, mask=(torch.arange(k) < width).float().expand(variables, -1))


def cuts(subspace: Subspace) -> list[Subspace]:
    """The subspace at every width of its rank curve."""
    return [cut(subspace, width) for width in widths(subspace.mask.shape[1])]


def choose_rank(curve: Mapping[int, float], tolerance: float) -> int:
    """The smallest width whose IIA is within `tolerance` of the best."""
    best = max(curve.values())
    return min(width for width, iia in curve.items() if iia >= best - tolerance)


def evaluate(
    alignments: Sequence[Alignment], engine: Engine, splits: Mapping[str, Dataset],
    progress: Callable[[str, float], None] | None = None, room: float = 0.0,
) -> list[Record]:  # fmt: skip
    """Every cell on every split (`val` among them): IIA and flip IIA with hard and soft masks, curves, baselines.

    A Nested cell's rank is chosen on `val` first; all else is one pass over each split. Hits are those of `test`, if given;
    how natural patched activations are is looked at on the last split.
    room: bytes in which captures may be kept between the passes over a split.
    """

    def tell(split: str) -> Callable[[float], None]:
        return lambda done: progress(split, done) if progress else None

    records = [Record(alignment) for alignment in alignments]
    sites, curves = [a.cell.site for a in alignments], _curves(alignments)
    for split, data in {"val": splits["val"], **splits}.items():
        captures = captures_for(engine, data, sites, room)
        found: dict[Any, Hits] = settle(alignments, engine, data, tell(split), captures) if split == "val" else {}
        missing = _wanted(alignments) | ({} if found else curves)
        found |= score(engine, data, missing, progress=tell(split), captures=captures)
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
    found = score(engine, data, _wanted(alignments, finished=True), progress=progress)
    _note(records, "test", data, found, predictions(engine, data.prompts))
    return records


def settle(
    alignments: Sequence[Alignment], engine: Engine, val: Dataset, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[Any, Hits]:  # fmt: skip
    """Cuts every Nested alignment to the rank that its curve on validation pairs gives it; the curves' hits."""
    curves = _curves(alignments)
    found = score(engine, val, curves, progress=progress, captures=captures) if curves else {}
    for i, a in enumerate(alignments):
        if isinstance(a.cell.kind, Nested):
            a.hard = a.soft = cut(a.hard, choose_rank(_curve(a, found[i, "curve"]), a.cell.kind.tolerance))
    return found


def _curves(alignments: Sequence[Alignment]) -> dict[Any, tuple[str, Site, list[Subspace]]]:
    """Every Nested cell at all the widths of its rank curve."""
    nested = [(i, a) for i, a in enumerate(alignments) if isinstance(a.cell.kind, Nested)]
    return {(i, "curve"): (a.cell.hypothesis, a.cell.site, cuts(a.hard)) for i, a in nested}


def _wanted(alignments: Sequence[Alignment], finished: bool = False) -> dict[Any, tuple[str, Site, list[Subspace]]]:
    """What has to be scored: (cell, part), and the whole vector once per hypothesis and site. Until they are finished, Nested
    cells have curves in place of a subspace of their own, and Boundless ones a soft mask beside it."""
    wanted: dict[Any, tuple[str, Site, list[Subspace]]] = {}
    for i, a in enumerate(alignments):
        where = a.cell.hypothesis, a.cell.site
        parts = {
            "own": [a.hard] if finished or not isinstance(a.cell.kind, Nested) else [],
            "soft": [a.soft] if isinstance(a.cell.kind, Boundless) and not finished else [],
            "random": _rank_matched(a),
        }
        wanted |= {(i, part): (*where, subspaces) for part, subspaces in parts.items() if subspaces}
        wanted[where] = (*where, [Subspace.whole(a.hard.mask.shape[0])])
    return wanted


def _curve(a: Alignment, hits: Hits) -> dict[int, float]:
    return dict(zip(widths(a.hard.mask.shape[1]), hits.mean(1).tolist(), strict=True))


def _note(
    records: Sequence[Record], split: str, data: Dataset, found: Mapping[Any, Hits], predicted: NDArray[np.int64]
) -> None:
    """Turns a split's hits into every record's metrics and curves."""
    changed = {name: p.label != p.base_label for name, p in data.pairs.items()}
    beside = {name: baselines(p, predicted) for name, p in data.pairs.items()}
    right = {name: solved(p, predicted) for name, p in data.pairs.items()}
    for i, record in enumerate(records):
        a = record.alignment
        where = a.cell.hypothesis, a.cell.site
        whole = found[where][0]
        own = found[i, "own"][0] if (i, "own") in found else _at_rank(a, found[i, "curve"])
        named = {"iia": own, "whole": whole}
        named["iia_soft"] = found.get((i, "soft"), own[None])[0]
        named["random"] = found.get((i, "random"), whole[None])[0]
        name = a.cell.hypothesis
        record.metrics[split] = _metrics(a, named, changed[name], beside[name])
        parts = splits(*right[name], own).items()
        record.metrics[split] |= {f"iia_{part}": found["iia"] for part, found in parts if found["pairs"]}
        if (i, "curve") in found:
            record.curves[split] = _curve(a, found[i, "curve"])
        if split == "test":
            record.hits = own


def _at_rank(a: Alignment, curve: Hits) -> Hits:
    hits: Hits = curve[widths(a.hard.mask.shape[1]).index(int(a.hard.mask[0].sum()))]
    return hits


def _rank_matched(a: Alignment) -> list[Subspace]:
    """A random subspace of the alignment's size and rank."""
    if a.hard.basis is None:
        return []
    d, v, k = a.hard.basis.shape
    generator = torch.Generator().manual_seed(zlib.crc32(f"random {a.cell.id}".encode()))
    return [Subspace(random_basis(d, v * k, generator).unflatten(1, (v, k)), a.hard.mask)]


def _metrics(a: Alignment, named: Mapping[str, Hits], flips: Hits, beside: Baselines) -> dict[str, float]:
    metrics = {name: float(hits.mean()) for name, hits in named.items()}
    if flips.any():
        metrics |= {f"flip_{name}": float(hits[flips].mean()) for name, hits in named.items()}
    metrics |= {"noop": beside.noop, "majority": beside.majority, "lm_base": beside.lm_base, "lm_source": beside.lm_source}
    metrics |= {"ceiling": beside.ceiling, "normalised": beside.normalised(metrics["iia"]), "rank": float(a.rank)}
    return metrics


def correct(asked: Variant, lm: LM, inputs: Columns, engine: Engine | None = None) -> Hits:
    """Which prompts of a variant, on the given input rows, the network answers correctly, strictly: its first token is the
    answer's. (rows,)  engine: one to use again, without a prefix."""
    prompts, answers = ask(asked, inputs, lm.tokenizer)
    engine = engine or make_engine(lm, Dataset(prompts, {}).shared_prefix(), length=int(prompts.lengths.max()))
    right: Hits = predictions(engine, prompts) == answers
    return right


@dataclass(frozen=True)
class Accuracy:
    """The network's accuracy on natural prompts, and that of always saying the commonest answer."""

    share: float
    commonest: float

    @property
    def solved(self) -> bool:
        """By the verdict's rule: at least halfway from the commonest answer to 1."""
        return solves(self.share, self.commonest)


def accuracy(asked: Variant, lm: LM, n: int = 500) -> Accuracy:
    """On `n` drawn prompts of a variant."""
    inputs = asked.inputs.sample(np.random.default_rng(0), n)
    answers = codes(asked.run(inputs)[asked.model.output])
    return Accuracy(float(correct(asked, lm, inputs).mean()), float(np.bincount(answers).max() / n))


def task_accuracy(task: Task, lm: LM, n: int = 500, variants: Sequence[str] | None = None) -> dict[str, float]:
    """The network's accuracy (see `correct`) on `n` drawn prompts of each variant; by default of the base and every shift."""
    names = [BASE, *task.shifts] if variants is None else variants
    return {name: accuracy(task.variant(name, lm.tokenizer), lm, n).share for name in names}
