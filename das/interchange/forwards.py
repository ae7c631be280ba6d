"""Forwards: a batch that is run in several parts, put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from das.network.parts import Part, joined
from das.network.site import Spot
from das.network.taps import Tap


def slopes_of(
    objective: Tensor,
    values: Sequence[Mapping[Spot, list[Tensor]]],
    taps: Mapping[Spot, Tap],
    rows: Sequence[int],
    keep: int,
) -> list[dict[Spot, Tensor]]:
    """The gradients of the objective at what passed the taps in each of several forwards of so many rows, each (rows, the last
    `keep` columns, size)."""
    every = [(part, spot, value) for part, held in enumerate(values) for spot, passed in held.items() for value in passed]
    found = torch.autograd.grad(objective, [value for *_, value in every], materialize_grads=True)
    slopes: list[dict[Spot, list[Tensor]]] = [{spot: [] for spot in held} for held in values]
    for (part, spot, _), slope in zip(every, found, strict=True):
        slopes[part][spot].append(taps[spot].read(slope, rows[part]))
    return [{spot: torch.cat(passed, 1)[:, -keep:] for spot, passed in held.items()} for held in slopes]


def whole_of(parts: Sequence[Part], found: Sequence[Mapping[Spot, Tensor]], keep: int) -> dict[Spot, Tensor]:
    """What was found for the parts of a batch, in the order of its rows and with as many columns as the batch has; what has no
    places in the prompts has one column."""
    whole = {}
    for spot in found[0]:
        held = [vectors[spot] for vectors in found]
        columns = keep if max(value.shape[1] for value in held) > 1 else 1
        whole[spot] = joined(parts, [nn.functional.pad(v, (0, 0, columns - v.shape[1], 0)) for v in held])
    return whole
