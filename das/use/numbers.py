"""Numbers: a swap's answers where a network gives numbers, and how far they lie from those of the causal model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.use.applied import AFTER, BEFORE, Applied


@dataclass(frozen=True, kw_only=True, repr=False)
class Numbers(Applied):
    """Of a network that gives numbers. An answer is a number, or a list of numbers, and a swap flips it where one of them moves
    further than the tolerance, within which the task takes an answer for right (see `das.Tensors`)."""

    tolerance: float

    @property
    def answers(self) -> dict[str, list[Any]]:
        return {name: _alone(given.double().numpy()) for name, given in self.logits.items()}

    @property
    def flips(self) -> NDArray[np.bool_]:
        moved = (self.logits[AFTER] - self.logits[BEFORE]).abs() > self.tolerance
        return moved.any(-1).numpy()

    @property
    def off(self) -> NDArray[np.float64] | None:
        """How far the numbers after the swap lie from the causal model's, at most; None where these are not known. (rows,)"""
        if self.expected is None or self.expected.numbers is None:
            return None
        most: NDArray[np.float64] = np.abs(self.logits[AFTER].double().numpy() - self.expected.numbers).max(-1)
        return most

    def table(self) -> pd.DataFrame:
        """A row per pair: the numbers, whether the swap moves them, what is expected, and how far off the network is."""
        body = pd.DataFrame(self.answers | {"flips": self.flips})
        return body if self.off is None else body.assign(expected=self._wanted, off=self.off, as_expected=self.as_expected)

    def _said(self, k: int) -> Mapping[str, Sequence[Sequence[str]]]:
        return {name: [[f"{number:.4g}" for number in row] for row in given.tolist()] for name, given in self.logits.items()}

    @property
    def _wanted(self) -> list[Any]:
        known = self.expected.numbers if self.expected else None
        return [] if known is None else _alone(known)

    def _held(self, row: int) -> str:
        off = "" if self.off is None else f", {self.off[row]:.2g} off (tolerance {self.tolerance:g})"
        return f"{self.expected.texts[row] if self.expected else ''}{off}"


def _alone(numbers: NDArray[np.float64]) -> list[Any]:
    """Of each row its number, or its list of several."""
    rows: list[Any] = (numbers[:, 0] if numbers.shape[1] == 1 else numbers).tolist()
    return rows
