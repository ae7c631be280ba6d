"""Dose: what adding a direction does to the answers, against how much of it is added.

A direction of a variable has two ends: the level of the variable (a value; of more numbers a quarter of them) at which natural
prompts lie farthest along it, and the one at which they lie least. If the network computes by it, adding more and more of it
must bring about the answer of the upper level, and taking it away that of the lower one, on prompts that it was not found on.
Added beside it are as much of a random direction, and the piecewise operator, which turns up what is there (or with a negative
dose turns it round) and is held against the prompt's own answer (Zou et al. 2023, arXiv 2310.01405).

Doses are in units of the natural spread: the standard deviation of natural prompts' vectors along the direction.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.causal.columns import Column, Columns, differ, same_length, take
from das.find.alignment import Alignment
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.feature import Feature
from das.interchange.measures import MEASURES
from das.interchange.operators import Add, Piecewise
from das.interchange.score import IIA, Measured, measured
from das.interchange.vectors import vectors
from das.judge.decoding import EACH, classes
from das.network.site import Site
from das.pairs.dataset import Dataset, Rows
from das.pairs.pairs import Pairs
from das.pairs.trials import LEAST
from das.task.answers import Real
from das.task.hypothesis import Hypothesis

DOSES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)

PROMPTS, CANDIDATES = 64, 1000
"""Prompts that a direction is added to; from how many those are taken on which the variable decides."""

LEVEL, OWN = "level", "own"
"""`level V 0`, `level V 1`, … ask for the answers of prompts were V at that level, and `level V own` for their own."""

CURVES = ("add", "random", "piecewise")

Dose = dict[str, Any]


def dose_questions(hypothesis: Hypothesis, pool: Columns, rng: np.random.Generator) -> dict[str, Pairs]:
    """Question → pairs: prompts of a pool, the same for every level of a variable, with sources that are at the level. None of
    a variable without levels, and where too few prompts hang on it."""
    order = rng.permutation(same_length(pool))
    pool = take(pool, order)
    table, found = hypothesis.model.run(pool), dict[str, Pairs]()
    for v in hypothesis.variables:
        levels = classes(table[v], table[v])
        groups = [np.flatnonzero(levels[0][0] == i) for i in range(levels[0][0].max() + 1)] if len(levels) == 1 else []
        groups = [group for group in groups if len(group) >= EACH]
        if len(groups) > 1:
            found |= _of_variable(hypothesis, v, pool, [rng.choice(group, CANDIDATES) for group in groups])
    return found


def _of_variable(hypothesis: Hypothesis, v: str, pool: Columns, sources: Sequence[Rows]) -> dict[str, Pairs]:
    """sources: for each level as many of the pool's prompts that are at it."""
    model, n = hypothesis.model, min(CANDIDATES, same_length(pool))
    base, others = take(pool, np.arange(n)), [take(pool, rows[:n]) for rows in sources]
    if v in model.inputs.names:  # some settings may not be
        may = np.logical_and.reduce([model.inputs.allowed(base | {v: other[v]}) for other in others])
        base, others = take(base, may), [take(other, may) for other in others]
    answers = [model.interchange(base, {v: other})[model.output] for other in others]
    rows = np.flatnonzero(np.logical_or.reduce([differ(answers[0], each) for each in answers]))[:PROMPTS]
    if len(rows) < LEAST:
        return {}
    asked = {f"{LEVEL} {v} {i}": each for i, each in enumerate(zip(others, answers, strict=True))}
    asked[f"{LEVEL} {v} {OWN}"] = base, model.run(base)[model.output]
    return {name: _pairs(hypothesis, v, base, *each).take(rows) for name, each in asked.items()}


def _pairs(hypothesis: Hypothesis, v: str, base: Columns, other: Columns, answer: Column) -> Pairs:
    """Pairs that take a variable from other prompts."""
    own, model = hypothesis.variables, hypothesis.model
    return Pairs(
        base=base,
        sources={w: other if w == v else base for w in own},
        base_answer=model.run(base)[model.output],
        source_answer=model.run(other)[model.output],
        answer=answer,
        swapped=np.tile([w == v for w in own], (len(answer), 1)),
        family=np.full(len(answer), LEVEL),
    )


