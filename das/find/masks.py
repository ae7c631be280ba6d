"""Masks: units of one site, each of which a cell swaps as far as its own trained gate is open."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.find.coordinates import Coordinates, swapped
from das.find.kinds import Kind
from das.find.stack import Ground, Moment, Stack
from das.interchange.feature import Listed

SPREAD = 0.1
"""Of the logits at the start, which tells seeds apart."""

LISTED, SIZES = 16, 16
"""Bytes of a unit that may be swapped, which are its number and two masks, and of two sizes beside all of them."""


@dataclass(frozen=True)
class Masked(Kind):
    """A mask over units that is trained, all cells of a grid at once; which units, `coordinates` says."""

    finder = "trained"
    trains = True
    stack = "masks.MaskStack"
    settles = True
    ordered = True
    annealed = True

    k: int = 16
    penalty: float = 1.0
    start: float = 1.0
    end: float = 0.05
    lr: float = 0.05
    tolerance: float = 0.02

    @property
    def width(self) -> int:
        return 0  # where there are fewer units than k, all of them may be swapped

    def units(self, entries: int) -> int:
        """How many there are at most in vectors of so many entries."""
        return entries

    def parameters(self, entries: int, variables: int) -> int:
        return variables * self.units(entries)

    def kept(self, entries: int, variables: int) -> int:
        return LISTED * variables * min(self.k, self.units(entries)) + SIZES

    @abstractmethod
    def coordinates(self, ground: Ground) -> Coordinates:
        """Those of a site's vectors."""

    def temperature(self, progress: float) -> float:
        """When `progress` (0 to 1) of the training is done."""
        return float(self.start * (self.end / self.start) ** progress)


@dataclass(frozen=True)
class Gated:
    """Units of cells, and how far the gate of each is open, (cells, variables, units)."""

    coordinates: Coordinates
    mask: Tensor

    def swap(self, base: Tensor, sources: Tensor) -> Tensor:
        return swapped(self.coordinates, self.mask, base, sources)

    def keep(self, part: slice, moved: Tensor) -> Tensor:
        return self.coordinates.left(self.mask, part, moved)


class MaskStack(Stack):
    """Masks of one kind at one site, one per cell.

    Parameter: logits (cells, variables, units). A gate is open by σ(l/T), with several variables by each one's share of
    exp(l/T) beside the 1 of leaving the unit alone, so that a unit is never swapped twice.
    """

    def __init__(self, kind: Masked, coordinates: Coordinates, variables: int, seeds: Sequence[int]) -> None:
        super().__init__(kind, seeds)
        self.mask, self.coordinates = kind, coordinates
        self.k = min(kind.k, coordinates.size // variables)
        if not self.k:
            raise DasError(f"{kind.label} for {variables} variables: there are no more than {coordinates.size} units here")
        shape = variables, coordinates.size
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.logits = nn.Parameter(SPREAD * torch.stack(drawn))

    @classmethod
    def of(cls, kind: Kind, ground: Ground, seeds: Sequence[int]) -> MaskStack:
        assert isinstance(kind, Masked)
        return cls(kind, kind.coordinates(ground), ground.variables, seeds)

    @classmethod
    def shared(cls, kind: Kind, ground: Ground) -> Hashable:
        """Hypothesis and site, since coordinates may be of these."""
        return ground.hypothesis, ground.site

    def state(self, cells: Tensor) -> Tensor:
        return self.logits[cells]

    def gates(self, logits: Tensor, progress: float) -> Tensor:
        """How far each is open. Both (cells, variables, units)."""
        scaled = logits / self.mask.temperature(progress)
        if scaled.shape[1] == 1:
            return torch.sigmoid(scaled)
        return torch.cat([scaled, torch.zeros_like(scaled[:, :1])], 1).softmax(1)[:, :-1]

    def soft(self, state: Tensor, cells: Tensor, rows: int, now: Moment) -> Gated:
        return Gated(self.coordinates, self.gates(state, now.progress))

    def hard(self, state: Tensor, cells: Tensor) -> list[Listed]:
        """The k units with the widest gates, of which the first and all that are more open than closed are swapped."""
        return [self._feature(logits) for logits in state.detach().cpu()]

    def last(self, state: Tensor, cells: Tensor) -> list[Listed | None]:
        """The same k units, each as far as its gate is open at the end; the penalty leaves few others open."""
        logits = state.detach().cpu()
        return [self._feature(own, gates) for own, gates in zip(logits, self.gates(logits, 1.0), strict=True)]

    def _feature(self, logits: Tensor, gates: Tensor | None = None) -> Listed:
        """The first k units, hard, or as far as their gates are open. Both (variables, units)."""
        units = first_of_each(logits, self.k)
        if gates is not None:
            return self.coordinates.feature(units, gates.gather(1, units))
        open_ = logits.gather(1, units) > 0
        open_[:, 0] = True
        return self.coordinates.feature(units, open_.float())

    def penalty(self, cells: Tensor, now: Moment) -> Tensor:
        """(cells,): what open gates cost that are more than k, in multiples of k."""
        open_ = self.gates(self.logits[cells], now.progress).sum(2)
        return self.mask.penalty * ((open_ - self.k).clamp(min=0) / self.k).sum(1)

    def parameter_groups(self) -> list[dict[str, object]]:
        return [{"params": [self.logits], "lr": self.mask.lr}]


def first_of_each(logits: Tensor, k: int) -> Tensor:
    """For each variable the k units that it has the largest logits of, the largest first, none of them twice: a unit is the
    variable's that has the larger logit, as long as it has not k. logits: (variables, units). (variables, k)"""
    variables = len(logits)
    values, units = logits.topk(min(variables * k, logits.shape[1]), 1)
    if variables == 1:
        return units[:, :k]
    taken: list[list[int]] = [[] for _ in range(variables)]
    used: set[int] = set()
    for at in values.flatten().argsort(descending=True, stable=True).tolist():
        variable, unit = at // units.shape[1], int(units.flatten()[at])
        if unit not in used and len(taken[variable]) < k:
            taken[variable].append(unit)
            used.add(unit)
    return torch.tensor(taken)
