"""Stack: subspaces of one kind and size, one per cell, that train side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from das.find.kinds import Boundless, Fixed, Full, Kind, Nested, check_width
from das.interchange.subspace import random_basis

SWAPPED = 0.1
"""A column of which Boundless' last mask swaps so much belongs to what it found: training has learned to use it."""


class SubspaceStack(nn.Module):
    """Subspaces of one kind and size, one per cell, trained side by side.

    seeds: one per cell; a cell's start and draws depend on its own seed alone.
    Parameters: weight (cells, d, variables · k), whose QR gives the bases; boundary (cells, variables) for Boundless,
    in units of k. focus: (cells,), the width around which a Nested cell draws its own; 0: none yet.
    """

    focus: Tensor

    def __init__(self, kind: Kind, d: int, variables: int, seeds: Sequence[int]) -> None:
        super().__init__()
        if isinstance(kind, Full):
            raise TypeError("Full has nothing to train")
        check_width(kind, variables, d)
        self.kind, self.variables = kind, variables
        starts = [random_basis(d, variables * kind.width, torch.Generator().manual_seed(seed)) for seed in seeds]
        self.weight = nn.Parameter(torch.stack(starts))
        self.boundary = nn.Parameter(torch.full((len(seeds), variables), 0.5)) if isinstance(kind, Boundless) else None
        self.register_buffer("focus", torch.zeros(len(seeds), dtype=torch.long))
        self.seeds = list(seeds)

    @property
    def k(self) -> int:
        return self.weight.shape[2] // self.variables

    def basis(self, cells: Tensor | None = None) -> Tensor:
        """(cells, d, variables, k), orthonormal over the last two axes together; one QR for all cells, or for those given.

        The diagonal of R is made positive, so that the basis moves continuously with the weight.
        """
        q, r = torch.linalg.qr(self.weight if cells is None else self.weight[cells])
        q = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[:, None]
        basis: Tensor = q.unflatten(2, (self.variables, self.k))
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
            return (index < widths[..., None, None]).float().expand(-1, -1, self.variables, -1)
        if self.boundary is not None:
            return self.soft_mask(progress)[cells][:, None]
        return torch.ones(len(cells), 1, self.variables, self.k, device=self.weight.device)

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
        return torch.sigmoid(offset / self.temperature(progress))

    def hard_mask(self) -> Tensor:
        """(cells, variables, k) of 0 and 1: what is swapped at evaluation: what the last mask swaps in part (see `SWAPPED`), or
        what lies in the focus; all columns where there is neither."""
        if self.boundary is not None:
            return (self.soft_mask(1.0) > SWAPPED).float()
        width = torch.where(self.focus > 0, self.focus, self.k)[:, None, None]
        return (torch.arange(self.k, device=self.weight.device) < width).float().expand(-1, self.variables, -1)

    def last_mask(self) -> Tensor | None:
        """(cells, variables, k): the training mask at the end of the annealing; None where nothing is annealed."""
        return None if self.boundary is None else self.soft_mask(1.0)

    def penalty(self) -> Tensor:
        """(cells,): what the width costs in the loss, from the width that is used."""
        if not isinstance(self.kind, Boundless) or self.boundary is None:
            return torch.zeros(len(self.weight), device=self.weight.device)
        return self.kind.penalty * self.boundary.sum(1)

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Puts boundaries that a step took past 0 or k back to the edge, where their gradient is alive."""
        if self.boundary is not None:
            self.boundary.clamp_(0, 1)

    def parameter_groups(self) -> list[dict[str, object]]:
        """For the optimiser: each parameter with its own rate."""
        assert isinstance(self.kind, Boundless | Nested | Fixed)
        groups: list[dict[str, object]] = [{"params": [self.weight], "lr": self.kind.lr}]
        if isinstance(self.kind, Boundless):
            groups.append({"params": [self.boundary], "lr": self.kind.boundary_lr})
        return groups
