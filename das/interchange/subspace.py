"""Subspace: directions that a swap replaces, h' = h_b + Q diag(m) Qᵀ (h_s − h_b)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from das.interchange.feature import Listed, Parts


@dataclass(frozen=True)
class Subspace(Listed):
    """Orthonormal columns, of one or several variables.

    basis: (d, variables, k) fp32, all its columns orthonormal.
    mask: (variables, k), how much of each column is swapped: 0 or 1 when hard.
    """

    counted = "columns"

    basis: Tensor
    mask: Tensor

    @property
    def d(self) -> int:  # type: ignore[override]
        return len(self.basis)

    @property
    def size(self) -> int:
        """Columns that are swapped, over all variables."""
        return int((self.mask > 0.5).sum())

    def columns(self, variable: int) -> Tensor:
        """Those of a variable that are swapped, (d, its rank)."""
        return self.basis[:, variable, self.mask[variable] > 0.5]

    def masked(self, mask: Tensor) -> Subspace:
        return replace(self, mask=mask)

    def directions(self, variable: int = 0) -> Tensor | None:
        columns = self.columns(variable)
        return columns if columns.shape[1] else None

    def sorted(self, order: Tensor) -> Subspace:
        return Subspace(self.basis.take_along_dim(order[None], 2), self.mask.take_along_dim(order, 1))

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return self.swap_all([self], base, sources)[0]

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return left(self.basis[None, part], self.mask[None, None], moved[None])[0]

    def read(self, rows: Tensor, variable: int = 0) -> Tensor:
        return rows @ self.columns(variable)

    def twin(self, generator: torch.Generator) -> Subspace:
        d, variables, k = self.basis.shape
        return Subspace(random_basis(d, variables * k, generator).unflatten(1, (variables, k)), self.mask)

    def parts(self, directions: Tensor, base: Tensor, sources: Tensor) -> Parts:
        """Along the principal vectors between the columns and the space."""
        directions = directions.cpu()
        columns = torch.cat([self.columns(i) for i in range(self.variables)], 1)
        share = float((directions.T @ columns).square().sum() / max(1, columns.shape[1]))
        inside = self._part(base, sources, lambda columns: directions @ (directions.T @ columns))
        outside = self._part(base, sources, lambda columns: columns - directions @ (directions.T @ columns))
        return Parts(inside, outside, share)

    def _part(self, base: Tensor, sources: Tensor, projected: Callable[[Tensor], Tensor]) -> Subspace:
        """What of each variable's columns lies in a space: as many directions, and how far each is swapped."""
        parts = []
        for i, source in enumerate(sources):
            columns = self.columns(i)
            directions, leaning, own = torch.linalg.svd(projected(columns), full_matrices=False)
            difference = (source - base).float().cpu()
            parts.append((directions, _multiple(difference @ columns @ own.T * leaning, difference @ directions)))
        k = max(1, *(len(far) for _, far in parts))
        basis, mask = zip(*((_pad(directions, k), _pad(far, k)) for directions, far in parts), strict=True)
        return Subspace(torch.stack(basis, 1), torch.stack(mask))

    def tensors(self) -> dict[str, Tensor]:
        return {"basis": self.basis.contiguous().clone(), "hard": self.mask.clone()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Subspace:
        return cls(tensors["basis"], tensors["hard"])

    @classmethod
    def swap_all(cls, features: Sequence[Subspace], base: Tensor, sources: Tensor) -> Tensor:
        k = max(f.mask.shape[1] for f in features)
        basis = torch.stack([_pad(f.basis.to(base.device), k) for f in features])
        mask = torch.stack([_pad(f.mask.to(base.device), k) for f in features])[:, None]
        return project(basis, mask, base, sources)


def project(basis: Tensor, mask: Tensor, base: Tensor, sources: Tensor) -> Tensor:
    """Q diag(m) Qᵀ (h_s − h_b), summed over variables.

    basis: (cells, d, variables, k); mask: (cells, rows or 1, variables, k); base: (rows, d); sources: (variables, rows, d).
    Returns (cells, rows, d).
    """
    difference = (sources - base).float()
    if difference.shape[0] == 1:
        flat = basis[:, :, 0]
        change: Tensor = ((difference @ flat) * mask[:, :, 0]) @ flat.mT
        return change
    coordinates = torch.einsum("vbd,cdvk->cbvk", difference, basis)
    return torch.einsum("cbvk,cdvk->cbd", coordinates * mask, basis)


RIDGE = 1e-6
"""Added to a Gram matrix, whose columns may all lie at another place."""


def left(basis: Tensor, mask: Tensor, moved: Tensor) -> Tensor:
    """What swaps leave of a movement of one place, by an earlier place's swap: all but what their columns have at this place.

    With B the swapped columns' rows at the place, the movement e becomes e − B (BᵀB)⁻¹ Bᵀ e. Of that Bᵀ sees nothing: the
    coordinates, which add up over places, come out as the source's, and whatever the columns do not see goes through. A mask M
    between 0 and 1 makes it e − B M (Bᵀ B M + 1 − M)⁻¹ Bᵀ e; for columns that lie at this place alone that is e − B M Bᵀ e.

    basis: (cells, entries of the place, variables, k); mask: (cells, rows or 1, variables, k); moved: (cells, rows, entries).
    """
    columns, m = basis.flatten(2).to(moved), mask.flatten(2).to(moved)
    system = (columns.mT @ columns)[:, None] * m[..., None, :] + torch.diag_embed(1 - m + RIDGE)
    seen = moved @ columns
    if m.shape[1] == 1:
        solved = torch.linalg.solve(system[:, 0], seen.mT).mT
    else:
        solved = torch.linalg.solve(system, seen[..., None])[..., 0]
    rest: Tensor = moved - (solved * m) @ columns.mT
    return rest


def _pad(tensor: Tensor, k: int) -> Tensor:
    return nn.functional.pad(tensor, (0, k - tensor.shape[-1]))


def _multiple(moved: Tensor, natural: Tensor) -> Tensor:
    """(directions,), from 0 to 1: the movement as a multiple of the natural difference; both (rows, directions)."""
    size = natural.square().sum(0).clamp(min=torch.finfo(natural.dtype).tiny)
    return ((moved * natural).sum(0) / size).clamp(0, 1)


def orthonormal(weight: Tensor) -> Tensor:
    """Q of a QR whose R has a positive diagonal, (…, d, columns): it moves continuously with the weight."""
    q, r = torch.linalg.qr(weight)
    turned: Tensor = q * torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[..., None, :]
    return turned


def random_basis(d: int, columns: int, generator: torch.Generator) -> Tensor:
    """(d, columns) orthonormal columns in a uniformly random direction."""
    basis: Tensor = torch.linalg.qr(torch.randn(d, columns, generator=generator))[0]
    return basis


def largest_angle(a: Tensor, b: Tensor) -> float:
    """Largest principal angle, in degrees, between the spans of two orthonormal bases (d, columns); 90 where the ranks differ
    and the larger is no help: it is measured from the smaller span."""
    if 0 in (a.shape[1], b.shape[1]):
        return 90.0
    cosine = torch.linalg.svdvals(a.T.double() @ b.double()).min()
    return float(torch.rad2deg(torch.acos(cosine.clamp(max=1.0))))
