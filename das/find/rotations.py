"""Rotations: subspaces of one kind and size, one per cell, that train side by side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.find.kinds import Boundless, Fixed, Full, Kind, Nested, check_width
from das.find.stack import Ground, Moment, Stack
from das.interchange.feature import Listed
from das.interchange.subspace import Subspace, left, orthonormal, project, random_basis

SWAPPED = 0.1
"""A column of which Boundless' last mask swaps so much belongs to what it found: training has learned to use it."""


@dataclass(frozen=True)
class Rotated:
    """Columns of cells, (cells, d, variables, k), and how much of each is swapped, (cells, rows or 1, variables, k)."""

    basis: Tensor
    mask: Tensor

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return project(self.basis, self.mask, base, sources)

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return left(self.basis[:, part], self.mask, moved)


class SubspaceStack(Stack):
    """Subspaces of one kind and size, one per cell, trained side by side.

    sizes: of the vectors at each place of the site, or of them all; d is their sum. seeds: one per cell; a cell's start and
    draws depend on its own seed alone.
    Parameters: weight (cells, d, variables · k), whose QR gives the bases (of a kind that goes by place: a QR of each place's
    rows); boundary (cells, variables) for Boundless, in units of k. focus: (cells,), the width around which a Nested cell draws
    its own; 0: none yet.
    """

    focus: Tensor

    def __init__(self, kind: Kind, sizes: int | Sequence[int], variables: int, seeds: Sequence[int]) -> None:
        super().__init__(kind, seeds)
        if isinstance(kind, Full):
            raise TypeError("Full has nothing to train")
        self.variables, self.focuses = variables, isinstance(kind, Nested)
        self.blocks = [sizes] if isinstance(sizes, int) else list(sizes) if kind.by_place else [sum(sizes)]
        check_width(kind, variables, min(self.blocks))
        self.weight = nn.Parameter(torch.stack([self._start(torch.Generator().manual_seed(seed)) for seed in seeds]))
        self.boundary = nn.Parameter(torch.full((len(seeds), variables), 0.5)) if isinstance(kind, Boundless) else None
        self.register_buffer("focus", torch.zeros(len(seeds), dtype=torch.long))

    @classmethod
    def of(cls, kind: Kind, ground: Ground, seeds: Sequence[int]) -> SubspaceStack:
        return cls(kind, ground.sizes, ground.variables, seeds)

    @classmethod
    def shared(cls, kind: Kind, ground: Ground) -> Hashable:
        """The vectors' sizes: of each place where the kind goes by place, else of all together."""
        return ground.variables, ground.sizes if kind.by_place else sum(ground.sizes)

    def state(self, cells: Tensor) -> Tensor:
        return self.basis(cells)

    def soft(self, state: Tensor, cells: Tensor, rows: int, now: Moment) -> Rotated:
        return Rotated(state, self.training_mask(cells, rows, now.progress, now.step))

    def hard(self, state: Tensor, cells: Tensor) -> list[Listed]:
        return [Subspace(basis, mask) for basis, mask in zip(state, self.hard_mask()[cells], strict=True)]

    def last(self, state: Tensor, cells: Tensor) -> list[Listed | None]:
        """The training mask at the end of the annealing; None where nothing is annealed."""
        if self.boundary is None:
            return super().last(state, cells)
        return [Subspace(basis, mask) for basis, mask in zip(state, self.soft_mask(1.0)[cells], strict=True)]

    def _start(self, generator: torch.Generator) -> Tensor:
        """(d, variables · k)"""
        return torch.cat([random_basis(d, self.variables * self.kind.width, generator) for d in self.blocks])

    @property
    def k(self) -> int:
        """The most columns per variable, or per variable and place."""
        return self.weight.shape[2] // self.variables

    @property
    def parts(self) -> int:
        """How many columns of a basis a width counts: one, or one of each place."""
        return len(self.blocks)

    def basis(self, cells: Tensor | None = None) -> Tensor:
        """(cells, d, variables, k), orthonormal over the last two axes together; one QR for all cells, or for those given.
        Where each place has columns of its own, the first of every place come first, then the second, and so on: k is as many
        times as large.
        """
        weight = self.weight if cells is None else self.weight[cells]
        parts: list[Tensor] = [
            orthonormal(block).unflatten(2, (self.variables, self.k)) for block in weight.split(self.blocks, 1)
        ]
        if len(parts) == 1:
            return parts[0]
        empty = [nn.functional.pad(part[..., None], (i, len(parts) - 1 - i)) for i, part in enumerate(parts)]
        basis: Tensor = torch.cat(empty, 1).flatten(3)
        return basis

    def temperature(self, progress: float) -> float:
        """Of a Boundless mask, in columns, when `progress` (0 to 1) of the training is done."""
        assert isinstance(self.kind, Boundless)
        start = self.k * self.kind.start
        return float(start * (self.kind.end / start) ** progress)

    def training_mask(self, cells: Tensor, rows: int, progress: float, step: int) -> Tensor:
        """(cells, rows or 1, variables, k): the mask in use at a training step, for the given cell indices."""
        index = torch.arange(self.k, device=self.weight.device)
        if isinstance(self.kind, Nested):
            widths = torch.stack([self._widths(cell, rows, step) for cell in cells.tolist()]).to(index.device)
            return self._wide((index < widths[..., None, None]).float().expand(-1, -1, self.variables, -1))
        if self.boundary is not None:
            return self.soft_mask(progress)[cells][:, None]
        return self._wide(torch.ones(len(cells), 1, self.variables, self.k, device=self.weight.device))

    def _wide(self, mask: Tensor) -> Tensor:
        """A mask of widths as one of the basis' columns."""
        return mask if self.parts == 1 else mask.repeat_interleave(self.parts, -1)

    def _widths(self, cell: int, rows: int, step: int) -> Tensor:
        """(rows,): how many columns each row swaps: log-uniform from 1…k. Once there is a focus, all rows but every fourth draw
        evenly from the widths between a quarter below and one above it."""
        generator = torch.Generator().manual_seed(self.seeds[cell] * 1_000_003 + step)
        draws, focus = torch.rand(rows, generator=generator), int(self.focus[cell])
        everywhere = torch.exp(draws * torch.tensor(self.k + 1.0).log()).long().clamp(1, self.k)
        if not focus:
            return everywhere
        low, high = focus - max(1, focus // 4), focus + 1
        near = (low + draws * (high + 1 - low)).long().clamp(1, self.k)
        return torch.where(torch.arange(rows) % 4 == 0, everywhere, near)

    def soft_mask(self, progress: float) -> Tensor:
        """(cells, variables, k): Boundless' mask at a point of its annealing."""
        assert self.boundary is not None
        offset = self.boundary[..., None] * self.k - torch.arange(self.k, device=self.weight.device) - 0.5
        return self._wide(torch.sigmoid(offset / self.temperature(progress)))

    def hard_mask(self) -> Tensor:
        """(cells, variables, k) of 0 and 1: what is swapped at evaluation: what the last mask swaps in part (see `SWAPPED`), or
        what lies in the focus; all columns where there is neither."""
        if self.boundary is not None:
            return (self.soft_mask(1.0) > SWAPPED).float()
        width = torch.where(self.focus > 0, self.focus, self.k)[:, None, None]
        return self._wide((torch.arange(self.k, device=self.weight.device) < width).float().expand(-1, self.variables, -1))

    def penalty(self, cells: Tensor, now: Moment) -> Tensor:
        """(cells,): what the width costs in the loss, from the width that is used."""
        if not isinstance(self.kind, Boundless) or self.boundary is None:
            return torch.zeros(len(cells), device=self.weight.device)
        return self.kind.penalty * self.boundary.sum(1)[cells]

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Puts boundaries that a step took past 0 or k back to the edge."""
        if self.boundary is not None:
            self.boundary.clamp_(0, 1)

    def focus_on(self, cell: int, width: int) -> None:
        self.focus[cell] = -(-width // self.parts)

    def parameter_groups(self) -> list[dict[str, object]]:
        assert isinstance(self.kind, Boundless | Nested | Fixed)
        groups: list[dict[str, object]] = [{"params": [self.weight], "lr": self.kind.lr}]
        if isinstance(self.kind, Boundless):
            groups.append({"params": [self.boundary], "lr": self.kind.boundary_lr})
        return groups
