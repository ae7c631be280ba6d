"""Trials: pairs that put one question each to a subspace, with the answer that the causal model expects.

`natural`: sources as the prompts come; the counterfactual answer is expected.
`resampled`: the same pairs; the base answer is asked for, which a swap of what matters will often take away.
`rest`: the same pairs; with everything but the aligned variables taken from the source, the answer of that is expected.
`cause V`: swapping V flips the answer; the counterfactual one is expected.
`isolate V from W`: swapping V keeps the answer and swapping W would flip it; the base answer is expected (RAVEL's isolation,
    Huang et al. 2024, arXiv 2402.17700, with the pairs taken from the DAG).
`complete`: swapping the aligned variables flips the answer and swapping all else keeps it, so that a swap of everything but
    the subspace should leave the base answer, wherever else the rest of the source may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, differ, same_length, take
from das.pairs.pairs import Pairs
from das.task.hypothesis import Hypothesis

CANDIDATES = 20_000
"""Random pairs from which the fitting ones are taken."""

LEAST = 20
"""A question that fewer candidates fit is not put."""


def trials(hypothesis: Hypothesis, pool: Columns, rng: np.random.Generator, n: int = 256) -> dict[str, Pairs]:
    """Question → up to `n` pairs of the pool's prompts, no more than there are prompts. With the same pool and generator, the
    natural pairs of all hypotheses are the same."""
    drawn = _Candidates(hypothesis, pool, rng)
    n = min(n, same_length(pool))
    own, base = hypothesis.variables, drawn.answer([])
    answers = {"base": base, "rest": drawn.rest(own)}
    every = np.arange(CANDIDATES)
    fitting = {("natural", own, ""): every, ("resampled", own, "base"): every, ("rest", own, "rest"): every}
    for v in own:
        kept = ~differ(base, drawn.answer([v]))
        fitting["cause " + v, (v,), ""] = np.flatnonzero(~kept)
        for w in (w for w in hypothesis.model.variables if w not in (v, hypothesis.model.output)):
            fitting[f"isolate {v} from {w}", (v,), "base"] = np.flatnonzero(kept & drawn.moved(w))
    alone = differ(base, drawn.answer(own)) & ~differ(base, answers["rest"])
    fitting["complete", own, "base"] = np.flatnonzero(alone)
    return {
        name: drawn.pairs(rows[:n], swapped, answers[expected] if expected else drawn.answer(swapped))
        for (name, swapped, expected), rows in fitting.items()
        if len(rows) >= LEAST
    }


def listed_trials(pairs: Pairs) -> dict[str, Pairs]:
    """The questions that pairs put by themselves, where no causal model answers others: `resampled`, and for each variable
    `cause V`, the pairs that swap it alone and flip the answer. None where nobody says how the bases are answered."""
    if pairs.base_answer is None or pairs.flips is None:
        return {}
    found = {"resampled": replace(pairs, answer=pairs.base_answer)}
    for i, v in enumerate(pairs.sources):
        alone = pairs.swapped[:, i] & (pairs.swapped.sum(1) == 1)
        found["cause " + v] = pairs.take(np.flatnonzero(pairs.flips & alone))
    return {name: some for name, some in found.items() if len(some) >= LEAST}


class _Candidates:
    """Random pairs of a pool's prompts, and what the causal model makes of them."""

    def __init__(self, hypothesis: Hypothesis, pool: Columns, rng: np.random.Generator) -> None:
        self.model, self.variables = hypothesis.model, hypothesis.variables
        rows = rng.integers(0, len(next(iter(pool.values()))), (2, CANDIDATES))
        self.base, self.source = (take(pool, some) for some in rows)
        self._values = [self.model.run(columns) for columns in (self.base, self.source)]

    def answer(self, variables: Sequence[str]) -> Column:
        """The base's, with these variables taken from the source."""
        values = self._values[1]
        return self.model.intervene(self.base, {v: values[v] for v in variables})[self.model.output]

    def moved(self, variable: str) -> NDArray[np.bool_]:
        """Where taking a variable from the source would change the base's answer."""
        own, other = self._values
        return self.model.moves(self.base, own[self.model.output], variable, other[variable])

    def rest(self, variables: Sequence[str]) -> Column:
        """The base's, with everything but these variables taken from the source."""
        values = self._values[0]
        return self.model.intervene(self.source, {v: values[v] for v in variables})[self.model.output]

    def pairs(self, rows: NDArray[np.int64], swapped: Sequence[str], answer: Column) -> Pairs:
        """Some candidates as pairs that swap some of the variables, with the answer that is asked for."""
        own, other = ({name: column[rows] for name, column in table.items()} for table in (self.base, self.source))
        output = self.model.output
        return Pairs(
            base=own,
            sources={v: other if v in swapped else own for v in self.variables},
            base_answer=self._values[0][output][rows],
            source_answer=self._values[1][output][rows],
            answer=answer[rows],
            swapped=np.tile([v in swapped for v in self.variables], (len(rows), 1)),
            family=np.full(len(rows), "trial"),
        )
