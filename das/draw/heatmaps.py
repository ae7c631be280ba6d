"""Heatmaps: IIA and other measures over layers and positions, each a function of a run's tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from das.draw.axes import axes_of, inches_of, title, write
from das.draw.evidence import luck
from das.errors import DasError, unknown
from das.find.sites import SITE, row_order
from das.text import fitted, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.run.folder import Folder

COLOURS = "viridis"
SKIPPED = "#dddddd"
DEAD, DOTS = "#f7f7f7", "#d0d0d0"
METRICS = {
    "iia": "IIA",
    "flip_iia": "flip IIA",
    "iia_soft": "IIA, soft mask",
    "iia_correct": "IIA where the network is right",
    "iia_incorrect": "IIA where the network is wrong",
    "normalised": "normalised IIA",
    "whole": "whole-vector IIA",
    "off_manifold": "share of swaps off the manifold",
    "distance": "distance of swaps from the manifold",
    "probability": "probability of the counterfactual answer",
    "logit_difference": "logit, counterfactual less base answer",
    "answer_rank": "rank of the counterfactual answer",
    "kl": "KL from the network's own answer",
}
FROM_0_TO_1 = ("flip_iia", "iia_correct", "iia_incorrect", "normalised", "off_manifold", "probability")
LIKE_IIA = ("iia", "iia_soft", "whole")
"""Metrics on all test pairs, which no-op and ceiling are a floor and a ceiling of."""

CELL = 0.58, 0.46
"""Width and height of a heatmap's cell, inches; the interval is written where there is room."""


def _shown(token: str) -> str:
    """A token as a label: white space made visible, dollar signs kept from TeX."""
    return plain(token.strip(" ").replace("\n", "↵")) or "␣"


def _broken(position: str) -> str:
    """A position as a label, each of several in a line."""
    return re.sub(r"\+(?!\d)|<-", r"\n\g<0>", position).replace("last-", "−")


# --- heatmaps ---

Grid = tuple[list[Any], list[str], Any]
"""Rows (layer, component), positions in prompt order, values (rows, positions)."""


def grid(run: Folder, hypothesis: str, metric: str = "iia", split: str = "test", subspace: str | None = None) -> Grid:
    """Rows (layer, component), positions in prompt order, and the metric (rows, positions), mean over seeds of a kind of
    subspace, by default the one that the run's grid was searched with; nan where a budget skipped the site."""
    known = {**METRICS, **dict.fromkeys(measures_of(run))}
    if metric not in known:
        raise unknown("metric", metric, known)
    column = f"{split}_{metric}"
    if column not in run.table():
        raise DasError(f"{run.folder} has no {column}: the run was made without it")
    return _grid(run, hypothesis, column, subspace)


def measures_of(run: Folder) -> list[str]:
    """The measures that a run has taken beside IIA: those that stand beside their no-op."""
    return [str(c).removeprefix("test_noop_") for c in run.table() if str(c).startswith("test_noop_")]


def _grid(run: Folder, hypothesis: str, column: str, subspace: str | None = None) -> Grid:
    """Of a column of the run's table; all nan where it has no such column."""
    summary, table = run.summary, run.table()
    table = table[table["hypothesis"] == hypothesis]
    kind = subspace or summary["hypotheses"][hypothesis]["subspace"]
    if kind not in (kinds := table["subspace"].unique().tolist()):
        raise unknown("kind of subspace", kind, kinds)
    mine = table[table["subspace"] == kind]
    screened = run.screened()
    sites = mine if screened is None else screened[screened["hypothesis"] == hypothesis]
    rows = sorted(set(zip(sites["layer"], sites["component"], strict=True)), key=row_order)
    positions = [p for p in summary["tokens"] if p in set(sites["position"])]
    if column not in mine:
        return rows, positions, np.full((len(rows), len(positions)), np.nan)
    return rows, positions, spread(mine, column, rows, positions)


