"""Rivals: what interchanging other variables, of this causal model or of another, would have done on the same pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, differ
from das.causal.model import CausalModel
from das.errors import DasError

Mask = NDArray[np.bool_]

Way = dict[str, str]
"""What is interchanged: variable → the name of the source that it takes its value from. An empty way is a no-op."""

SAME = 0.98
"""From this IIA on a rival answers pairs as the claim does: they do not tell the two apart."""

MOST_WAYS, IN_PLAY = 2048, 500
"""Ways that are tried per causal model at most, and those that take part in the game of `least`."""

ROUNDS, RATE = 30, 2.0
"""Of `least`: rounds of the game, and how fast the rivals turn to what pays."""


def ways(model: CausalModel, sources: Sequence[str], most: int = MOST_WAYS) -> tuple[list[Way], bool]:
    """The ways to interchange variables of a model, inputs among them, each by one of the sources, that can differ in what they
    do; few variables first, at most `most`. And whether these are all.

    A variable that acts only through others that are interchanged as well adds nothing, so no way has one: the output stands
    alone. Where the rest are still too many, one that acts only through variables which have no other parent stands beside
    other inputs alone, since interchanging those variables instead does the same.
    """
    every = _some(model, sources, model.variables, most)
    if len(every) <= most:
        return every, True
    direct = [v for v in model.variables if not _relays(model, v)]
    parts = [_some(model, sources, among, most) for among in (model.inputs.names, direct)]
    different = {frozenset(way.items()): way for part in parts for way in part}
    return sorted(different.values(), key=len)[:most], max(map(len, [*parts, different])) <= most


def _relays(model: CausalModel, variable: str) -> bool:
    children = [v for v in model.variables if variable in model.parents(v)]
    return bool(children) and all(model.parents(child) == (variable,) for child in children)


def _some(model: CausalModel, sources: Sequence[str], among: Collection[str], most: int) -> list[Way]:
    """The first `most`, and one more if there is, that interchange these variables alone."""
    order = list(reversed(model.variables))
    children = {v: [child for child in order if v in model.parents(child)] for v in order}

    def extend(at: int, computed: frozenset[str], way: Way, more: int) -> Iterator[Way]:
        """Ways with `more` further variables, from those at `at` on. computed: what the answer comes through as it is."""
        if not more:
            yield way
            return
        for i in range(at, len(order) - more + 1):
            variable = order[i]
            if variable != model.output and computed.isdisjoint(children[variable]):
                continue
            for source in sources if variable in among else ():
                yield from extend(i + 1, computed, {**way, variable: source}, more - 1)
            computed |= {variable}

    every = (way for size in range(len(order) + 1) for way in extend(0, frozenset(), {}, size))
    return list(islice(every, most + 1))


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
        for column in agreement(model, base, sources, label, ways(model, list(sources), IN_PLAY)[0]):
            if not column.all():
                mine[index.setdefault(column.tobytes(), len(index))] = column
        columns += [column for at, column in mine.items() if at >= len(columns)]
        owned.append(list(mine))
    weight = np.zeros((len(models), len(columns)), np.float32)
    for row, mine_at in zip(weight, owned, strict=True):
        row[mine_at] = 1 / max(len(mine_at), 1)
    table = np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(label), 0), np.float32)
    return table, weight[weight.any(1)]
