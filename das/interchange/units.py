"""Units: named entries of the vector that a swap takes from the source: neurons, or whole heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from das.interchange.feature import Feature, Listed, Parts
from das.interchange.subspace import Subspace


@dataclass(frozen=True)
class Units(Listed):
    """Units of vectors of d entries, of one or several variables.

    units: (variables, k), the number of each, none twice: unit i is the `block` entries from i·block on. mask: (variables, k),
    how much of each is swapped: 0 or 1 when hard.
    """

    counted = "entries"

    units: Tensor
    mask: Tensor
    d: int
    block: int = 1

    @property
    def unit(self) -> int:
        return self.block

    @property
    def size(self) -> int:
        """Entries that are swapped, over all variables."""
        return int((self.mask > 0.5).sum()) * self.block

    def chosen(self, variable: int = 0) -> Tensor:
        """The numbers of the units that are swapped of a variable."""
        return self.units[variable, self.mask[variable] > 0.5]

    def entries(self, variable: int = 0) -> Tensor:
        """The numbers of the entries that are swapped of a variable."""
        return _entries(self.chosen(variable), self.block)

    def weight(self) -> Tensor:
        """(variables, d): how much of each entry is swapped."""
        each = torch.zeros(len(self.mask), self.d // self.block).scatter(1, self.units.cpu(), self.mask.float().cpu())
        return each.repeat_interleave(self.block, -1)

    def masked(self, mask: Tensor) -> Units:
        return replace(self, mask=mask)

    def sorted(self, order: Tensor) -> Units:
        return replace(self, units=self.units.take_along_dim(order, 1), mask=self.mask.take_along_dim(order, 1))

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        change: Tensor = torch.einsum("vd,vrd->rd", self.weight().to(base.device), (sources - base).float())
        return change

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return moved * (1 - self.weight().sum(0)[part]).to(moved)

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        return rows[:, self.entries(variable).to(rows.device)]

    def directions(self, variable: int = 0) -> Tensor | None:
        return self.subspace().directions(variable)

    def twin(self, generator: torch.Generator) -> Units:
        """As many random units."""
        drawn = torch.randperm(self.d // self.block, generator=generator)[: self.units.numel()]
        return replace(self, units=drawn.view(self.units.shape))

    def subspace(self) -> Subspace:
        """The same as columns, one for each entry that is swapped."""
        entries = [self.entries(i) for i in range(self.variables)]
        k = max(1, *(len(own) for own in entries))
        free = torch.ones(self.d, dtype=torch.bool).index_fill_(0, torch.cat(entries), False).nonzero()[:, 0]
        basis, mask = torch.zeros(self.d, self.variables, k), torch.zeros(self.variables, k)
        for i, own in enumerate(entries):
            spare, free = free[: k - len(own)], free[k - len(own) :]
            basis[torch.cat([own, spare]), i, torch.arange(len(own) + len(spare))] = 1
            mask[i, : len(own)] = 1
        return Subspace(basis, mask)

    def parts(self, directions: Tensor, base: Tensor, sources: Tensor) -> Parts:
        return self.subspace().parts(directions, base, sources)

    def tensors(self) -> dict[str, Tensor]:
        return {"units": self.units.clone(), "hard": self.mask.clone(), "sizes": torch.tensor([self.d, self.block])}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Units:
        """ValueError where they are no units of such vectors."""
        (d, block), units, mask = tensors["sizes"].tolist(), tensors["units"], tensors["hard"]
        if units.shape != mask.shape or units.dim() != 2 or len(units.unique()) < units.numel():
            raise ValueError(f"units {tuple(units.shape)}, some twice, and a mask {tuple(mask.shape)}")
        if block < 1 or d % block or units.min() < 0 or units.max() >= d // block:
            raise ValueError(f"units {int(units.min())} to {int(units.max())} of {block} entries in vectors of {d}")
        return cls(units, mask, d, block)

    @classmethod
    def swap_all(cls, features: Sequence[Units], base: Tensor, sources: Tensor) -> Tensor:
        weight = torch.stack([feature.weight() for feature in features]).to(base.device)
        return torch.einsum("fvd,vrd->frd", weight, (sources - base).float())


def _entries(units: Tensor, block: int) -> Tensor:
    return (units[:, None] * block + torch.arange(block)).flatten()


def subspace_of(feature: Feature) -> Subspace | None:
    """A feature as orthonormal columns, if it is that; None for one that has no directions of its own."""
    if isinstance(feature, Subspace):
        return feature
    return feature.subspace() if isinstance(feature, Units) else None