def spread(table: pd.DataFrame, column: str, rows: Sequence[Any], positions: Sequence[str]) -> Any:
    """A column of a table of cells as a map (rows, positions), mean over seeds; nan where there is none."""
    values = table.groupby(SITE)[column].mean().unstack()
    return values.reindex(index=pd.MultiIndex.from_tuples(rows), columns=list(positions)).to_numpy()


def heatmap(
    run: Folder, hypothesis: str, ax: Axes | None = None, metric: str = "iia", bar: bool = True, subspace: str | None = None
) -> Axes:  # fmt: skip
    """Layers × positions on a fixed scale from 0 to 1 (a distance, or a measure without bounds: to its largest), each cell with
    its number and the IIA's 95 % interval; hatched where that is not above the null (`luck`), pale and dotted where the site is
    dead. Floor and ceiling on the colour
    bar, and the cell that was chosen on validation outlined. subspace: see `grid`."""
    rows, positions, values = grid(run, hypothesis, metric, subspace=subspace)
    entry = run.summary["hypotheses"][hypothesis]
    ax = axes_of(ax, size_of(rows, positions))
    dead = _dead(run, hypothesis, subspace)
    unswapped, values = np.where(dead, values, np.nan), np.where(dead, np.nan, values)
    image = image_of(ax, values, *_limits(metric, values))
    low, high = (_grid(run, hypothesis, f"test_iia_{end}", subspace)[2] for end in ("low", "high"))
    limit, null = luck(entry)
    whose = "95 % interval" if metric == "iia" else "the IIA's 95 % interval"
    hatched = _hatch(ax, image, low <= limit)
    numbers(ax, image, (low, high) if metric == "iia" else None)
    stopped = _stopped(ax, image, np.isfinite(_grid(run, hypothesis, "raced", subspace)[2]))
    notes = ["×: stopped by the race"] * stopped
    notes += [f"hatched: {whose} not above {null}"] * hatched + ["dotted: dead, no swap can change an answer"] * bool(
        dead.any()
    )
    ticks(ax, rows, {p: run.summary["tokens"][p] for p in positions}, "; ".join(notes), run.summary.get("layers", ()))
    _dot(ax, dead, unswapped)
    what = f"{METRICS.get(metric, metric)} on test pairs, {subspace or entry['subspace']}{_beside(run, hypothesis, metric)}"
    title(ax, entry, what + _skipped(ax, run, hypothesis, np.where(dead, 0, values)))
    outline(ax, (rows.index((entry["layer"], entry["component"])), positions.index(entry["position"])))
    if bar:
        _bar(ax, image, entry["baselines"] if metric in LIKE_IIA else {})
    return ax


def _limits(metric: str, values: Any) -> tuple[float, float]:
    """Highest and lowest value of the colours."""
    if metric in (*LIKE_IIA, *FROM_0_TO_1):
        return 1.0, 0.0
    return float(np.nanmax(values, initial=1e-9)), float(np.nanmin(values, initial=0))


def _beside(run: Folder, hypothesis: str, metric: str) -> str:
    """What a measure comes to without a swap, and for a whole-vector swap at the chosen site."""
    if metric not in measures_of(run):
        return ""
    mine = run.table()[run.table()["hypothesis"] == hypothesis]
    entry = run.summary["hypotheses"][hypothesis]
    here = mine[(mine["layer"] == entry["layer"]) & (mine["position"] == entry["position"])]
    whole, noop = here[f"test_whole_{metric}"].mean(), here[f"test_noop_{metric}"].mean()
    return f"; no-op {noop:.2f}, whole vector at the chosen site {whole:.2f}"


def image_of(ax: Axes, values: Any, top: float = 1.0, low: float = 0.0) -> Any:
    """A map in colours from `low` to `top`, grey where there is no number."""
    ax.set_facecolor(SKIPPED)
    return ax.imshow(values, origin="lower", aspect="auto", cmap=COLOURS, vmin=low, vmax=top)


