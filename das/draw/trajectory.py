"""Trajectory: an answer on its way through the layers, as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from das.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INKS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"
"""Okabe and Ito's colours, which colour-blind people tell apart."""
MARKS = "osD^vPX"
WIDE = 20
"""Where ranks differ by more than so many times, only powers of ten are written."""


def trajectory_figure(table: pd.DataFrame, tokens: Mapping[str, str], title: str) -> Figure:
    """Probability and rank of the answer against the layer, a line per position; bands hold the middle half of the prompts.
    table: see `das.circuits.lens.trajectory`; tokens: position → the token there in an example prompt."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (position, mine) in enumerate(table.groupby("position", sort=False)):
        label = f"{position} ({tokens[str(position)].strip() or '␣'!r})"
        for ax, name in ((left, "probability"), (right, "rank")):
            _line(ax, mine, name, INKS[i % len(INKS)], MARKS[i % len(MARKS)], plain(label))
    left.set_ylabel("probability of the answer's first token, mean")
    left.set_ylim(-0.03, 1.03)
    right.set_ylabel("its rank among all tokens, median")
    right.set_yscale("log")
    lowest, highest = table["rank_low"].min(), table["rank_high"].max()
    right.set_ylim(highest * 1.3, max(0.8, lowest / 1.3))
    ranks = FuncFormatter(lambda rank, _: f"{rank:,.0f}" if rank >= 1 else "")
    right.yaxis.set_major_formatter(ranks)
    right.yaxis.set_minor_formatter(NullFormatter() if highest > WIDE * lowest else ranks)
    for ax in (left, right):
        ax.set_xlabel("layer")
        ax.grid(color="#eeeeee")
    left.legend(fontsize=8, frameon=False)
    figure.suptitle(plain(title), fontsize=10.5)
    return figure


def _line(ax: Axes, table: pd.DataFrame, name: str, ink: str, mark: str, label: str) -> None:
    ax.plot(table["layer"], table[name], color=ink, marker=mark, markersize=4, label=label)
    ax.fill_between(table["layer"], table[f"{name}_low"], table[f"{name}_high"], color=ink, alpha=0.15, linewidth=0)
