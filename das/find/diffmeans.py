"""Difference in means: the directions in which the means of a variable's values differ."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from das.find.directions import Direction, Seen, means, principal


@dataclass(frozen=True)
class DiffMeans(Direction):
    """Per variable the principal directions of its values' means, each counted as often as it occurs, at most k. Of two values
    it is one direction, from the mean of one to that of the other (Marks and Tegmark 2023, arXiv 2310.06824)."""

    by_value = True

    k: int = 8
    tolerance: float = 0.02

    def columns(self, seen: Seen) -> list[Tensor]:
        return [principal(means(seen.centred, own), min(self.k, int(own.max()))) for own in seen.each_value(self)]
