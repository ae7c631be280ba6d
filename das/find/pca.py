"""Principal components: what a finder is worth that has not asked for the variable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from das.find.directions import Direction, Seen, means, principal


@dataclass(frozen=True)
class PCA(Direction):
    """The k directions in which activations vary most, whatever the variable. With several variables, each component is that of
    the variable whose values it tells apart best."""

    by_value = True

    k: int = 8
    tolerance: float = 0.02

    def columns(self, seen: Seen) -> list[Tensor]:
        if len(seen.sources) == 1:
            return [principal(seen.centred, self.k)]
        values = seen.each_value(self)
        directions = principal(seen.centred, self.k * len(values))
        told = torch.stack([means(seen.centred @ directions, own).square().sum(0) for own in values]).argmax(0)
        return [directions[:, told == i][:, : self.k] for i in range(len(values))]
