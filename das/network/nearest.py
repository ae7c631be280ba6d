"""Nearest: how a network that gives one number is read as one that chooses among values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from das.errors import DasError, shown
from das.ground.checks import number
from das.network.feeding import Read
from das.network.taps import first_tensor


def nearest(values: Sequence[float], tolerance: float) -> Read:
    """What to give `das.Net` as `read` for a network that answers with one number, (rows,) or (rows, 1).

    The classes are the values, in order, and behind them one more, which no answer has: it is given where the number is further
    than `tolerance` from every value. Scores are −(distance / tolerance)²; that of the last class is −1.
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise DasError(f"values are {shown(values)}: expected a list of numbers")
    known = torch.tensor([number("a value", value) for value in values])
    if len(known.unique()) < len(known):
        raise DasError(f"values are {shown(values)}: expected different ones")
    within = number("tolerance", tolerance, 0, above=True)

    def read(output: Any) -> Tensor:
        given = first_tensor(output)
        if given is None or given.numel() != len(given):
            raise DasError(f"the network gives {shown(getattr(given, 'shape', output))}: expected one number for each row")
        distance = (given.reshape(-1, 1).float() - known.to(given.device)) / within
        return torch.nn.functional.pad(-distance.square(), (0, 1), value=-1.0)

    return read
