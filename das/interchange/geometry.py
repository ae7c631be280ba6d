"""Geometry: over which entries of its vectors a subspace is spread, and how near two subspaces lie; each beside random ones.

A subspace with orthonormal columns Q (d, r) has the projector Q Qᵀ, whatever basis it is written in. Its diagonal says how much
of each entry lies in the subspace; over the rank it is a share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from das.interchange.subspace import random_basis

DRAWS = 100
"""Random subspaces that a figure stands beside."""


@dataclass(frozen=True)
class Beside:
    """A figure of a subspace, and the mean and the 95 % interval of the same figure of random ones of its rank and width."""

    found: float
    mean: float
    low: float
    high: float


def shares(columns: Tensor) -> Tensor:
    """How the subspace is divided among the entries of its vectors: the projector's diagonal over the rank; they sum to 1.
    columns: (d, rank), orthonormal. (d,)"""
    return columns.square().sum(1) / columns.shape[1]


def participation(parts: Tensor) -> Tensor:
    """Over how many parts shares are spread (the participation ratio): 1 where one has all, as many as there are where all
    have the same. parts: (…, parts)"""
    return 1 / parts.square().sum(-1)


def aligned(parts: Tensor, rank: int) -> Tensor:
    """How much of a subspace its `rank` largest entries would keep: 1 where it is spanned by single entries. parts: shares,
    (…, d)"""
    return parts.topk(rank, -1).values.sum(-1)


@lru_cache(maxsize=8)
def random_shares(d: int, rank: int) -> Tensor:
    """The shares of random subspaces, (`DRAWS`, d)."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([shares(random_basis(d, rank, generator)) for _ in range(DRAWS)])


def beside(columns: Tensor, figure: Callable[[Tensor], Tensor]) -> Beside:
    """A figure of a subspace's shares beside that of random subspaces. figure: (…, d) → (…)"""
    drawn = figure(random_shares(*columns.shape))
    return _beside(float(figure(shares(columns))), float(drawn.mean()), drawn)


def _beside(found: float, mean: float, drawn: Tensor) -> Beside:
    low, high = torch.quantile(drawn.double(), torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return Beside(found, mean, low, high)


# --- two subspaces ---


def angles(one: Tensor, other: Tensor) -> Tensor:
    """The principal angles between two subspaces, in degrees, the smallest first; as many as the smaller rank. one, other:
    (d, rank), orthonormal; made so in double precision, in which small angles can be told from none."""
    first, second = (torch.linalg.qr(columns.double())[0] for columns in (one, other))
    if first.shape[1] < second.shape[1]:
        first, second = second, first
    cosines = torch.linalg.svdvals(first.T @ second).clamp(max=1)
    sines = torch.linalg.svdvals(second - first @ (first.T @ second)).clamp(max=1).flip(0)
    near = torch.asin(sines), torch.acos(cosines)
    return torch.rad2deg(torch.where(cosines.square() > 0.5, *near))


def overlap(one: Tensor, other: Tensor) -> Beside:
    """The mean squared cosine of the principal angles: 1 where the smaller subspace lies in the larger, 0 where they are
    orthogonal. Of random ones the mean is known, the larger rank over the width."""
    found = float((one.T @ other).square().sum()) / min(one.shape[1], other.shape[1])
    d, wide, narrow = len(one), max(one.shape[1], other.shape[1]), min(one.shape[1], other.shape[1])
    return _beside(found, wide / d, _random_overlaps(d, wide, narrow))


@lru_cache(maxsize=64)
def _random_overlaps(d: int, wide: int, narrow: int) -> Tensor:
    """Of random subspaces with a fixed one, which may as well be spanned by the first entries. (`DRAWS`,)"""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([random_basis(d, narrow, generator)[:wide].square().sum() / narrow for _ in range(DRAWS)])
