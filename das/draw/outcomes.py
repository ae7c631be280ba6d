"""Outcomes: what comes of edits, by kind of question and way to edit (see `das.judge.outcomes`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from das.draw.axes import share_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INKS = {"rome": "#0072b2", "twin": "#56b4e9", "tuned": "#d55e00", "direction": "#009e73", "none": "#777777"}
"""Colours of Okabe and Ito."""

MARKS = {"rome": "o", "twin": "D", "tuned": "s", "direction": "^", "none": "x"}


def outcomes_figure(shares: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """A panel for each layer: of each outcome the share of questions answered as they should be, a mark with its 95 % interval
    for each method. shares: see `das.judge.outcomes.shares`; methods: which → in words."""
    order = list(dict.fromkeys(shares["outcome"]))
    groups = [(f"layer {layer}", each) for layer, each in shares.sort_values("layer", kind="stable").groupby("layer")]

    def panel(ax: Axes, table: pd.DataFrame) -> None:
        beside = np.linspace(-0.28, 0.28, len(methods)) if len(methods) > 1 else np.zeros(1)
        for method, apart in zip(methods, beside, strict=True):
            own = table[table["method"] == method]
            at = own["outcome"].map(order.index) + apart
            ax.vlines(at, own["low"], own["high"], color=INKS[method], linewidth=1.2)
            ax.plot(at, own["share"], MARKS[method], color=INKS[method], markersize=4.5, label=methods[method])
        ax.set_xticks(range(len(order)), order, rotation=40, ha="right", fontsize=8)
        ax.set_xlim(-0.5, len(order) - 0.5)

    wide = max(3.4, 0.55 * len(order))
    figure = share_panels(groups, panel, (wide, 4.2), "share answered as it should be", "kind of question")
    legend_above(figure)
    return figure


def legend_above(figure: Figure) -> None:
    """Moves the legend of the first panel above all panels: within it hides what it is of."""
    first = figure.axes[0]
    if inside := first.get_legend():
        inside.remove()
    columns = max(1, int(figure.get_figwidth() // 3.4))
    figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=columns, fontsize=7.5, frameon=False)
