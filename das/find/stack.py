"""Stack: cells of one kind that train side by side, whatever it is that they swap."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from das.find.kinds import Kind
from das.interchange.engine import Engine
from das.interchange.feature import Listed
from das.interchange.vectors import vectors
from das.network.site import Site
from das.pairs.dataset import Dataset

ROWS = 2048
"""Pairs whose vectors a stack may look at."""


@dataclass(frozen=True)
class Ground:
    """Where a cell is to be trained: a site, and the training pairs of a hypothesis of so many variables."""

    engine: Engine
    data: Dataset
    hypothesis: str
    variables: int
    site: Site

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths of the vectors at each place of the site."""
        return self.data.sizes(self.engine.lm, self.site)

    def vectors(self) -> Tensor:
        """What the base prompts of at most `ROWS` pairs have at the site, (rows, d), on the network's device."""
        rows = self.data.pairs[self.hypothesis].base[:ROWS]
        ((_, found),) = vectors(self.engine, self.data, rows, [self.site])
        return found.to(self.engine.lm.device)


@dataclass(frozen=True)
class Moment:
    """A step of a training, of so many."""

    step: int
    steps: int

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return self.step / self.steps


class SoftSwap(Protocol):
    """What some cells of a stack swap at a step of their training, differentiably."""

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        """The changes that the cells make. base: (rows, d); sources: (variables, rows, d). (cells, rows, d), in fp32"""

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        """What each leaves of a movement of one place (see `das.interchange.feature.Feature.keep`), (cells, rows, entries)"""


class Stack(nn.Module, ABC):
    """Cells of one kind that train side by side, each from its own seed alone.

    seeds: one per cell. Every parameter has a row per cell: what is kept of a cell are its rows. `kind.stack` names the type.
    focuses: whether a cell looks for its width on the way (see `focus_on`).
    """

    focuses = False

    def __init__(self, kind: Kind, seeds: Sequence[int]) -> None:
        super().__init__()
        self.kind, self.seeds = kind, list(seeds)

    @classmethod
    @abstractmethod
    def of(cls, kind: Kind, ground: Ground, seeds: Sequence[int]) -> Self:
        """A stack for cells of a kind. ground: of any of them."""

    @classmethod
    @abstractmethod
    def shared(cls, kind: Kind, ground: Ground) -> Hashable:
        """What cells of a kind must have in common to be in one stack."""

    @abstractmethod
    def state(self, cells: Tensor) -> Tensor:
        """What the swaps of some cells are made from, (cells, …): computed once a step, by the parameters' gradients."""

    @abstractmethod
    def soft(self, state: Tensor, cells: Tensor, rows: int, now: Moment) -> SoftSwap:
        """What some cells swap at a step of the training, of so many rows. state: of these cells."""

    @abstractmethod
    def hard(self, state: Tensor, cells: Tensor) -> list[Listed]:
        """What some cells swap at evaluation. state: of these cells."""

    def last(self, state: Tensor, cells: Tensor) -> list[Listed | None]:
        """What some cells swap at the end of the training, where that is something else than at evaluation."""
        return list[Listed | None]([None]) * len(cells)

    def penalty(self, cells: Tensor, now: Moment) -> Tensor:
        """(cells,): what the width of some cells costs in the loss."""
        return torch.zeros(len(cells), device=next(self.parameters()).device)

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Puts parameters that a step took too far back to where their gradient is alive."""

    def focus_on(self, cell: int, width: int) -> None:
        """Has a cell train on widths around one from now on, in columns of its basis."""
        raise NotImplementedError

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, object]]:
        """For the optimiser: each parameter with its own rate."""


def stack_type(kind: Kind) -> type[Stack]:
    """By which cells of a kind are trained."""
    module, _, name = kind.stack.partition(".")
    found: type[Stack] = getattr(importlib.import_module(f"das.find.{module}"), name)
    return found
