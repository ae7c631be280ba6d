"""Pairs: base and source prompts with the answers that the causal model gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, differ
from das.pairs.families import Mask
from das.text import html_table

Rows = NDArray[np.int64]

SHOWN = 8
"""Pairs, in a notebook."""


@dataclass
class Pairs:
    """Labelled pairs for one hypothesis, row by row.

    base: input columns; sources: aligned variable → input columns of its source. Where `swapped[:, i]` is False, variable
    i keeps its value: its source is the base itself. answer: the counterfactual; source_answer: of the first swapped source.
    classes: (variables, pairs), numbers that are equal where an aligned variable has equal values in the base.
    """

    base: Columns
    sources: dict[str, Columns]
    base_answer: Column
    source_answer: Column
    answer: Column
    swapped: Mask
    family: Column = field(repr=False)
    classes: Rows | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.answer)

    def _repr_html_(self) -> str:
        table = self.columns()
        rows = list(zip(*(column[:SHOWN].tolist() for column in table.values()), strict=True))
        flips = int(self.flips.sum())
        return html_table(rows, list(table), f"{len(self)} pairs, {flips} of which flip the answer; the first {len(rows)}")

    @property
    def flips(self) -> Mask:
        """Pairs whose counterfactual answer differs from the base answer."""
        return differ(self.base_answer, self.answer)

    def columns(self) -> Columns:
        """One flat table: `base.x`, `source.variable.x`, answers, family."""
        table = {f"base.{name}": column for name, column in self.base.items()}
        for variable, source in self.sources.items():
            table |= {f"source.{variable}.{name}": column for name, column in source.items()}
        answers = {"base_answer": self.base_answer, "source_answer": self.source_answer, "answer": self.answer}
        return table | answers | {"family": self.family}
