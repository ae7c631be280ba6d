"""Pictures: heatmaps of IIA, rank curves, causal models. Each is a function of a run's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from das.errors import unknown
from das.site import place_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.run import Run

COLOURS = "viridis"
SKIPPED = "#dddddd"
METRICS = {
    "iia": "IIA",
    "flip_iia": "flip IIA",
    "iia_soft": "IIA, soft mask",
    "normalised": "normalised IIA",
    "whole": "whole-vector IIA",
}
INK = {"whole": "#666666", "noop": "#999999", "random": "#cc79a7"}


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return Figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax


def _shown(token: str) -> str:
    """A token as a label: white space made visible, dollar signs kept from TeX."""
    return token.strip(" ").replace("\n", "↵").replace("$", r"\$") or "␣"


# --- heatmaps ---


def grid(run: Run, hypothesis: str, metric: str = "iia", split: str = "test") -> tuple[list[Any], list[str], Any]:
    """Rows (layer, component), positions in prompt order, and the metric (rows, positions), mean over seeds of the run's
    main subspace; nan where a budget skipped the site."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    summary = run.summary
    table = run.table()
    mine = table[(table["hypothesis"] == hypothesis) & (table["subspace"] == summary["hypotheses"][hypothesis]["subspace"])]
    values = mine.pivot_table(index=["layer", "component"], columns="position", values=f"{split}_{metric}")
    screened = run.screened()
    sites = mine if screened is None else screened[screened["hypothesis"] == hypothesis]
    rows = sorted(set(zip(sites["layer"], sites["component"], strict=True)))
    positions = [p for p in summary["tokens"] if p in set(sites["position"])]
    index = pd.MultiIndex.from_tuples(rows)
    return rows, positions, values.reindex(index=index, columns=positions).to_numpy()


def heatmap(run: Run, hypothesis: str, ax: Axes | None = None, metric: str = "iia", bar: bool = True) -> Axes:
    """Layers × positions on a fixed scale from 0 to 1, each cell with its number; floor and ceiling on the colour bar, and
    the cell that was chosen on validation outlined."""
    rows, positions, values = grid(run, hypothesis, metric)
    entry = run.summary["hypotheses"][hypothesis]
    ax = _axes(ax, (1.9 + 0.52 * len(positions), 1.7 + 0.42 * len(rows)))
    image = ax.imshow(values, origin="lower", aspect="auto", cmap=COLOURS, vmin=0, vmax=1)
    ax.set_facecolor(SKIPPED)
    _numbers(ax, values)
    tokens = run.summary["tokens"]
    ax.set_xticks(range(len(positions)), [f"{_shown(tokens[p])}\n{p.replace('last-', '−')}" for p in positions], fontsize=8)
    several = len({component for _, component in rows}) > 1
    ax.set_yticks(range(len(rows)), [f"{layer} · {c.replace('_', ' ')}" if several else str(layer) for layer, c in rows])
    ax.set_xlabel("token of an example prompt, position")
    ax.set_ylabel("layer" if several or rows[0][1] == "block_output" else f"layer, {rows[0][1]}")
    skipped = ", grey: not trained" if np.isnan(values).any() else ""
    ax.set_title(f"{entry['hypothesis']}\n{METRICS[metric]} on test pairs, {entry['subspace']}{skipped}", fontsize=10)
    corner = positions.index(entry["position"]) - 0.5, rows.index((entry["layer"], entry["component"])) - 0.5
    ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d62728", linewidth=2.5, clip_on=False, zorder=3))
    if bar:
        _bar(ax, image, entry["baselines"])
    return ax


def _numbers(ax: Axes, values: Any) -> None:
    """Each cell's number, black or white by the colour under it."""
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if np.isfinite(value):
            text = f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else "1.0"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color="black" if value > 0.6 else "white")


def _bar(ax: Axes, image: Any, baselines: Mapping[str, float]) -> None:
    """The colour bar, with the floor (no-op) and the ceiling (the network's own accuracy) marked."""
    bar = ax.get_figure().colorbar(image, ax=ax, pad=0.02, fraction=0.05)  # type: ignore[union-attr]
    for name in ("noop", "ceiling"):
        bar.ax.axhline(baselines[name], color="black", linewidth=2)
        bar.ax.axhline(baselines[name], color="white", linewidth=0.8)
    ticks = [t for t in (0, 0.25, 0.5, 0.75, 1) if all(abs(t - baselines[n]) > 0.06 for n in ("noop", "ceiling"))]
    marks = [baselines["noop"], baselines["ceiling"]]
    labels = [f"no-op {marks[0]:.2f}", f"ceiling {marks[1]:.2f}", *(f"{t:g}" for t in ticks)]
    bar.ax.set_yticks([*marks, *ticks], labels, fontsize=8)


