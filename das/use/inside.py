"""Inside: what an alignment is made of. How prompts lie in it, which entries and units it takes, which tokens it promotes, and
how near it lies to others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from das.find.alignment import Alignment
from das.ground.storage import write_json
from das.text import aligned, count, short
from das.use.tracing import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENTRIES = 100
"""Of the vectors, that are written down."""


@dataclass(frozen=True)
class Inside:
    """What one alignment is made of; tables are empty where something was not asked, and `notes` says why.

    projections: a row per prompt and variable: its `value`, and the prompt's coordinate on each of the first columns (`c1`, …);
        of a value that is a short vector a row per `part` of it. explained: a row per variable, part and column: the share of
        the coordinate's variance that lies between the values, where prompts are many to a value.
    trace: see `das.use.tracing.Trace`. tokens: a row per variable, column, end (`+` or `-`) and place: the token there, and by
    how much the column raises its logit. angles: see `das.use.angles`. notes: what was done, or why it was not asked.
    """

    alignment: Alignment
    variables: Sequence[str]
    projections: pd.DataFrame = field(default_factory=pd.DataFrame)
    explained: pd.DataFrame = field(default_factory=pd.DataFrame)
    trace: Trace = field(default_factory=Trace)
    tokens: pd.DataFrame = field(default_factory=pd.DataFrame)
    angles: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """All of it as plain data, of the entries the largest."""
        entries = self.trace.entries
        few = entries.groupby("variable", sort=False).head(ENTRIES) if len(entries) else entries
        tables = {
            "projections": self.projections, "explained": self.explained, "entries": few, "units": self.trace.units,
            "spread": self.trace.spread, "tokens": self.tokens, "angles": self.angles,
        }  # fmt: skip
        head = {"cell": self.alignment.cell.id, "rank": self.alignment.rank, "variables": list(self.variables)}
        return head | {name: table.to_dict("records") for name, table in tables.items()} | {"notes": dict(self.notes)}

    def text(self) -> str:
        """The tables in short."""
        cell, swapped = self.alignment.cell, count(self.alignment.rank, self.alignment.feature.counted)
        parts = [f"{cell.id}\n{'+'.join(self.variables)} at {cell.site}: {swapped}"]
        for variable in self.variables:
            parts += [part for part in (self._spread_text(variable), self._tokens_text(variable)) if part]
        parts += [f"{name}: {note}" for name, note in self.notes.items()]
        return "\n\n".join(parts)

    def _spread_text(self, variable: str) -> str:
        spread = _of(self.trace.spread, variable)
        if not len(spread):
            return ""
        head = [variable, "found", "random subspaces, mean (95 %)"]
        rows = [
            [str(r["figure"]), f"{r['found']:.3g}", f"{r['mean']:.3g} ({r['low']:.3g} to {r['high']:.3g})"]
            for r in spread.to_dict("records")
        ]
        largest = [f"largest entries: {_largest(self.trace.entries, variable, 'entry')}"]
        if len(self.trace.units):
            largest.append(f"largest units: {_largest(self.trace.units, variable, 'unit')}")
        return "\n".join([aligned([head, *rows]), *largest])

    def _tokens_text(self, variable: str) -> str:
        tokens = _of(self.tokens, variable)
        rows = [
            [f"{variable}, column {column}{place} {end}", " ".join(map(repr, ends["token"].head(6)))]
            for (column, place, end), ends in (tokens.groupby(["column", "place", "end"], sort=False) if len(tokens) else ())
        ]
        return aligned(rows) if rows else ""

    def figures(self) -> dict[str, Figure]:
        """File name → figure, of what was asked."""
        from das.draw import inside

        drawn = {}
        if len(self.projections):
            drawn["projections.png"] = inside.projections(self.projections, self.explained)
        if len(self.trace.spread):
            drawn["trace.png"] = inside.trace(self.trace.entries, self.trace.units, self.trace.spread)
        if len(self.angles):
            drawn["angles.png"] = inside.angles(self.angles)
        return drawn

    def write(self, folder: Path) -> list[Path]:
        """Writes `inside.json` and the figures into a folder; their paths."""
        from das.draw.gallery import save

        write_json(folder / "inside.json", self.plain())
        return [folder / "inside.json", *save(folder, self.figures())]


def _of(table: pd.DataFrame, variable: str) -> pd.DataFrame:
    return table[table["variable"] == variable] if len(table) else table


def _largest(table: pd.DataFrame, variable: str, name: str) -> str:
    return ", ".join(f"{row[name]} {short(row['share'])}" for _, row in _of(table, variable).head(5).iterrows())
