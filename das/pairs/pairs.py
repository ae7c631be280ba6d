"""Pairs: base and source prompts with the answers that the causal model gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns, differ, take
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
    These two are None where nobody says them. classes: (variables, pairs), numbers that are equal where an aligned variable
    has equal values in the base; changed: (variables, pairs), whether it has another in its source; alone: whether nothing else
    that is unrelated to it has; None where no causal model says what they are.
    """

    base: Columns
    sources: dict[str, Columns]
    base_answer: Column | None
    source_answer: Column | None
    answer: Column
    swapped: Mask
    family: Column = field(repr=False)
    classes: Rows | None = field(default=None, repr=False)
    changed: Mask | None = field(default=None, repr=False)
    alone: Mask | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.answer)

    def _repr_html_(self) -> str:
        table = self.columns()
        rows = list(zip(*(column[:SHOWN].tolist() for column in table.values()), strict=True))
        flips = "" if self.flips is None else f", {int(self.flips.sum())} of which flip the answer"
        return html_table(rows, list(table), f"{len(self)} pairs{flips}; the first {len(rows)}")

    @property
    def answered(self) -> bool:
        """Whether anybody says how base and source by themselves are answered."""
        return self.base_answer is not None and self.source_answer is not None

    @property
    def own_answers(self) -> tuple[Column, Column]:
        """Of the base and of the first swapped source; the counterfactual one in the place of those that nobody says."""
        if self.base_answer is None or self.source_answer is None:
            return self.answer, self.answer
        return self.base_answer, self.source_answer

    def take(self, rows: Rows) -> Pairs:
        """Some of the pairs."""
        own, other = (None if each is None else each[rows] for each in (self.base_answer, self.source_answer))
        sources = {v: take(source, rows) for v, source in self.sources.items()}
        classes = None if self.classes is None else self.classes[:, rows]
        changed, alone = (None if each is None else each[:, rows] for each in (self.changed, self.alone))
        base, answer = take(self.base, rows), self.answer[rows]
        return Pairs(base, sources, own, other, answer, self.swapped[rows], self.family[rows], classes, changed, alone)

    @property
    def flips(self) -> Mask | None:
        """Pairs whose counterfactual answer differs from the base answer; None where that is not known."""
        return None if self.base_answer is None else differ(self.base_answer, self.answer)

    def columns(self) -> Columns:
        """One flat table: `base.x`, `source.variable.x`, answers, family."""
        table = {f"base.{name}": column for name, column in self.base.items()}
        for variable, source in self.sources.items():
            table |= {f"source.{variable}.{name}": column for name, column in source.items()}
        answers = {"base_answer": self.base_answer, "source_answer": self.source_answer, "answer": self.answer}
        known = {role: column for role, column in answers.items() if column is not None}
        return table | known | {"family": self.family}
