"""Subspace: the part of an activation that a swap replaces, h' = h_b + Q diag(m) Qᵀ (h_s − h_b)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

ROUNDING = 1e-5
"""Vectors that differ by less, relative to the largest value, are the same."""


@dataclass(frozen=True)
class Subspace:
    """A finished subspace for one or several variables.

    basis: (d, variables, k) fp32, all its columns orthonormal; None for the whole vector.
    mask: (variables, k), how much of each column is swapped: 0 or 1 when hard.
    outside: swap everything but this instead.
    """

    basis: Tensor | None
    mask: Tensor
    outside: bool = False

    @classmethod
    def whole(cls, variables: int) -> Subspace:
        """Everything, for so many variables."""
        return cls(None, torch.ones(variables, 1))

    @property
    def rank(self) -> int:
        """Columns that are swapped, over all variables; the whole vector counts as 0 learned columns."""
        return 0 if self.basis is None else int((self.mask > 0.5).sum())

    @property
    def complement(self) -> Subspace:
        """Everything but this."""
        return replace(self, outside=not self.outside)

    def delta(self, base: Tensor, sources: Tensor) -> Tensor:
        """The change that the swap makes. base: (rows, d); sources: (variables, rows, d). Returns (rows, d)."""
        return change([self], base, sources)[0]


def change(subspaces: Sequence[Subspace], base: Tensor, sources: Tensor) -> Tensor:
    """The changes that several subspaces make to the same rows, (subspaces, rows, d), in fp32.

    With the whole vector and several variables, a row takes the vector of its first source that differs from the base.
    """
    whole, outside = (torch.tensor(list(of)) for of in zip(*((s.basis is None, s.outside) for s in subspaces), strict=True))
    out = torch.empty(len(subspaces), *base.shape, device=base.device)
    if bool((whole | outside).any()):
        everything = _whole(base, sources)
        out[whole] = everything
    rest = [s for s in subspaces if s.basis is not None]
    if rest:
        k = max(s.mask.shape[1] for s in rest)
        basis = torch.stack([_pad(s.basis.to(base.device), k) for s in rest if s.basis is not None])
        mask = torch.stack([_pad(s.mask.to(base.device), k) for s in rest])[:, None]
        out[~whole] = project(basis, mask, base, sources)
    if bool(outside.any()):
        out[outside] = everything - out[outside]
    return out


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


def _whole(base: Tensor, sources: Tensor) -> Tensor:
    difference = (sources - base).float()
    first = (difference.abs() > ROUNDING * base.float().abs().amax()).any(-1).int().argmax(0)
    taken: Tensor = difference[first, torch.arange(len(base), device=base.device)]
    return taken


def _pad(tensor: Tensor, k: int) -> Tensor:
    return nn.functional.pad(tensor, (0, k - tensor.shape[-1]))


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
