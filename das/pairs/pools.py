"""Pools: distinct prompts, cut into splits before anything is paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from das.causal.columns import Columns, codes, concat, same_length, take
from das.causal.model import CausalModel
from das.errors import DasError
from das.pairs.families import Mask
from das.pairs.pairs import Rows

LEAST = 2
"""Prompts in a split: with one alone there is no pair."""
FEW = 8
"""Prompts of a split that hardly counts, which has them before the others are cut: of a study that looks at one split alone."""


def split_pools(
    model: CausalModel, sizes: Mapping[str, int], rng: np.random.Generator, accept: Callable[[Columns], Mask] | None = None,
    identity: Callable[[Columns], Rows] | None = None,
) -> dict[str, Columns]:  # fmt: skip
    """Distinct prompts, cut into splits before anything is paired, so that no prompt is in two of them.

    sizes: split → how many prompts; where the task has fewer, all are cut in the same proportions, but those that are to have
    no more than `FEW` have them.
    accept: keeps the prompts that it marks, for instance those that the network answers correctly.
    identity: a number for each setting, equal for settings that are one prompt (see `das.task.identity`); by default of its
    values.
    """
    wanted, pool = sum(sizes.values()), _Pool(accept, identity or (lambda table: codes(*table.values())))
    if model.size is not None and model.size <= 2 * wanted:
        table = model.enumerate()
        pool.add(take(table, rng.permutation(same_length(table))))
    else:
        for _ in range(20):
            if not pool.add(model.sample(rng, wanted)) or same_length(pool.accepted) >= wanted:
                break
    n = same_length(pool.accepted)
    cuts = np.cumsum(_shares(n, list(sizes.values())))
    pools = {name: take(pool.accepted, rows) for name, rows in zip(sizes, np.split(np.arange(n), cuts), strict=False)}
    for name, some in pools.items():
        if same_length(some) < LEAST:
            raise DasError(f"split {name!r} has fewer than two prompts: the task has {n} that can be used. {_help(n, sizes)}")
    return pools


def _shares(n: int, sizes: Sequence[int]) -> list[int]:
    """How many of n prompts each split gets."""
    few = [size if size <= FEW else 0 for size in sizes]
    left, wanted = max(0, n - sum(few)), max(1, sum(sizes) - sum(few))
    return [own or size * min(left, wanted) // wanted for own, size in zip(few, sizes, strict=True)]


def _help(n: int, sizes: Mapping[str, int]) -> str:
    """What would give each split its two prompts."""
    least = LEAST * len(sizes)
    if n < least:
        return f"It takes {least} at the least, two in each split: let the prompt say more (another input, other words)"
    shares = {split: 1 if n < 8 or split != "train" else 2 for split in sizes}
    found = ", ".join(f"{split}_pairs {64 * share}" for split, share in shares.items())
    return f"They are cut as the sizes are: give, for instance, {found}"


class _Pool:
    """Prompts, each of them once: all that were seen, and those of them that are accepted."""

    def __init__(self, accept: Callable[[Columns], Mask] | None, identity: Callable[[Columns], Rows]) -> None:
        self.accept, self.identity = accept, identity
        self.seen: Columns = {}
        self.accepted: Columns = {}

    def add(self, drawn: Columns) -> int:
        """Adds those that are new; how many they are."""
        before, table = same_length(self.seen), concat([self.seen, drawn]) if self.seen else drawn
        first = np.unique(self.identity(table), return_index=True)[1]
        self.seen = take(table, np.sort(first))
        new = take(self.seen, np.arange(before, same_length(self.seen)))
        kept = take(new, np.flatnonzero(self.accept(new))) if self.accept and same_length(new) else new
        self.accepted = concat([self.accepted, kept]) if self.accepted else kept
        return same_length(new)
