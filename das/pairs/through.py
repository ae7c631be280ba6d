"""Through: pairs whose answer flips through one variable, with as little else changed as the causal model allows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Columns, codes, concat, differ, same_length, take
from das.causal.model import CausalModel
from das.errors import DasError
from das.pairs.pairs import Pairs, Rows
from das.task.hypothesis import Hypothesis

CANDIDATES, ROUNDS = 64, 20
"""Sources that are tried for each base at a time, and how often."""


def through(hypothesis: Hypothesis, variable: str, pool: Columns, n: int, rng: np.random.Generator) -> Pairs:
    """Up to `n` pairs. The base is a prompt of the pool; its source differs from it only in inputs that cause the variable,
    whose values come from another prompt of the pool. The variable has another value in the source, its interchange flips the
    answer, and the source's own answer is the flipped one: so whatever differs between the two runs and matters passes the
    variable.

    Other variables of the hypothesis keep their values. DasError where there are no such pairs among many.
    """
    model, found = hypothesis.model, list[tuple[Columns, Columns]]()
    causes = [name for name in model.inputs.names if name == variable or name in model.causes(variable)]
    for _ in range(ROUNDS):
        found += _tried(model, variable, causes, pool, min(n, same_length(pool)), rng)
        if sum(same_length(base) for base, _ in found) >= n:
            break
    if not found:
        raise DasError(
            f"no pair was found whose answer flips through {variable!r} when nothing but {', '.join(causes)} changes: give "
            "families of pairs, such as {flip: 1}"
        )
    base, source = (concat([each[i] for each in found]) for i in (0, 1))
    rows = _distinct(base, source)[:n]
    return _labelled(hypothesis, variable, take(base, rows), take(source, rows))


def _tried(
    model: CausalModel, variable: str, causes: list[str], pool: Columns, n: int, rng: np.random.Generator
) -> Iterator[tuple[Columns, Columns]]:
    """For random bases the first of some random sources that fits; nothing where none does."""
    base = np.repeat(rng.permutation(same_length(pool))[:n], CANDIDATES)
    donor = rng.integers(0, same_length(pool), len(base))
    some = rng.integers(1, 2 ** min(len(causes), 60), len(base))
    rows = {name: np.where(some >> i & 1 == 1, donor, base) for i, name in enumerate(causes)}
    sources = {name: column[rows.get(name, base)] for name, column in pool.items()}
    allowed = np.flatnonzero(model.inputs.allowed({name: sources[name] for name in model.inputs.names}))
    fit = allowed[_flips(model, variable, take(pool, base[allowed]), take(sources, allowed))] if len(allowed) else allowed
    first = fit[np.unique(base[fit], return_index=True)[1]]
    if len(first):
        yield take(pool, base[first]), take(sources, first)


def _flips(model: CausalModel, variable: str, base: Columns, source: Columns) -> NDArray[np.bool_]:
    own, other = model.run(base), model.run(source)
    answer = model.intervene(base, {variable: other[variable]})[model.output]
    fits: NDArray[np.bool_] = differ(own[variable], other[variable]) & differ(answer, own[model.output])
    return fits & ~differ(answer, other[model.output])


def _distinct(base: Columns, source: Columns) -> Rows:
    """The first of equal pairs, in order."""
    code = codes(*base.values(), *source.values())
    return np.sort(np.unique(code, return_index=True)[1])


def _labelled(hypothesis: Hypothesis, variable: str, base: Columns, source: Columns) -> Pairs:
    model, variables = hypothesis.model, hypothesis.variables
    own, other = model.run(base), model.run(source)
    swapped = np.tile(np.array([v == variable for v in variables]), (same_length(base), 1))
    return Pairs(
        base=base,
        sources={v: source if v == variable else base for v in variables},
        base_answer=own[model.output],
        source_answer=other[model.output],
        answer=model.intervene(base, {variable: other[variable]})[model.output],
        swapped=swapped,
        family=np.full(same_length(base), "through"),
    )