@dataclass(frozen=True)
class _Asked:
    """A direction, and what is asked of it. upper, own: names of questions; rows: which prompts have other answers at the upper
    level than at the lower one, (prompts,)."""

    site: Site
    direction: Tensor
    spread: float
    upper: str
    own: str
    rows: NDArray[np.bool_]

    def features(self, seed: int) -> dict[str, tuple[str, Site, list[Feature]]]:
        """Curve → the question, and a feature for each dose."""
        other = torch.randn(len(self.direction), generator=torch.Generator().manual_seed(seed))
        other = other * self.direction.norm() / other.norm()
        doses = [dose * self.spread for dose in DOSES]
        return {
            "add": (self.upper, self.site, [Add(self.direction, dose) for dose in doses]),
            "random": (self.upper, self.site, [Add(other, dose) for dose in doses]),
            "piecewise": (self.own, self.site, [Piecewise(self.direction, dose) for dose in doses]),
        }

    def curves(self, found: Mapping[str, Measured]) -> Dose:
        """As the scorecard holds it, means over prompts. found: curve → what was measured."""
        names = {IIA: "accuracy"}
        means = {c: {names.get(m, m): each[:, self.rows].mean(1).tolist() for m, each in of.items()} for c, of in found.items()}
        return {"spread": self.spread, "alpha": list(DOSES), **means}


def doses(
    alignments: Sequence[Alignment], variables: Mapping[str, Sequence[str]], engine: Engine, asked: Dataset,
    natural: Mapping[tuple[str, Site], Tensor], captures: Captures | None,
) -> list[dict[str, Dose]]:  # fmt: skip
    """Of each alignment, variable → the curves of the first of its directions; none where it has no direction, or nothing was
    asked.

    variables: hypothesis → those that it aligns. asked: with each hypothesis' `dose_questions`, as `hypothesis: question`.
    natural: what natural prompts have at a hypothesis' sites, (prompts, d).
    """
    wanted = {}
    for i, a in enumerate(alignments):
        for j, v in enumerate(variables.get(a.cell.hypothesis, ())):
            if one := _asked(a, j, v, engine, asked, natural[a.cell.hypothesis, a.cell.site]):
                wanted[i, v] = one
    measures = {} if isinstance(asked.answers, Real) else {"probability": MEASURES["probability"]}
    seeds = {(i, v): zlib.crc32(f"dose {v} {alignments[i].cell.id}".encode()) for i, v in wanted}
    features = {(*at, curve): each for at, one in wanted.items() for curve, each in one.features(seeds[at]).items()}
    found = measured(engine, asked, features, measures, captures=captures) if features else {}
    made: list[dict[str, Dose]] = [{} for _ in alignments]
    for (i, v), one in wanted.items():
        made[i][v] = one.curves({curve: found[i, v, curve] for curve in CURVES})
    return made


def _asked(a: Alignment, j: int, v: str, engine: Engine, asked: Dataset, natural: Tensor) -> _Asked | None:
    columns, begin = a.feature.directions(j), f"{a.cell.hypothesis}: {LEVEL} {v} "
    levels = [name for name in asked.pairs if name.startswith(begin) and name != f"{begin}{OWN}"]
    if columns is None or not levels:
        return None
    direction, along = torch.nn.functional.normalize(columns[:, 0], dim=0), {}
    for name in levels:
        ((_, rows),) = vectors(engine, asked, asked.pairs[name].sources[j], [a.cell.site])
        along[name] = float((rows @ direction).mean())
    upper, lower = max(along, key=along.__getitem__), min(along, key=along.__getitem__)
    differ = asked.pairs[upper].label != asked.pairs[lower].label
    spread = float((natural @ direction).std())
    if differ.sum() < LEAST or spread == 0:
        return None
    return _Asked(a.cell.site, direction, spread, upper, f"{begin}{OWN}", differ)
