"""Patch: what is put at one spot of the network while it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.network.site import Spot
from das.task.rendered import Indices


@dataclass(frozen=True)
class Patch:
    """Replacements at a spot, in several copies of some prompts.

    columns: (rows, n) of the prompts; values: (copies, rows, n, size), each copy another replacement. settle: where another
    patch of the same forward may have changed what comes here, what is put in its place, row by row (both like `values`); by
    default the values, whatever comes.
    """

    spot: Spot
    columns: Tensor
    values: Tensor
    settle: Callable[[Tensor], Tensor] | None = None

    def take(self, rows: Indices) -> Patch:
        """Of some of the rows."""
        index = torch.from_numpy(rows)
        on = index.to(self.values.device)

        def settle(come: Tensor) -> Tensor:
            assert self.settle is not None
            return self.settle(torch.zeros_like(self.values).index_copy(1, on, come)).index_select(1, on)

        return Patch(self.spot, self.columns[index], self.values[:, on], settle if self.settle else None)

    def columns_from(self, first: int) -> Tensor:
        """(copies · rows, n), counted from a first column on."""
        return (self.columns - first).to(self.values.device).repeat(len(self.values), 1)

    def new(self, come: Tensor) -> Tensor:
        """What is put in place of what comes, both (copies · rows, n, size)."""
        if self.settle is None:
            return self.values.flatten(0, 1)
        return self.settle(come.to(self.values).unflatten(0, (len(self.values), -1))).flatten(0, 1)


def by_spot(patches: Sequence[Patch]) -> dict[Spot, list[Patch]]:
    """The patches at each spot: what is run step by step is watched by one function for all of them."""
    found: dict[Spot, list[Patch]] = {}
    for patch in patches:
        found.setdefault(patch.spot, []).append(patch)
    return found
