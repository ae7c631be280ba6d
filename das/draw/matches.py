"""Matches: how many prompts are gone on from as is wanted, against how much is steered (see `das.use.matches`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from das.draw.axes import share_panels
from das.stats import Bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS, CHANCE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"), "#999999"
"""Colours of Okabe and Ito for the directions that were found; that of random ones."""


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Of each set, direction and length the share of prompts that match, its 95 % interval (`low`, `high`) and how many
    `prompts` there are."""
    rows = []
    for at, each in table.groupby(["set", "direction", "alpha"], sort=False):
        prompts = pd.factorize(each["prompt"])[0]
        rows.append((*at, each["match"].mean(), *Bootstrap(prompts).interval(each["match"].to_numpy()), len(each)))
    return pd.DataFrame(rows, columns=["set", "direction", "alpha", "share", "low", "high", "prompts"])


def matches_figure(table: pd.DataFrame, unit: str = "length that is added along the direction") -> Figure:
    """A panel per set of prompts: the share that match against how much is added, with 95 % intervals. table: see
    `das.use.matches.matches`. unit: of its `alpha`."""
    groups = rates(table).groupby("set", sort=False)
    return share_panels(groups, _panel, (3.4, 3.1), "share that goes on as wanted", unit)


def _panel(ax: Axes, found: pd.DataFrame) -> None:
    inks, named = iter(INKS), False
    for direction, own in found.groupby("direction", sort=False):
        chance = str(direction).startswith("random")
        label, named = ("_" if named else "random") if chance else str(direction), named or chance
        ink, own = CHANCE if chance else next(inks), own.sort_values("alpha")
        ax.plot(own["alpha"], own["share"], "--" if chance else "-", color=ink, marker=".", label=label)
        ax.fill_between(own["alpha"], own["low"], own["high"], color=ink, alpha=0.1, linewidth=0)
