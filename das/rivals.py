"""Rivals: what interchanging other variables, of this causal model or of another, would have done on the same pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product

import numpy as np
from numpy.typing import NDArray

from das.causal import CausalModel
from das.columns import Column, Columns, differ
from das.errors import DasError

Mask = NDArray[np.bool_]

Way = dict[str, str]
"""What is interchanged: variable → the name of the source that it takes its value from. An empty way is a no-op."""

MOST_TOGETHER, MOST_WAYS = 3, 500
"""So many variables are interchanged together, in so many ways per causal model, at most."""

ROUNDS, RATE = 30, 2.0
"""Of `least`: rounds of the game, and how fast the rivals turn to what pays."""


def ways(model: CausalModel, sources: Sequence[str]) -> list[Way]:
    """Every way to interchange up to `MOST_TOGETHER` variables of a model, inputs among them, each by one of the sources; few
    variables first. The output stands alone: it is a swap of everything."""

    def every() -> Iterator[Way]:
        for size in range(MOST_TOGETHER + 1):
            for variables in combinations(model.variables, size):
                if size < 2 or model.output not in variables:
                    yield from (dict(zip(variables, given, strict=True)) for given in product(sources, repeat=size))

    return list(islice(every(), MOST_WAYS))


def agreement(
    model: CausalModel, base: Columns, sources: Mapping[str, Columns], label: Column, tried: Sequence[Way]
) -> Iterator[Mask]:
    """For each way, the rows on which interchanging by it in `model` gives the label.

    base, sources: input columns. A way that the model's mechanisms cannot follow, such as values that never meet, agrees
    nowhere.
    """
    values = {name: model.run(source) for name, source in sources.items()}
    for way in tried:
        try:
            with np.errstate(all="ignore"):
                given = model.intervene(base, {v: values[source][v] for v, source in way.items()})[model.output]
            yield ~differ(label, given)
        except DasError:
            yield np.zeros(len(label), bool)


def least(
    models: Sequence[CausalModel],
    base: Columns,
    sources: Mapping[str, Columns],
    label: Column,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """`n` of the labelled rows, chosen so that each model's best way (see `ways`) agrees with the label on few of them.

    A zero-sum game: the sampler takes the `n` rows that agree least with the rivals' present mixture of ways, each rival moves
    its mixture towards the ways that still agree, and a row is chosen as often as it was taken (multiplicative weights:
    Freund and Schapire 1999, Adaptive game playing using multiplicative weights). Ways that agree everywhere are left out:
    no choice of rows tells them apart.
    """
    table, weight = _game(models, base, sources, label)
    if not len(weight):
        return rng.permutation(len(label))[:n]
    taken = np.zeros(len(label), np.int64)
    for _ in range(ROUNDS):
        score = table @ weight.sum(0) + 1e-6 * rng.random(len(label))
        rows = np.argpartition(score, n - 1)[:n]
        taken[rows] += 1
        weight = weight * np.exp(RATE * table[rows].mean(0))
        weight /= weight.sum(1, keepdims=True)
    order = rng.permutation(len(label))
    points = ROUNDS * np.arange(n) + rng.integers(ROUNDS)
    chosen: NDArray[np.int64] = order[np.searchsorted(np.cumsum(taken[order]), points, side="right")]
    return chosen


def _game(
    models: Sequence[CausalModel], base: Columns, sources: Mapping[str, Columns], label: Column
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows, ways): where the label is met; (models, ways): an even mixture of each model's ways. Ways that do the same are
    one, those that agree everywhere none, and models without a way are left out."""
    index: dict[bytes, int] = {}
    columns: list[Mask] = []
    owned = []
    for model in models:
        mine = {}
        for column in agreement(model, base, sources, label, ways(model, list(sources))):
            if not column.all():
                mine[index.setdefault(column.tobytes(), len(index))] = column
        columns += [column for at, column in mine.items() if at >= len(columns)]
        owned.append(list(mine))
    weight = np.zeros((len(models), len(columns)), np.float32)
    for row, mine_at in zip(weight, owned, strict=True):
        row[mine_at] = 1 / max(len(mine_at), 1)
    table = np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(label), 0), np.float32)
    return table, weight[weight.any(1)]