def all_heatmaps(run: Run, metric: str = "iia") -> Figure:
    """The heatmaps of all hypotheses side by side."""
    names = list(run.summary["hypotheses"])
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    layers, positions, _ = grid(run, names[0], metric)
    size = columns * (1.9 + 0.47 * len(positions)), rows * (1.6 + 0.36 * len(layers))
    figure = Figure(figsize=size, layout="constrained")
    for index, name in enumerate(names):
        heatmap(run, name, figure.add_subplot(rows, columns, index + 1), metric)
    return figure


# --- rank curves ---


def rank_curve(run: Run, hypothesis: str, ax: Axes | None = None) -> Axes:
    """IIA against the number of swapped columns at the chosen cell: Nested's whole curve (mean and range over seeds), the
    ranks that were found, and the baselines."""
    entry = run.summary["hypotheses"][hypothesis]
    ax = _axes(ax, (5.2, 3.6))
    results = run.results()
    here = results[(results["hypothesis"] == hypothesis) & (results["layer"] == entry["layer"])]
    here = here[here["component"] == entry["component"]]
    curve = here[(here["position"] == entry["position"]) & (here["width"] > 0) & (here["split"] == "test")]
    variables = entry["hypothesis"].count("+") + 1
    for subspace, rows in curve.groupby("subspace"):
        by_width = rows.groupby("width")["value"]
        ranks = variables * by_width.mean().index.to_numpy()
        ax.plot(ranks, by_width.mean(), color="#0072b2", marker=".", label=f"{subspace}, by rank")
        ax.fill_between(ranks, by_width.min(), by_width.max(), color="#0072b2", alpha=0.2, linewidth=0)
    for marker, (name, found) in zip("osD^v", _found(entry).items(), strict=False):
        ax.plot(
            found["rank"], found["test_iia"], marker, color="#d55e00", markersize=8, label=f"{name}: rank {found['rank']:g}"
        )
    for name, style in (("whole", "--"), ("noop", ":"), ("random", "-.")):
        value = entry["baselines"][name]
        ax.axhline(value, linestyle=style, color=INK[name], label=f"{name} {value:.2f}")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("swapped columns" + (f", {variables} variables together" if variables > 1 else ""))
    ax.set_ylabel("IIA on test pairs")
    ax.set_title(f"{entry['hypothesis']} at {place_text(entry)}", fontsize=10)
    ax.legend(fontsize=7, loc="lower right")
    return ax


def _found(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {entry["subspace"]: entry, **entry["beside"]}


def figures(run: Run) -> list[Path]:
    """Draws every figure of a run into its folder; their paths."""
    drawn: dict[str, Any] = {}
    for name in run.summary["hypotheses"]:
        drawn[f"heatmap_{name}.png"] = heatmap(run, name).get_figure()
        drawn[f"rank_{name}.png"] = rank_curve(run, name).get_figure()
    drawn["heatmaps.png"] = all_heatmaps(run)
    for file, figure in drawn.items():
        figure.savefig(run.folder / file, dpi=150)
    return [run.folder / file for file in drawn]


# --- causal models ---


def dag(parents: Mapping[str, Sequence[str]], output: str, ax: Axes | None = None) -> Axes:
    """A causal model: every variable above its parents, inputs at the bottom."""
    depth: dict[str, int] = {}
    for name, above in parents.items():
        depth[name] = 1 + max((depth[p] for p in above), default=-1)
    levels = [[n for n in parents if depth[n] == level] for level in range(max(depth.values()) + 1)]
    place = {n: ((i + 1) / (len(level) + 1), y) for y, level in enumerate(levels) for i, n in enumerate(level)}
    widest = max(map(len, levels))
    ax = _axes(ax, (1.6 * widest + 1, 1.1 * len(levels) + 0.4))
    for name, above in parents.items():
        for parent in above:
            ax.annotate(
                "",
                place[name],
                place[parent],
                arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 14, "shrinkB": 14},
            )
        face = "#fde0c5" if name == output else "#dbe9f6" if above else "#eeeeee"
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#333333"}
        ax.text(*place[name], name, ha="center", va="center", fontsize=9, bbox=box)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.5, len(levels) - 0.5)
    ax.axis("off")
    return ax
