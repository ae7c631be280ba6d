"""Coordinates: what vectors are made of, in units that a mask takes from a source or leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from das.errors import DasError
from das.interchange.feature import Listed
from das.interchange.subspace import Subspace, left
from das.interchange.units import Units


class Coordinates(ABC):
    """Of vectors of one site. They are shared by all that is made from them, so they never change.

    size: how many units there are: single coordinates, or groups of them (see `spread`).
    """

    @property
    @abstractmethod
    def size(self) -> int: ...

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """The coordinates of vectors, (…, d) → (…, coordinates), in fp32."""

    @abstractmethod
    def decode(self, moved: Tensor) -> Tensor:
        """How a vector changes when its coordinates do, (…, coordinates) → (…, d). Linear: nothing moved is no change."""

    @abstractmethod
    def feature(self, units: Tensor, mask: Tensor) -> Listed:
        """The feature that swaps units, both (variables, k): their numbers, no unit twice, and which of them are swapped."""

    def spread(self, mask: Tensor) -> Tensor:
        """A mask of units, (…, units), as one of coordinates."""
        return mask

    def left(self, mask: Tensor, part: slice, moved: Tensor) -> Tensor:
        """What is left of a place's movement once its coordinates are swapped (see `das.interchange.feature.Feature.keep`).

        mask: (cells, variables, units); moved: (cells, rows, entries of the place). DasError unless a type says it.
        """
        raise DasError(f"{type(self).__name__} are no coordinates of sites whose places act on each other: name one place")

    def __deepcopy__(self, memo: Any) -> Self:
        return self


@dataclass(frozen=True)
class Axes(Coordinates):
    """The entries of vectors of d of them; a unit is `block` neighbours, such as a head."""

    d: int
    block: int = 1

    @property
    def size(self) -> int:
        return self.d // self.block

    def encode(self, rows: Tensor) -> Tensor:
        return rows.float()

    def decode(self, moved: Tensor) -> Tensor:
        return moved

    def feature(self, units: Tensor, mask: Tensor) -> Units:
        return Units(units, mask, self.d, self.block)

    def spread(self, mask: Tensor) -> Tensor:
        return mask if self.block == 1 else mask.repeat_interleave(self.block, -1)

    def left(self, mask: Tensor, part: slice, moved: Tensor) -> Tensor:
        return moved * (1 - self.spread(mask).sum(1)[:, None, part])


@dataclass(frozen=True)
class Directions(Coordinates):
    """Along orthonormal columns, (d, units)."""

    columns: Tensor

    @property
    def size(self) -> int:
        return self.columns.shape[1]

    def encode(self, rows: Tensor) -> Tensor:
        return rows.float() @ self.columns

    def decode(self, moved: Tensor) -> Tensor:
        return moved @ self.columns.T

    def feature(self, units: Tensor, mask: Tensor) -> Subspace:
        return Subspace(self.columns[:, units].cpu(), mask)

    def left(self, mask: Tensor, part: slice, moved: Tensor) -> Tensor:
        shared = self.columns[None, part, None].expand(len(mask), -1, 1, -1)
        return left(shared, mask.sum(1)[:, None, None], moved)


def swapped(coordinates: Coordinates, mask: Tensor, base: Tensor, sources: Tensor) -> Tensor:
    """The changes of vectors when units are swapped as far as a mask says, (cells, rows, d). mask: (cells, variables, units)"""
    moved, weight = coordinates.encode(sources) - coordinates.encode(base), coordinates.spread(mask)
    change = weight[:, 0, None] * moved[0] if len(moved) == 1 else torch.einsum("cvu,vru->cru", weight, moved)
    return coordinates.decode(change)
