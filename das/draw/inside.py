"""Pictures of what an alignment is made of: prompts in its columns, the entries that it takes, its angles to others.

Functions of the tables of `das.use.inside`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from das.draw.axes import axes_of, write
from das.draw.heatmaps import COLOURS, hatch, numbers
from das.text import fitted, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INKS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222"
MARKS = "o^sDvP*"
"""Colours of Okabe and Ito with a mark each, so that values are told apart without colour."""

FOUND, RANDOM = "#0072b2", "#999999"

UNITS, ENTRIES = 12, "entries of the vectors, the largest first"


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


# --- projections ---


def projections(table: pd.DataFrame, explained: pd.DataFrame) -> Figure:
    """A panel per variable (of a short vector, per part): prompts along its first two columns, or its one column beside the
    value, coloured by the value."""
    every = list(table.groupby(["variable", "part"], sort=False))
    figure, panels = _panels(1, len(every), 5.2, 4.0)
    for ax, ((variable, part), mine) in zip(panels[0], every, strict=True):
        known = explained[(explained["variable"] == variable) & (explained["part"] == part)]
        projection(
            ax, mine.dropna(axis=1, how="all"), f"{variable}{part}", dict(zip(known["column"], known["share"], strict=True))
        )
        ax.set_title(fitted(f"prompts in the columns of {variable}", 5.2, 10), fontsize=10)
    return figure


def projection(ax: Axes, mine: pd.DataFrame, name: str, shares: dict[str, float]) -> None:
    """One variable's panel. shares: column → the share of its variance that lies between the variable's values."""
    values, ordered = mine["value"], _ordered(mine["value"])
    x = mine["c1"].to_numpy()
    y = mine["c2"].to_numpy() if "c2" in mine else _beside(values)
    if ordered is not None:
        points = ax.scatter(x, y, c=ordered, cmap=COLOURS, s=14, linewidths=0)
        bar = ax.get_figure().colorbar(points, ax=ax, pad=0.02)  # type: ignore[union-attr]
        bar.set_label(plain(name), fontsize=9)
        if (ordered == ordered.round()).all():
            bar.locator = MaxNLocator(integer=True)
    else:
        groups = _groups(values)
        for ink, mark, (value, rows) in zip(INKS, MARKS, groups.items(), strict=False):
            ax.scatter(
                x[rows], y[rows], color=ink, marker=mark, s=18, linewidths=0, alpha=0.8, label=fitted(value, 2, 8, lines=1)
            )
        ax.legend(fontsize=8, title=plain(name), title_fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    ax.set_xlabel(_named(1, shares), fontsize=9)
    ax.set_ylabel(_named(2, shares) if "c2" in mine else "value" if ordered is not None else "value (spread apart)", fontsize=9)
    if "c2" not in mine and ordered is None:
        ax.set_yticks(range(len(groups)), [fitted(name, 1.5, 8, lines=1) for name in groups], fontsize=8)


def _named(column: int, shares: dict[str, float]) -> str:
    share = shares.get(f"c{column}")
    told = f"\n{short(share)} of its variance lies between values" if share is not None and share == share else ""
    return f"column {column}{told}"


def _ordered(values: pd.Series[Any]) -> Any:
    """Numbers, where there are more of them than colours to tell apart; else None."""
    numeric = values.map(type).isin([int, float]).all() and values.nunique() > len(INKS)
    return values.to_numpy(float) if numeric else None


def _groups(values: pd.Series[Any]) -> dict[str, Any]:
    """Value → which rows have it; of too many, the commonest, and all others together."""
    known = sorted(values.unique(), key=lambda value: (str(type(value)), value))
    if len(known) > len(INKS):
        known = list(values.value_counts().index[: len(INKS) - 1])
    groups = {str(value): (values == value).to_numpy() for value in known}
    rest = ~np.any(list(groups.values()), axis=0)
    return groups | ({f"{values[rest].nunique()} others": rest} if rest.any() else {})


def _beside(values: pd.Series[Any]) -> Any:
    """The second axis of a variable with one column: its value, or a row for each value, spread a little."""
    if (ordered := _ordered(values)) is not None:
        return ordered
    at = np.zeros(len(values))
    for row, which in enumerate(_groups(values).values()):
        at[which] = row
    return at + np.random.default_rng(0).uniform(-0.25, 0.25, len(at))


# --- the trace ---


def trace(entries: pd.DataFrame, units: pd.DataFrame, spread: pd.DataFrame) -> Figure:
    """A row per variable: how much of the subspace its largest entries hold together, beside what random subspaces of its rank
    spread over; and its largest entries and units."""
    variables = list(spread["variable"].unique())
    named = [("entry", entries)] + ([("unit", units)] if len(units) else [])
    figure, panels = _panels(len(variables), 1 + len(named), 4.6, 3.6)
    for row, variable in zip(panels, variables, strict=True):
        mine = [table[table["variable"] == variable] for _, table in named]
        _together(row[0], mine[0], spread[spread["variable"] == variable])
        row[0].set_title(fitted(f"{variable}: over how many entries", 4.6, 10), fontsize=10)
        for ax, (name, _), table in zip(row[1:], named, mine, strict=True):
            _largest(ax, table.head(UNITS), name, 1 / len(table))
    return figure


def _together(ax: Axes, entries: pd.DataFrame, spread: pd.DataFrame) -> None:
    """Shares summed from the largest on, and the participation ratio beside that of random subspaces."""
    total = np.cumsum(entries["share"].to_numpy())
    ax.plot(np.arange(1, len(total) + 1), total, color=FOUND, linewidth=2)
    over = spread.iloc[0]
    ax.axvspan(over["low"], max(over["high"], over["low"] * 1.01), color=RANDOM, alpha=0.35, linewidth=0)
    ax.axvline(over["mean"], color=RANDOM, linestyle="--", label=f"random subspaces {over['mean']:.3g}")
    ax.axvline(over["found"], color=FOUND, linestyle=":", label=f"spread over {over['found']:.3g}")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.03)
    ax.set_xlabel(ENTRIES, fontsize=9)
    ax.set_ylabel("share of the subspace, summed", fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="upper left")


def _largest(ax: Axes, table: pd.DataFrame, name: str, even: float) -> None:
    """Bars of the largest shares, with a line at an even one."""
    at = np.arange(len(table))
    ax.barh(at, table["share"], color=FOUND, height=0.7)
    ax.axvline(even, color=RANDOM, linestyle="--", linewidth=1.2, label=f"all alike {even:.2g}")
    ax.set_yticks(at, [plain(str(label)) for label in table[name]], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"share of the subspace: largest {'entries' if name == 'entry' else 'units'}", fontsize=9)
    ax.legend(fontsize=8, framealpha=1, loc="lower right")


# --- angles ---


def angles(table: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Each alignment with each: the overlap (mean squared cosine of the principal angles) on a scale from 0 to 1, below it
    that of random subspaces of these ranks; hatched where it is not above them."""
    names = list(dict.fromkeys(table["one"]))
    ax = axes_of(ax, (2.6 + 0.75 * len(names), 2.0 + 0.5 * len(names)))
    values, mean, high = (_square(table, column, names) for column in ("overlap", "mean", "high"))
    image = ax.imshow(values, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    for cell in np.argwhere(values <= high):
        hatch(ax, tuple(cell), "white")
    numbers(ax, image, None)
    for row, column in np.ndindex(values.shape):
        ink = "black" if values[row, column] > 0.6 else "white"
        write(ax, (row, column), short(mean[row, column]), -10, 6.5, color=ink)
    shown = [plain(f"{name}, rank {rank}") for name, rank in zip(names, _ranks(table, names), strict=True)]
    ax.set_xticks(range(len(names)), shown, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_yticks(range(len(names)), shown, fontsize=8)
    ax.set_title("overlap of subspaces; below, of random ones of these ranks\nhatched: not above random", fontsize=9)
    figure: Figure = ax.get_figure()  # type: ignore[assignment]
    figure.colorbar(image, ax=ax, pad=0.02, fraction=0.05)
    return figure


def _square(table: pd.DataFrame, column: str, names: list[str]) -> Any:
    at = {name: i for i, name in enumerate(names)}
    square = np.full((len(names), len(names)), np.nan)
    for one, other, value in table[["one", "other", column]].itertuples(index=False):
        square[at[one], at[other]] = square[at[other], at[one]] = value
    return square


def _ranks(table: pd.DataFrame, names: list[str]) -> list[int]:
    return [int(table[table["one"] == name]["rank"].iloc[0]) for name in names]
