"""Reading vectors of linear artificial tomography, from pairs alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from das.find.directions import Direction, Seen, principal

LEAST = 16
"""Pairs in which nothing else changes that are enough to go by them alone."""


@dataclass(frozen=True)
class LAT(Direction):
    """Per variable the first k principal components of the differences between source and base, over the pairs in which its
    value differs (Zou et al. 2023, arXiv 2310.01405): where there are enough in which it alone does (the family `only`), over
    those, since whatever else differs may vary more.

    Each difference is taken both ways round, which makes the mean zero: to centre differences of one sign would take away what
    they have in common, the variable itself. So nothing is drawn at random, as it is where pairs are shuffled for that.
    """

    k: int = 8
    tolerance: float = 0.02

    def columns(self, seen: Seen) -> list[Tensor]:
        differences = seen.sources - seen.base
        which = [alone if alone.sum() >= LEAST else changed for changed, alone in zip(seen.changed, seen.alone, strict=True)]
        return [principal(own[there], self.k) for own, there in zip(differences, which, strict=True)]
