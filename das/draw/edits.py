"""Edits: how much of an edit comes out, against how much of it is made (see `das.judge.edits`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from das.causal.columns import codes
from das.draw.axes import share_panels
from das.stats import Bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = {"add": ("the direction", "#0072b2", "-"), "random": ("a random one", "#777777", "--")}
MARKS = {"interchange": ("a swap", "#d55e00", "s"), "whole": ("the whole vector", "#000000", "x")}
"""Operator → its name, a colour of Okabe and Ito, a line style or a marker."""


def edits_figure(table: pd.DataFrame, by: str = "under") -> Figure:
    """A panel for each value of the column `by`: the share of questions that are answered as they should be after an edit, with
    its 95 % interval over edits, against the dose. table: see `das.judge.edits.Edits.outcomes`."""
    groups = table.groupby(by, sort=False)
    return share_panels(
        groups, _panel, (2.9, 3.0), "share answered as it should be", "dose: times the direction from one value to the other"
    )


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Of each operator and dose the share of questions answered as they should be, its 95 % interval over edits (`low`, `high`)
    and how many `questions` there are."""
    rows = []
    for (operator, dose), each in table.groupby(["operator", "dose"], sort=False):
        low, high = Bootstrap(codes(each["edit"].to_numpy(str))).interval(each["right"].to_numpy())
        rows.append((operator, dose, each["right"].mean(), low, high, len(each)))
    return pd.DataFrame(rows, columns=["operator", "dose", "share", "low", "high", "questions"])


def _panel(ax: Axes, table: pd.DataFrame) -> None:
    found = shares(table)
    for operator, (label, ink, style) in (LINES | MARKS).items():
        own = found[found["operator"] == operator].sort_values("dose")
        line = style if operator in LINES else "none"
        ax.plot(own["dose"], own["share"], line, color=ink, marker="." if operator in LINES else style, label=label)
        ax.vlines(own["dose"], own["low"], own["high"], color=ink, linewidth=1)
