"""Capture: what a network made of a batch of prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from das.interchange.attention import KeysValues
from das.network.site import Spot
from das.task.rendered import Prompts

Objective = Callable[[Tensor], Tensor]
"""Logits (rows, vocabulary), or (rows, steps, vocabulary), → a number."""


@dataclass
class Capture:
    """What one batch left behind on its way through the network.

    offset: the column from which keys and values are held; first: the column from which vectors are held.
    places: (rows, columns from offset on), the tokens' places in their prompts, −1 for padding.
    vectors: spot → (rows, columns from first on, size), but for block outputs that are the next layer's inputs.
    inputs: layer → what its block was given, likewise; at the number of layers, what the last one handed on.
    logits: (rows, vocabulary), the clean answer; where the prompts have a tail, (rows, steps, vocabulary).
    """

    prompts: Prompts
    offset: int
    first: int
    places: Tensor
    vectors: dict[Spot, Tensor]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    keys: KeysValues = field(default_factory=dict)
    logits: Tensor | None = None

    def at(self, spot: Spot, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Values at the columns (rows, n) of the prompts: (rows, n, size). rows: which rows of the capture, in order."""
        rows = torch.arange(len(columns)) if rows is None else rows
        held = self.vectors[spot] if spot in self.vectors else self.inputs[spot[1] + 1]
        vectors: Tensor = held[rows[:, None], columns - self.first if held.shape[1] > 1 else columns * 0]
        return vectors
