"""Operators: what is done to activations without a second prompt: a vector added, taken out or turned up, a feature set to what
it has elsewhere. To the engine each is a feature, whose swap goes by the base alone.

Add, piecewise and project-out are those of representation engineering (Zou et al. 2023, arXiv 2310.01405, section 3.2).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from das.interchange.feature import Feature
from das.interchange.subspace import Subspace


class Operator(Feature):
    """A change of vectors, in fp32 whatever they are."""

    variables = 1
    size = 0

    @abstractmethod
    def change(self, rows: Tensor) -> Tensor:
        """What is added to vectors (rows, d)."""

    def take(self, rows: Tensor) -> Self:
        """The operator for some of the rows, where each has its own."""
        return self

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return self.change(base.float())

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return moved  # what an earlier place's change has done stays beside this one

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        raise NotImplementedError("an operator changes vectors and reads nothing")

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError("of an operator its vector, or its feature, is kept")

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        raise NotImplementedError("of an operator its vector, or its feature, is kept")


@dataclass(frozen=True)
class _Along(Operator):
    """vector: (d,), or (rows, d), one for each row."""

    vector: Tensor

    def take(self, rows: Tensor) -> Self:
        return self if self.vector.dim() == 1 else replace(self, vector=self.vector[rows])

    def fits(self, width: int) -> bool:
        return self.vector.shape[-1] == width

    def _on(self, rows: Tensor) -> Tensor:
        return self.vector.to(rows)


@dataclass(frozen=True)
class Add(_Along):
    """h + α·v."""

    alpha: float = 1.0

    def change(self, rows: Tensor) -> Tensor:
        return (self.alpha * self._on(rows)).expand_as(rows)


@dataclass(frozen=True)
class Piecewise(_Along):
    """h + α·sign(h·v)·v: farther along v on the side where it is, or with a negative α towards the other and across."""

    alpha: float = 1.0

    def change(self, rows: Tensor) -> Tensor:
        vector = self._on(rows)
        return self.alpha * (rows * vector).sum(-1, keepdim=True).sign() * vector


@dataclass(frozen=True)
class ProjectOut(_Along):
    """h − (h·v) v/‖v‖²: nothing along v is left. A vector of zeros takes nothing out."""

    def change(self, rows: Tensor) -> Tensor:
        vector = self._on(rows)
        along = (rows * vector).sum(-1, keepdim=True) / vector.square().sum(-1, keepdim=True).clamp(min=1e-30)
        return -along * vector

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(self.vector, dim=-1)
        return Subspace(unit[:, None, None], torch.ones(1, 1)).keep(part, moved)


@dataclass(frozen=True)
class Replace(Operator):
    """A feature's coordinates as they are in given vectors, whatever prompt they come to.

    sources: (variables, rows, d), with one row for all, or one for each.
    """

    feature: Feature
    sources: Tensor

    def take(self, rows: Tensor) -> Self:
        return self if self.sources.shape[1] == 1 else replace(self, sources=self.sources[:, rows])

    def change(self, rows: Tensor) -> Tensor:
        return self.feature.swap(rows, self.sources.to(rows).expand(-1, len(rows), -1))

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return self.feature.keep(part, moved)

    def fits(self, width: int) -> bool:
        return self.feature.fits(width)


def mean_ablation(feature: Feature, rows: Tensor) -> Replace:
    """The feature as it is in the mean of natural vectors (rows, d)."""
    return Replace(feature, rows.float().mean(0).expand(feature.variables, 1, -1))


def zero_ablation(feature: Feature, width: int) -> Replace:
    """The feature as it is in a vector of zeros; of a subspace that is to project its columns out."""
    return Replace(feature, torch.zeros(feature.variables, 1, width))


def resample_ablation(feature: Feature, rows: Tensor) -> Replace:
    """The feature as it is in other prompts' vectors (rows, d), one for each."""
    return Replace(feature, rows.float().expand(feature.variables, -1, -1))
