"""Directed: an alignment and a network, with the directions of the alignment's variables and the places where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.causal.columns import Column, Columns
from das.errors import DasError, unknown
from das.find.alignment import Alignment
from das.interchange.applied import AT_ONCE
from das.interchange.calls import frame_of
from das.interchange.engine import HookEngine
from das.judge.decoding import classes
from das.network.limits import check_limits
from das.network.lm import LM
from das.network.net import Net
from das.network.site import Spot, parse_component
from das.pairs.dataset import Rows
from das.task.encoded import Encoded
from das.task.rendered import Prompts
from das.task.task import Task
from das.use.swapper import Swapper

NATURAL = 256
"""Prompts of the task by which what is natural along a direction is measured."""


@dataclass(frozen=True)
class Directed:
    """An alignment of one place and a network that reads text. task: with it prompts may be values of its inputs, and what is
    natural is known."""

    alignment: Alignment
    lm: LM
    task: Task | None = None

    def __post_init__(self) -> None:
        if isinstance(self.lm, Net):
            raise DasError(f"{self.lm.name} takes tensors: expected a network that reads text")
        if not self.alignment.cell.site.single:
            raise DasError(f"{self.alignment.cell.site} is a site of several places: expected an alignment at one place")

    @cached_property
    def variables(self) -> list[str]:
        """The aligned variables; numbers from 1 where no task names them."""
        return Swapper(self.alignment, self.lm, self.task).variables

    def number(self, variable: Any = None) -> int:
        """The variable that is meant, by its place among the aligned ones."""
        named = self.variables
        if variable is None and len(named) > 1:
            raise DasError(f"the alignment has a direction for each of {', '.join(named)}: say which, variable=…")
        if variable is not None and str(variable) not in named:
            raise unknown("aligned variable", str(variable), named)
        return 0 if variable is None else named.index(str(variable))

    def directions(self, variable: int) -> Tensor:
        """A variable's directions, each of length 1, the most important first. (d, rank)"""
        found = self.alignment.feature.directions(variable)
        if found is None:
            raise DasError(f"{self.alignment.cell.id} has no directions of its own: operator interchange does without")
        return torch.nn.functional.normalize(found, dim=0)

    def spots(self, layers: Sequence[int], fitting: bool = True) -> list[Spot]:
        """The alignment's component in some layers. fitting: whether its vectors must be of their width."""
        component, own = self.alignment.cell.site.spot
        depth = self.lm.layers
        if outside := [layer for layer in layers if layer >= depth]:
            raise DasError(f"layer {outside[0]} is named, and {self.lm.name} has layers 0 to {depth - 1}")
        if list(layers) != [own] and parse_component(component) is None and "{layer}" not in component:
            raise DasError(f"{component} is one module and in no band of layers: leave layers out")
        spots = [(component, layer) for layer in layers]
        for spot in spots:
            if fitting and not self.alignment.feature.fits(self.lm.size(*spot)):
                raise DasError(
                    f"{self.alignment.cell.id} is not of vectors of {self.lm.size(*spot)} entries, which a token has at "
                    f"{spot[0]}[{spot[1]}]: expected an alignment of one token in a network of its width"
                )
        return spots

    def checked(self, prompts: Prompts) -> Encoded:
        """Prompts that are texts, and no longer than the network reads."""
        if not isinstance(prompts, Encoded):
            raise DasError("texts are asked for: this task puts none")
        check_limits(getattr(self.lm.model, "config", None), prompts, np.zeros(0, np.int64), self.lm.tokenizer)
        return prompts

    # --- what prompts have ---

    @property
    def in_answer(self) -> bool:
        """Whether it lies in a decoder beside an encoder, whose tokens are the answer's."""
        return frame_of(self.lm, self.lm.tap(*self.alignment.cell.site.spot).module)[1]

    @property
    def position(self) -> str:
        """Where the alignment lies; in a decoder beside an encoder at the token that the answer begins with, read after the
        prompt's last."""
        return "last" if self.in_answer else self.alignment.cell.site.places[0].position

    def natural(self, spots: Sequence[Spot]) -> tuple[Columns, dict[Spot, Tensor]]:
        """Drawn prompts of the task, and what they have at each spot, (prompts, size)."""
        if self.task is None:
            raise DasError("what is natural along a direction is measured on the task's prompts: give task=")
        drawn = self.task.model.sample(np.random.default_rng(0), NATURAL)
        if missing := [spot for spot in spots if spot not in self._seen]:
            self._seen.update(self.vectors(self.task.encode(drawn, self.lm.tokenizer, [self.position]), missing))
        return drawn, {spot: self._seen[spot] for spot in spots}

    @cached_property
    def _seen(self) -> dict[Spot, Tensor]:
        """What drawn prompts have, at the spots that were asked for."""
        return {}

    def levels(self, drawn: Columns, variable: int) -> tuple[list[str], list[Rows]]:
        """A variable's levels by name, with the rows of drawn prompts that are at each (see `levels_of`)."""
        assert self.task is not None
        hypothesis = self.task.hypothesis(self.alignment.cell.hypothesis)
        return levels_of(hypothesis.model.run(drawn)[hypothesis.variables[variable]])

    @torch.no_grad()
    def vectors(self, prompts: Prompts, spots: Sequence[Spot]) -> dict[Spot, Tensor]:
        """What prompts have at the alignment's position, at each spot, (prompts, size)."""
        columns = prompts.positions[self.position]
        if columns.shape[1] != 1:
            raise DasError(f"the place in a source covers {columns.shape[1]} tokens: point at one of them")
        parts: dict[Spot, list[Tensor]] = {spot: [] for spot in spots}
        for rows in np.array_split(np.arange(len(prompts)), -(-len(prompts) // AT_ONCE)):
            capture = HookEngine(self.lm).capture(prompts.take(rows), spots)
            for spot in spots:
                parts[spot].append(capture.at(spot, torch.from_numpy(columns[rows])).flatten(1).float())
        return {spot: torch.cat(each) for spot, each in parts.items()}


def levels_of(values: Column) -> tuple[list[str], list[Rows]]:
    """A variable's levels (see `das.judge.decoding.classes`) by name, with the rows that are at each; none of values that have
    none."""
    found = classes(values, values) if values.ndim == 1 else []
    names, groups = list[str](), list[Rows]()
    for level in range(found[0][0].max() + 1 if found else 0):
        rows = np.flatnonzero(found[0][0] == level)
        own = list(dict.fromkeys(values[rows].tolist()))
        names.append(str(own[0]) if len(own) == 1 else f"{min(own)} to {max(own)}")
        groups.append(rows)
    return names, groups
