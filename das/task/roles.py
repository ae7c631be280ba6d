"""Roles: what the columns of a table of pairs are, and what they say of each row.

`base` and `source` are texts, `label` the counterfactual answer's; `source:V` is the text of variable V's own source, empty
where V is not swapped. `base.X` and `source.X` say what variable X is in a prompt, `base@P` and `source@P` where place P
lies in it, empty where it has no such place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from das.causal.columns import Column, objects
from das.errors import DasError, shown, unknown
from das.ground.rows import Table
from das.task.marked import Marked, marked

LABELS = "label", "base_label", "source_label"
OTHERS = "split", "hypothesis", "family"
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
"""How a split may be called."""

SPAN, NUMBER = re.compile(r"\[\s*\d+\s*,\s*\d+\s*\]"), re.compile(r"#-?\d{1,6}")
"""A place in a CSV file that is no piece of the text: its characters, and the number of a token."""


@dataclass(frozen=True)
class Roles:
    """The pairs of one hypothesis in a table.

    variables: those that are swapped. places: name → place, the same rule for all prompts (see `das.task.marked.marked`).
    """

    table: Table
    variables: Sequence[str]
    places: Mapping[str, Any]

    def check(self, known: Sequence[str] | None) -> None:
        """DasError on a column that has no role. known: the variables of the causal model; any, if there is none."""
        sides = ["base", *self._sides.values()]
        for column in self.table.columns:
            side = next((side for side in sides if column.startswith((f"{side}.", f"{side}@"))), "")
            name = column[len(side) + 1 :]
            if column in (*LABELS, *OTHERS, "base", *self._sides.values()):
                continue
            if not side or (column[len(side)] == "." and known is not None and name not in known):
                error = unknown(f"column of {self.table.name},", column, [*self._expected(sides, known)])
                raise DasError(
                    f'{error}. One that has no part in it must go: --columns "{{{column}: null}}" leaves it out (in Python '
                    f"columns={{{column!r}: None}})"
                )
            if not re.fullmatch(r"(?!\d)\w+", name) or (column[len(side)] == "@" and name in ("first", "last")):
                raise DasError(f"{self.table.name}: column {column!r} names {name!r}: expected letters, digits and _")

    def _expected(self, sides: Sequence[str], known: Sequence[str] | None) -> Iterator[str]:
        yield from dict.fromkeys(sides)
        yield from (*LABELS, *OTHERS)
        yield from (f"{side}.{name}" for side in dict.fromkeys(sides) for name in known or ["<variable>"])
        yield from (f"{side}@<place>" for side in dict.fromkeys(sides))

    @cached_property
    def _sides(self) -> dict[str, str]:
        """Variable → what the columns of its source begin with: `source:V` where there are such, else `source`."""
        sides = {re.split(r"[.@]", name)[0] for name in self.table.columns}
        return {v: f"source:{v}" if f"source:{v}" in sides else "source" for v in self.variables}

    def cell(self, column: str, row: int) -> Any:
        """DasError where it is empty."""
        value = self.table.columns[column][row]
        if value is None:
            raise DasError(f"{self.table.at(row)}: {column} is empty")
        return value

    def column(self, name: str) -> list[Any]:
        """DasError where it is missing, or a cell of it empty."""
        if name not in self.table.columns:
            raise DasError(f"{self.table.name} has no column {name!r}: it has {', '.join(self.table.columns)}")
        return [self.cell(name, row) for row in range(len(self.table))]

    def texts(self, name: str) -> list[str]:
        """DasError where a cell is no text."""
        for row, text in enumerate(found := self.column(name)):
            if not isinstance(text, str):
                raise DasError(f"{self.table.at(row)}: {name} is {shown(text)}: expected a text")
        return found

    def labels(self, name: str) -> Column | None:
        """`label`, `base_label` or `source_label`; None where there is no such column."""
        return objects(self.texts(name)) if name in self.table.columns else None

    def has_text(self, variable: str | None) -> bool:
        """Whether the table holds the texts of the base, or of a variable's sources."""
        return ("base" if variable is None else self._sides[variable]) in self.table.columns

    def swapped(self, variable: str | None) -> list[bool]:
        """In which rows there is a base (all), or a variable has a source: its cells are not empty."""
        side = "source" if variable is None else self._sides[variable]
        if len(self.variables) == 1 or side == "source":
            return [True] * len(self.table)
        own = [name for name in self.table.columns if name == side or name.startswith(f"{side}.")]
        return [any(self.table.columns[name][row] is not None for name in own) for row in range(len(self.table))]

    def prompts(self, variable: str | None, rows: Sequence[bool]) -> list[Marked | None]:
        """The base, or a variable's source, of each row; None of rows that are not asked for."""
        side = "base" if variable is None else self._sides[variable]
        if side not in self.table.columns:
            raise DasError(f"{self.table.name} has no column {side!r}: it has {', '.join(self.table.columns)}")
        columns = {name.removeprefix(f"{side}@"): name for name in self.table.columns if name.startswith(f"{side}@")}
        return [self._prompt(side, columns, row) if asked else None for row, asked in enumerate(rows)]

    def _prompt(self, side: str, columns: Mapping[str, str], row: int) -> Marked:
        where, text = f"{self.table.at(row)}, {side}", self.cell(side, row)
        if not isinstance(text, str):
            raise DasError(f"{where} is {shown(text)}: expected a text")
        own = {
            name: self._place(cell) for name, column in columns.items() if (cell := self.table.columns[column][row]) is not None
        }
        return marked(text, {**self.places, **own}, where)

    def _place(self, cell: Any) -> Any:
        if self.table.texts and SPAN.fullmatch(cell):
            return json.loads(cell)
        return int(cell[1:]) if self.table.texts and NUMBER.fullmatch(cell) else cell

    def values(self, variable: str | None, name: str, rows: Sequence[bool]) -> list[Any]:
        """What the columns `base.<name>`, or those of a variable's source, say; None of rows that are not asked for."""
        column = f"{'base' if variable is None else self._sides[variable]}.{name}"
        if column not in self.table.columns:
            raise DasError(
                f"{self.table.name} has no column {column!r}: the causal model needs to know {name!r} of every prompt"
            )
        return [self.cell(column, row) if asked else None for row, asked in enumerate(rows)]

    @property
    def metadata(self) -> list[str]:
        """What is said of the base beside its text."""
        return [name.removeprefix("base.") for name in self.table.columns if name.startswith("base.")]

    def splits(self) -> Column | None:
        """Each row's split; None where the table does not say."""
        if "split" not in self.table.columns:
            return None
        for row, name in enumerate(found := self.texts("split")):
            if name not in SPLITS:
                raise unknown(f"split in {self.table.at(row)}:", name, SPLITS)
        return objects([SPLITS[name] for name in found])
