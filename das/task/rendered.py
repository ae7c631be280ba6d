"""Rendered: texts, and where every field lies in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Rendered:
    """Texts and, for every field, its character span in each: `spans[field]` is (rows, 2), start and end."""

    texts: list[str]
    spans: dict[str, Indices]

    def take(self, rows: int | Indices) -> Rendered:
        """One of them, or some."""
        rows = np.atleast_1d(rows)
        return Rendered([self.texts[row] for row in rows], {name: span[rows] for name, span in self.spans.items()})
