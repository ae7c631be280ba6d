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

AS_LONG = ", as long as "
"""In the name of a random direction, before that of the one that it stands beside."""


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
    names = list(dict.fromkeys(map(str, found["direction"])))
    inks = dict(zip((name for name in names if not _random(name)), INKS, strict=False))
    labelled = set[str]()
    for name in names:
        _, beside, whose = name.partition(AS_LONG)
        label = f"random{beside}{whose}" if _random(name) else name
        ink, own = inks.get(whose if _random(name) else name, CHANCE), found[found["direction"] == name].sort_values("alpha")
        line = "--" if _random(name) else "-"
        ax.plot(own["alpha"], own["share"], line, color=ink, marker=".", label="_" if label in labelled else label)
        ax.fill_between(own["alpha"], own["low"], own["high"], color=ink, alpha=0 if _random(name) else 0.1, linewidth=0)
        labelled.add(label)


def _random(name: str) -> bool:
    return name.startswith("random")
