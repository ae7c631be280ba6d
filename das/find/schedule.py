"""Schedule: how long and on what cells are trained."""

from __future__ import annotations

from dataclasses import dataclass

from das.interchange.measures import LOSSES, Measure


@dataclass(frozen=True)
class Schedule:
    """How cells are trained.

    steps: optimiser steps at most; batch: pairs per step and hypothesis. Every `check_every` steps each cell is scored on
    validation pairs; one that has not gained `gain` in IIA over its best for `patience` checks stops, unless it has learned
    something and its width is still to be found. Rates fall linearly to 0. loss: what is minimised.
    """

    steps: int = 300
    batch: int = 64
    check_every: int = 50
    patience: int = 3
    gain: float = 0.005
    seed: int = 0
    loss: Measure = LOSSES["cross_entropy"]