def grey_numbers(ax: Axes, values: Any, instead: Any, **style: Any) -> None:
    """Writes into the cells of a map that have no number what there is instead."""
    for row, column in np.argwhere(np.isnan(values) & np.isfinite(instead)):
        write(ax, (row, column), short(instead[row, column]), 0, 7, color="#777777", **style)


def _stopped(ax: Axes, image: Any, cells: Any) -> bool:
    """Marks the cells that a race has stopped; whether there are any."""
    for row, column in np.argwhere(cells & np.isfinite(image.get_array().filled(np.nan))):
        ink = "white" if _dark(image, image.get_array()[row, column]) else "black"
        ax.text(column + 0.46, row + 0.44, "×", color=ink, fontsize=8, ha="right", va="top", alpha=0.8)
    return bool(cells.any())


def _dead(run: Folder, hypothesis: str, subspace: str | None) -> Any:
    """Which cells of a map are of dead sites, (rows, positions)."""
    return np.nan_to_num(_grid(run, hypothesis, "dead", subspace)[2]) > 0


def _dot(ax: Axes, dead: Any, values: Any) -> None:
    """Draws cells of dead sites: pale and dotted, with what swapping nothing scores."""
    for row, column in np.argwhere(dead):
        corner = column - 0.5, row - 0.5
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=DEAD, hatch="..", edgecolor=DOTS, linewidth=0))
    box = {"boxstyle": "square,pad=0.1", "facecolor": DEAD, "edgecolor": "none"}
    grey_numbers(ax, np.where(dead, np.nan, 0), values, bbox=box)


def _skipped(ax: Axes, run: Folder, hypothesis: str, values: Any) -> str:
    """Writes into the cells that were not trained what a whole-vector swap scores there on the screen's training pairs,
    nothing where a trace ranked the sites, whose pairs all flip; what is to be said of them."""
    screened = run.screened()
    if screened is None or not np.isnan(values).any():
        return ""
    if "whole" not in screened:
        return ", grey: not trained"
    rows, positions, _ = _grid(run, hypothesis, "")
    grey_numbers(ax, values, spread(screened[screened["hypothesis"] == hypothesis], "whole", rows, positions))
    return ", grey: not trained (whole swap)"


def outline(ax: Axes, cell: tuple[int, int]) -> None:
    """Marks the chosen cell (row, column) of a map."""
    corner = cell[1] - 0.5, cell[0] - 0.5
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d62728", linewidth=2.5, clip_on=False, zorder=3))


def size_of(rows: Sequence[Any], positions: Sequence[str]) -> tuple[float, float]:
    """Of a heatmap, inches: room for its cells, and for its title if they are few."""
    return max(5.2, 1.9 + CELL[0] * len(positions)), 2.0 + CELL[1] * len(rows)


def ticks(ax: Axes, rows: Sequence[Any], tokens: Mapping[str, str], note: str, modules: Sequence[str] = ()) -> None:
    """Labels of rows and positions, and a note below them. tokens: position → the token there; modules: the layers' names, of a
    network whose layers have some."""
    ax.set_xticks(range(len(tokens)), [f"{_shown(t)}\n{_broken(p)}" for p, t in tokens.items()], fontsize=8)
    several = len({component for _, component in rows}) > 1
    called = [_layer(layer, modules) for layer, _ in rows]
    parts = [component.replace("_", " ") for _, component in rows]
    ax.set_yticks(range(len(rows)), [f"{name} · {part}" if several else name for name, part in zip(called, parts, strict=True)])
    where = "position" if modules else "token of an example prompt, position"
    ax.set_xlabel("\n".join([where, *([fitted(note, inches_of(ax)[0], 9)] if note else [])]), fontsize=9)
    ax.set_ylabel("layer" if several or rows[0][1] == "block_output" else f"layer, {rows[0][1]}")


