"""Brought: pairs that a user gives (see `das.task.brought`) as the pairs of a hypothesis, and their cut into splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from das.causal.columns import Columns, codes, concat, differ, take
from das.errors import DasError
from das.pairs.families import Mask
from das.pairs.pairs import Pairs, Rows
from das.task.brought import Brought, answers_of
from das.task.hypothesis import Hypothesis

Identity = Callable[[Columns], Rows]

LARGEST = 0.5
"""Pairs that are tied together by the prompts they share stay together, unless the largest knot holds more than this share of
all: then pairs of one base do."""


def pairs_of(hypothesis: Hypothesis, brought: Brought) -> Pairs:
    """The pairs with the answers and classes that the causal model gives; of a stand-in for one (`das.causal.listed`) the
    answers that are listed, None where they are not, and no classes."""
    answers, model = answers_of(hypothesis, brought), hypothesis.model
    run = model.run(brought.base)
    known = {role: None if any(value is None for value in column) else column for role, column in answers.items()}
    assert known["label"] is not None
    values: dict[str, Any] = {}
    if model.complete:
        values["classes"] = np.stack([codes(run[v]) for v in hypothesis.variables])
        values["changed"] = np.stack([differ(run[v], model.run(brought.sources[v])[v]) for v in hypothesis.variables])
    return Pairs(
        base=brought.base,
        sources=brought.sources,
        base_answer=known["base_label"],
        source_answer=known["source_label"],
        answer=known["label"],
        swapped=brought.swapped,
        family=brought.family,
        **values,
    )


def split(brought: Brought, sizes: Mapping[str, int], identity: Identity, rng: np.random.Generator) -> dict[str, Brought]:
    """The pairs by split: as their rows say, in their order; where they do not, cut in proportion to `sizes` so that no base
    prompt is in two splits and, where the prompts allow it, no source either. DasError where rows put a base into two."""
    prompts = identity(brought.prompts).reshape(-1, len(brought))
    if brought.split is None:
        return _cut(brought, _knots(prompts), sizes, rng)
    names = [name for name in sizes if (brought.split == name).any()]
    _check_apart(brought, prompts[0], names)
    found = {name: brought.take(np.flatnonzero(brought.split == name)) for name in names}
    if "val" in sizes and "val" not in found and "train" in found:
        rows = np.flatnonzero(brought.split == "train")
        found |= _cut(found["train"], _knots(prompts[:, rows]), {name: sizes[name] for name in ("train", "val")}, rng)
    return found


def _check_apart(brought: Brought, base: Rows, names: list[str]) -> None:
    first: dict[int, int] = {}
    assert brought.split is not None
    for row, prompt in enumerate(base.tolist()):
        other = first.setdefault(prompt, row)
        if brought.split[other] != brought.split[row]:
            raise DasError(
                f"{brought.rows[row]}: the base prompt of this {brought.split[row]} pair is also that of a "
                f"{brought.split[other]} pair ({brought.rows[other]}): a base belongs to one split"
            )


def _knots(prompts: Rows) -> Rows:
    """A number for each pair, equal for those that have to stay in one split. prompts: (ways, pairs), base first."""
    code = codes(prompts.ravel()).reshape(prompts.shape)
    bases, others = np.broadcast_to(code[0], code[1:].shape).ravel(), code[1:].ravel()
    n = int(code.max()) + 1
    knot = connected_components(coo_array((np.ones(len(bases)), (bases, others)), shape=(n, n)), directed=False)[1][code[0]]
    tied: Rows = code[0] if np.bincount(knot).max() > LARGEST * len(knot) else knot
    return tied


def _cut(brought: Brought, knots: Rows, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Brought]:
    """Whole knots dealt out until each split has its share; every split gets one at the least."""
    distinct = rng.permutation(np.unique(knots))
    if len(distinct) < len(sizes):
        raise DasError(
            f"the pairs have {len(distinct)} base prompts: at least {len(sizes)} are needed, one in each split "
            f"({', '.join(sizes)}); or say in a column `split` where each row belongs"
        )
    ends = np.cumsum([sizes[name] for name in sizes]) / sum(sizes.values()) * len(distinct)
    cuts = np.clip(np.round(ends).astype(int), np.arange(1, len(sizes) + 1), len(distinct) - np.arange(len(sizes))[::-1])
    parts = np.split(distinct, cuts[:-1])
    return {name: brought.take(np.flatnonzero(np.isin(knots, part))) for name, part in zip(sizes, parts, strict=True)}


def pool_of(brought: Mapping[str, Brought]) -> Columns:
    """The distinct prompts of pairs, in the order of their first use."""
    every = concat([some.prompts for some in brought.values()])
    return take(every, np.sort(np.unique(codes(*every.values()), return_index=True)[1]))


def accepted(brought: Brought, accept: Callable[[Columns], Mask]) -> Brought:
    """The pairs all of whose prompts are accepted."""
    good = accept(brought.prompts).reshape(-1, len(brought)).all(0)
    if not good.any():
        raise DasError("none of the pairs that were brought has prompts which the network answers correctly")
    return brought.take(np.flatnonzero(good))
