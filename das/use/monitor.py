"""Monitor: every token of a text read along a direction that an alignment found (Zou et al. 2023, arXiv 2310.01405, section 3.1
and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.errors import DasError
from das.find.alignment import Alignment
from das.interchange.engine import HookEngine
from das.network.lm import LM
from das.network.site import Spot
from das.pairs.dataset import Rows
from das.task.encoded import Encoded
from das.task.pieces import pieces
from das.task.task import Task
from das.use.apply import swapper
from das.use.asked import asked
from das.use.directed import Directed
from das.use.monitored import Level, Monitored
from das.use.way import layers_of


def monitor(
    lm: LM | str, alignment: Alignment | str | Path, texts: Any, *, task: Task | str | None = None, variable: Any = None,
    layers: Any = None,
) -> Monitored:  # fmt: skip
    """Reads every token of texts: (h − μ)·v, where h is what the token has at the alignment's site, v the variable's first
    direction, of length 1, and μ the mean of 256 prompts of the task at the place where the alignment was found.

    texts: one or several, or values of the task's inputs, as in `das.apply`. task: that the alignment was found for.
    variable: which one's direction, where there are several. layers: a number, a list or a band `3..6`; by default the
        alignment's own, whose component and direction it is in each.
    """
    made = swapper(lm, alignment, task)
    return Monitor(made.alignment, made.lm, made.task).read(texts, variable, layers)


@dataclass(frozen=True)
class _Natural:
    """Of the task's prompts along the direction at a spot: their mean, standard deviation, and where each level of the variable
    lies between them, in standard deviations."""

    mean: float
    spread: float
    levels: Sequence[float]

    @classmethod
    def of(cls, along: NDArray[np.float64], groups: Sequence[Rows], spot: Spot) -> _Natural:
        """along: (prompts,). groups: the rows of each level."""
        mean, spread = float(along.mean()), float(along.std(ddof=1))
        if not spread > 0:
            raise DasError(f"the task's prompts are all alike along the direction at {spot[0]}[{spot[1]}]: there is no unit")
        return cls(mean, spread, [float((along[group].mean() - mean) / spread) for group in groups])


@dataclass(frozen=True)
class Monitor(Directed):
    """An alignment and a network, ready to read texts."""

    def read(self, texts: Any, variable: Any = None, layers: Any = None) -> Monitored:
        """See `monitor`."""
        given, which = asked(texts, self.task, "text"), self.number(variable)
        if self.in_answer:
            raise DasError(
                f"{self.alignment.cell.site} lies in a decoder, whose tokens are the answer's: a text has none there"
            )
        spots, vector = self.spots(layers_of(layers, self.alignment.cell.site.spot[1])), self.directions(which)[:, 0]
        prompts = self.checked(given.encoded(self.lm.tokenizer))
        names, known = self._known(spots, vector, which)
        along = self._along(prompts, spots, vector)
        centred = [np.stack([each[row] - known[spot].mean for spot, each in along.items()]) for row in range(len(prompts))]
        levels = [Level(name, float(np.mean([known[s].levels[i] for s in spots]))) for i, name in enumerate(names)]
        return Monitored(
            cell=self.alignment.cell,
            variable=self.variables[which],
            lm=self.lm.name,
            layers=[layer for _, layer in spots],
            pieces=[pieces(self.lm.tokenizer, text) for text in given.rendered.names],
            readings=centred,
            spreads=np.array([known[spot].spread for spot in spots]),
            levels=levels,
        )

    def _known(self, spots: Sequence[Spot], vector: Tensor, which: int) -> tuple[list[str], dict[Spot, _Natural]]:
        """What is natural at each spot, and the names of the variable's levels."""
        drawn, rows = self.natural(spots)
        names, groups = self.levels(drawn, which)
        return names, {spot: _Natural.of(_read(each, vector), groups, spot) for spot, each in rows.items()}

    @torch.no_grad()
    def _along(self, prompts: Encoded, spots: Sequence[Spot], vector: Tensor) -> Mapping[Spot, list[NDArray[np.float64]]]:
        """h·v of every token of each prompt at each spot; a list of (tokens,)."""
        engine, found = HookEngine(self.lm), {spot: list[NDArray[np.float64]]() for spot in spots}
        at_once = engine.rows_at_once(spots[0], prompts.width, gradients=False)
        for some in np.split(np.arange(len(prompts)), range(at_once, len(prompts), at_once)):
            part = prompts.take(some)
            capture, columns = engine.capture(part, spots), torch.arange(part.width).expand(len(part), -1)
            for spot in spots:
                along = _read(capture.at(spot, columns).float(), vector)
                found[spot] += [row[part.width - n :] for row, n in zip(along, part.lengths, strict=True)]
        return found


def _read(held: Tensor, vector: Tensor) -> NDArray[np.float64]:
    """h·v of vectors (…, d)."""
    along: NDArray[np.float64] = (held @ vector.to(held)).cpu().double().numpy()
    return along