def _layer(layer: int | str, modules: Sequence[str]) -> str:
    """A row's layers, by name where they have names."""
    return re.sub(r"\d+", lambda number: modules[int(number[0])], str(layer)) if modules else str(layer)


def _dark(image: Any, value: float) -> bool:
    """Whether the colour of a value wants white upon it."""
    red, green, blue, _ = image.cmap(image.norm(value))
    return bool(0.299 * red + 0.587 * green + 0.114 * blue < 0.5)


def _hatch(ax: Axes, image: Any, cells: Any) -> bool:
    """Thin lines over the cells; whether there are any."""
    for cell in np.argwhere(cells & np.isfinite(image.get_array().filled(np.nan))):
        hatch(ax, tuple(cell), "white" if _dark(image, image.get_array()[tuple(cell)]) else "black")
    return bool(cells.any())


def hatch(ax: Axes, cell: tuple[int, int], ink: str) -> None:
    """Thin lines over a cell (row, column) of an image."""
    patch = Rectangle((cell[1] - 0.5, cell[0] - 0.5), 1, 1, fill=False, hatch="////", edgecolor=(ink, 0.35), linewidth=0)
    patch.set_hatch_linewidth(0.5)
    ax.add_patch(patch)


def numbers(ax: Axes, image: Any, interval: tuple[Any, Any] | None) -> None:
    """Each cell's number and, where there is room, its interval below."""
    values = image.get_array().filled(np.nan)
    width, height = (size / n for size, n in zip(inches_of(ax), values.shape[::-1], strict=True))
    room = interval is not None and width > 0.75 * CELL[0] and height > 0.75 * CELL[1]
    for row, column in np.argwhere(np.isfinite(values)):
        value, cell = values[row, column], (row, column)
        ends = [end[cell] for end in interval] if interval and room else [np.nan]
        below = bool(np.isfinite(ends).all())
        box = {"boxstyle": "square,pad=0.1", "facecolor": image.cmap(image.norm(value)), "edgecolor": "none"}
        style = {"color": "white" if _dark(image, value) else "black", "bbox": box}
        share = image.norm.vmin >= -1 and image.norm.vmax <= 1
        write(ax, cell, short(value) if share else f"{value:.1f}", 3.5 * below, 8, **style)
        if below:
            write(ax, cell, "–".join(map(short, ends)), -6.5, 6 if width < 0.8 else 7, **style)


def _bar(ax: Axes, image: Any, baselines: Mapping[str, float]) -> None:
    """The colour bar, with the floor (no-op) and the ceiling (the network's own accuracy) marked if there are baselines."""
    bar = ax.get_figure().colorbar(image, ax=ax, pad=0.02, fraction=0.05)  # type: ignore[union-attr]
    known = (("noop", "no-op"), ("ceiling", "ceiling"))
    marks = {label: baselines[name] for name, label in known if baselines.get(name) is not None}
    for mark in marks.values():
        bar.ax.axhline(mark, color="black", linewidth=2)
        bar.ax.axhline(mark, color="white", linewidth=0.8)
    marked = [t for t in (0, 0.25, 0.5, 0.75, 1) if all(abs(t - mark) > 0.06 for mark in marks.values())]
    labels = [*(f"{label} {mark:.2f}" for label, mark in marks.items()), *(f"{t:g}" for t in marked)]
    if image.norm.vmax == 1:
        bar.ax.set_yticks([*marks.values(), *marked], labels)
    bar.ax.tick_params(labelsize=8)


def all_heatmaps(run: Folder, metric: str = "iia") -> Figure:
    """The heatmaps of all hypotheses side by side."""
    names = list(run.summary["hypotheses"])
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    layers, positions, _ = grid(run, names[0], metric)
    width, height = size_of(layers, positions)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    for index, name in enumerate(names):
        heatmap(run, name, figure.add_subplot(rows, columns, index + 1), metric)
    return figure
