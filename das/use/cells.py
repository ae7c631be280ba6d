"""Cells: which of a run's cells is meant, and which stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from das.errors import unknown
from das.find.sites import SITE
from das.network.site import first_layer
from das.run.folder import Folder

MOST = 12
"""Alignments that one is compared with when nobody says which."""


def cell_id(run: Folder, name: str) -> str:
    """A cell's id from itself, or from a hypothesis, with or without its variables: its chosen cell, first seed. DasError where
    there is neither."""
    table = run.found()
    if name in set(table["cell"]):
        return name
    hypotheses = run.summary["hypotheses"]
    short = name.split(".")[0]
    if short not in hypotheses or name not in (short, hypotheses[short]["hypothesis"]):
        raise unknown("cell", name, [*hypotheses, *get_close_matches(name, table["cell"], 5, 0.3)])
    return str(chosen(run, short)["cell"].iloc[0])


def chosen(run: Folder, hypothesis: str) -> pd.DataFrame:
    """The rows of the run's table of a hypothesis' chosen cell, a seed each."""
    table, entry = run.found(), run.summary["hypotheses"][hypothesis]
    mine = (table["hypothesis"] == hypothesis) & (table["subspace"] == entry["subspace"])
    cells: pd.DataFrame = table[mine & _at(table, entry)].sort_values("seed")
    return cells


def companions(run: Folder, cell: str) -> list[str]:
    """Cells to compare one with, at most `MOST`: its other seeds, the chosen cells of other hypotheses, and its like in other
    layers, the nearest first."""
    table = run.found()
    (me,) = table[table["cell"] == cell].to_dict("records")
    alike = (table["hypothesis"] == me["hypothesis"]) & (table["subspace"] == me["subspace"])
    seeds = table[alike & _at(table, me)]["cell"]
    others = [chosen(run, name)["cell"].iloc[0] for name in run.summary["hypotheses"] if name != me["hypothesis"]]
    column = alike & _at(table, me, ["component", "position", "seed"])
    layers = (
        table[column]
        .assign(far=(table["layer"].map(first_layer) - first_layer(me["layer"])).abs())
        .sort_values("far", kind="stable")["cell"]
    )
    return [each for each in dict.fromkeys([*seeds, *others, *layers]) if each != cell][:MOST]


def _at(table: pd.DataFrame, place: Any, columns: Sequence[str] = SITE) -> Any:
    """The rows that have what a place has in some columns."""
    return np.logical_and.reduce([table[part] == place[part] for part in columns])
