"""Upstream: whether a site holds a variable, or only what the variable is computed from.

Where A and B lie at a site, swapping both does what swapping A xor B would do, though nothing there is A xor B; in the same
network a claim about B xor C may score as much. IIA cannot tell, but other pairs can: those whose base and source agree in the
claimed variable and differ in one of its causes. If the variable itself is what the network goes on with, there is nothing to
swap on them. If it is computed only later, an alignment of that cause at the same site, trained as any other, gives the answer
that the causal model gives when the cause alone is interchanged.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Columns, codes, concat, differ, same_length, take
from das.causal.model import CausalModel
from das.errors import DasError
from das.pairs.drawer import make_pairs
from das.pairs.pairs import Pairs
from das.pairs.trials import CANDIDATES, LEAST
from das.task.hypothesis import Hypothesis

Rows = NDArray[np.int64]


def telling(hypothesis: Hypothesis, pool: Columns, rng: np.random.Generator, n: int = 256) -> dict[str, Pairs]:
    """Cause of the aligned variables → up to `n` pairs of the pool's prompts, labelled by the interchange of that cause alone:
    it flips the answer, and only by way of the aligned variables, in which base and source agree. A cause, inputs among them,
    of which there are too few such pairs is left out."""
    model, own = hypothesis.model, hypothesis.variables
    values = model.run(pool)
    base, source = _alike(codes(*(values[v] for v in own)), rng)
    above: set[str] = set().union(*map(model.causes, own)) - set(own)
    causes = [v for v in model.variables if v in above]
    found = {cause: _pairs(model, own, cause, values, base, source, n) for cause in causes}
    return {cause: pairs for cause, pairs in found.items() if pairs is not None}


def ordinary(hypothesis: Hypothesis, causes: Iterable[str], like: Pairs, rng: np.random.Generator) -> dict[str, Pairs]:
    """Cause → pairs to align it by, as many as `like`, the claim's, and of the same prompts: half of them flip the answer."""
    pool = concat([like.base, *like.sources.values()])
    return {cause: make_pairs(Hypothesis(hypothesis.model, cause), pool, len(like), rng) for cause in causes}


def _alike(code: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Random rows, and for each another of the same code, drawn from all of them."""
    order, base = np.argsort(code, kind="stable"), rng.integers(0, len(code), CANDIDATES)
    size = np.bincount(code)
    start = np.cumsum(size) - size
    at = start[code[base]] + (rng.random(CANDIDATES) * size[code[base]]).astype(np.int64)
    return base, order[at]


def _pairs(
    model: CausalModel, own: tuple[str, ...], cause: str, values: Columns, base: Rows, source: Rows, n: int
) -> Pairs | None:
    """Of candidates, rows of the table of all variables, up to `n` that tell; None where there are too few."""
    inputs = {name: values[name] for name in model.inputs.names}
    answers = values[model.output]
    try:
        flips = model.moves(take(inputs, base), answers[base], cause, values[cause][source])
        base, source = base[flips], source[flips]
        given = values[cause][source]
        held = model.intervene(take(inputs, base), {v: values[v][base] for v in own} | {cause: given})[model.output]
    except DasError:  # mechanisms that cannot follow such an interchange
        return None
    rows = np.flatnonzero(~differ(held, answers[base]))[: min(n, same_length(inputs))]
    if len(rows) < LEAST:
        return None
    base, source = base[rows], source[rows]
    bases = take(inputs, base)
    return Pairs(
        base=bases,
        sources={cause: take(inputs, source)},
        base_answer=answers[base],
        source_answer=answers[source],
        answer=model.intervene(bases, {cause: values[cause][source]})[model.output],
        swapped=np.ones((len(rows), 1), bool),
        family=np.full(len(rows), "telling"),
    )
