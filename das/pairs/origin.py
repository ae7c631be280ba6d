"""Origin: where the pairs of a split come from: they are drawn from a pool of prompts, or they were brought by the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from das.causal.columns import Columns
from das.errors import DasError
from das.pairs.brought import Identity, accepted, pairs_of, pool_of, split
from das.pairs.drawer import make_pairs
from das.pairs.families import Mask
from das.pairs.pairs import Pairs
from das.pairs.pools import split_pools
from das.task.brought import Brought
from das.task.task import Task

POOL = 3
"""Prompts in a split's pool per pair wanted of it."""

Accept = Callable[[Columns], Mask]


class Origin(Protocol):
    """Of the pairs of one split."""

    def pairs(self, name: str) -> Pairs:
        """Those of a hypothesis, labelled."""

    @property
    def pool(self) -> Columns:
        """Prompts of the split, of which more may be asked."""


@dataclass(frozen=True)
class Drawn:
    """Pairs drawn from a pool of prompts. seed: of a hypothesis' pairs, by its name."""

    task: Task
    pool: Columns
    n: int
    families: Mapping[str, float]
    seed: Mapping[str, Sequence[int]]

    def pairs(self, name: str) -> Pairs:
        rng = np.random.default_rng(self.seed[name])
        return make_pairs(self.task.hypotheses[name], self.pool, self.n, rng, self.families, self.task.rivals(name))


@dataclass(frozen=True)
class Given:
    """Pairs that were brought. brought: hypothesis → those of the split."""

    task: Task
    brought: Mapping[str, Brought]

    def pairs(self, name: str) -> Pairs:
        return pairs_of(self.task.hypotheses[name], self.brought[name])

    @property
    def pool(self) -> Columns:
        return pool_of(self.brought)


def origins(
    task: Task, hypotheses: Sequence[str], sizes: Mapping[str, int], seed: int, families: Mapping[str, float],
    identity: Identity, accept: Accept | None = None,
) -> dict[str, Origin]:  # fmt: skip
    """Split → where its pairs come from: what was brought with the task (see `Task.pairs`), and the rest is drawn.

    sizes: split → pairs per hypothesis that are drawn, or in what proportion those that were brought are cut. families: see
    `make_pairs`. identity: a number for each setting, equal for settings that are one prompt. accept: keeps prompts.
    """
    brought = _by_split(task, hypotheses, sizes, np.random.default_rng([seed, 9]), identity, accept)
    missing = {name: n for name, n in sizes.items() if name not in brought}
    found: dict[str, Origin] = {name: Given(task, some) for name, some in brought.items()}
    if missing:
        _check_drawable(task, missing)
        keep = _beside(brought, identity, accept)
        wanted = {name: POOL * n for name, n in missing.items()}
        pools = split_pools(task.model, wanted, np.random.default_rng([seed, 0]), keep, identity)
        for name, n in missing.items():
            seeds = {h: [seed, list(sizes).index(name), i] for i, h in enumerate(hypotheses)}
            found[name] = Drawn(task, pools[name], n, families, seeds)
    return {name: found[name] for name in sizes}


def _by_split(
    task: Task, hypotheses: Sequence[str], sizes: Mapping[str, int], rng: np.random.Generator, identity: Identity,
    accept: Accept | None,
) -> dict[str, dict[str, Brought]]:  # fmt: skip
    """Split → hypothesis → the pairs that were brought. DasError where a split has those of some hypotheses alone."""
    found: dict[str, dict[str, Brought]] = {}
    for name in hypotheses if task.pairs else ():
        if name not in task.pairs:
            raise DasError(f"no pairs were brought for hypothesis {name!r}: name those to align, {', '.join(task.pairs)}")
        for part, some in split(task.pairs[name], sizes, identity, rng).items():
            found.setdefault(part, {})[name] = accepted(some, accept) if accept else some
    for part, named in found.items():
        if lacking := [name for name in hypotheses if name not in named]:
            raise DasError(f"split {part!r} has no pairs of hypothesis {lacking[0]!r}")
    return found


def _check_drawable(task: Task, missing: Mapping[str, int]) -> None:
    if task.own:
        raise DasError(
            f"the pairs have no split {next(iter(missing))!r}, and prompts of one's own cannot be drawn: name it in the column "
            "`split`, or leave that column out"
        )


def _beside(brought: Mapping[str, Mapping[str, Brought]], identity: Identity, accept: Accept | None) -> Accept | None:
    """Keeps prompts that are in no pair that was brought."""
    if not brought:
        return accept
    seen = np.unique(np.concatenate([identity(some.prompts) for part in brought.values() for some in part.values()]))

    def keep(table: Columns) -> Mask:
        new: Mask = ~np.isin(identity(table), seen)
        return new & accept(table) if accept else new

    return keep
