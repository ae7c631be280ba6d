"""Feature: the part of an activation that a swap replaces, whatever it is made of.

Finders propose features, the judge tries them, and neither knows how the other works: all that the judge asks is here.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from das.errors import DasError

ROUNDING = 1e-5
"""Vectors that differ by less, relative to the largest value, are the same."""


class Feature(ABC):
    """For one or several variables, each of which is swapped by its own source.

    variables: how many. size: how many coordinates are swapped, over all variables; 0 for the whole vector. counted: what these
    coordinates are called.
    """

    counted: ClassVar[str] = "coordinates"

    variables: int

    @property
    @abstractmethod
    def size(self) -> int: ...

    @abstractmethod
    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        """The change that the swap makes, in fp32. base: (rows, d); sources: (variables, rows, d). Returns (rows, d)."""

    def delta(self, base: Tensor, sources: Tensor) -> Tensor:
        """`swap`, as 0.1 called it; until 0.2."""
        warnings.warn("delta of a feature is now swap", DeprecationWarning, stacklevel=2)
        return self.swap(base, sources)

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        """At a site of several places: what is left of a movement of one place that an earlier place's swap has caused, once
        this place is swapped too (see `das.interchange.subspace.left`). part: the place's entries of the vector; moved: (rows,
        those entries). DasError unless a type of feature says it.
        """
        raise DasError(
            f"a {type(self).__name__} does not say what it leaves of an earlier place's swap: give it a method `keep`, or "
            "sites whose places all lie at one component of one layer"
        )

    @abstractmethod
    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        """A variable's coordinates of activations (rows, d). (rows, coordinates)"""

    def directions(self, variable: int = 0) -> Tensor | None:
        """The directions in which a variable's swap moves vectors, (d, its rank), the most important first; None where it has
        none of its own."""
        return None

    @abstractmethod
    def fits(self, width: int) -> bool:
        """Whether it is of vectors of so many entries."""

    @property
    def complement(self) -> Feature:
        """Everything but this."""
        return Rest(self)

    def twin(self, generator: torch.Generator) -> Feature | None:
        """A random feature of the same size; None where there is nothing to draw."""
        return None

    def parts(self, directions: Tensor, base: Tensor, sources: Tensor) -> Parts | None:
        """The feature's part in a space, and the rest of it; None where it has no directions of its own. directions: (d, r),
        orthonormal, that span the space; base, sources: natural pairs."""
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What is kept of it in a file."""

    @classmethod
    @abstractmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """From what was kept."""

    @classmethod
    def swap_all(cls, features: Sequence[Self], base: Tensor, sources: Tensor) -> Tensor:
        """The changes of several features of this type to the same rows, (features, rows, d)."""
        return torch.stack([feature.swap(base, sources) for feature in features])


class Listed(Feature):
    """A feature of coordinates that stand in a list for each variable, such as columns or units, some of which are swapped.

    mask: (variables, k), how much of each is swapped: 0 or 1 when hard. d: entries of the vectors.
    """

    mask: Tensor
    d: int

    @property
    def variables(self) -> int:  # type: ignore[override]
        return len(self.mask)

    @property
    def unit(self) -> int:
        """How many coordinates one of the list is."""
        return 1

    def fits(self, width: int) -> bool:
        return self.d == width

    @abstractmethod
    def masked(self, mask: Tensor) -> Self:
        """The same list with another mask."""

    @abstractmethod
    def sorted(self, order: Tensor) -> Self:
        """The same coordinates in another order. order: (variables, k)"""


@dataclass(frozen=True)
class Parts:
    """A feature's two parts with respect to a space of directions.

    inside, outside: the directions that the feature moves in the space and beside it, each swapped as far as the whole feature
        moves it, and no further than base and source differ there.
    share: how much of the feature lies in the space, from 0 to 1.
    """

    inside: Feature
    outside: Feature
    share: float


@dataclass(frozen=True)
class Whole(Feature):
    """Everything. With several variables, a row takes the vector of its first source that differs from the base."""

    variables: int = 1
    size = 0

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        difference = (sources - base).float()
        first = (difference.abs() > ROUNDING * base.float().abs().amax()).any(-1).int().argmax(0)
        taken: Tensor = difference[first, torch.arange(len(base), device=base.device)]
        return taken

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return torch.zeros_like(moved)  # every entry is the source's

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        return rows

    def fits(self, width: int) -> bool:
        return True

    def tensors(self) -> dict[str, Tensor]:
        return {"hard": torch.ones(self.variables, 1)}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Whole:
        return cls(len(tensors["hard"]))

    @classmethod
    def swap_all(cls, features: Sequence[Whole], base: Tensor, sources: Tensor) -> Tensor:
        return features[0].swap(base, sources).expand(len(features), *base.shape)


@dataclass(frozen=True)
class Rest(Feature):
    """Everything but a feature: the whole vector's swap less that of the feature."""

    of: Feature

    @property
    def variables(self) -> int:  # type: ignore[override]
        return self.of.variables

    @property
    def size(self) -> int:
        return self.of.size

    @property
    def complement(self) -> Feature:
        return self.of

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return Whole().swap(base, sources) - self.of.swap(base, sources)

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return torch.zeros_like(moved)  # the rest is the source's, the feature the clean base's

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        raise NotImplementedError("what is left of a vector has no coordinates of its own")

    def fits(self, width: int) -> bool:
        return self.of.fits(width)

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError("the complement of a feature is kept as the feature")

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Rest:
        raise NotImplementedError("the complement of a feature is kept as the feature")

    @classmethod
    def swap_all(cls, features: Sequence[Rest], base: Tensor, sources: Tensor) -> Tensor:
        return Whole().swap(base, sources) - changes([feature.of for feature in features], base, sources)


def kept(features: Sequence[Feature], part: slice, moved: Tensor) -> Tensor:
    """What several features leave of a movement of one place (see `Feature.keep`). moved: (features, rows, entries of the
    place)."""
    return torch.stack([feature.keep(part, each) for feature, each in zip(features, moved, strict=True)])


def changes(features: Sequence[Feature], base: Tensor, sources: Tensor) -> Tensor:
    """The changes that several features make to the same rows, (features, rows, d), in fp32; those of one type at once."""
    out = torch.empty(len(features), *base.shape, device=base.device)
    kinds: dict[type[Feature], None] = dict.fromkeys(type(feature) for feature in features)
    for kind in kinds:
        at = [i for i, feature in enumerate(features) if type(feature) is kind]
        out[at] = kind.swap_all([features[i] for i in at], base, sources)
    return out
