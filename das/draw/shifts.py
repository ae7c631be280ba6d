"""Pictures of robustness: maps of IIA under a shift beside those at home, and who was trained where against tested where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from das.draw.axes import inches_of, write
from das.draw.gallery import save
from das.draw.heatmaps import COLOURS, SKIPPED, hatch, numbers, outline, size_of, ticks
from das.find.sites import row_order
from das.task.variant import BASE
from das.text import fitted, short, spread, two
from das.transfer.robustness import NOT_SOLVED, UNTOLD, Robustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIFFERENCE = "RdBu"
UNDEFINED = NOT_SOLVED, UNTOLD
"""Outcomes that say nothing of the alignment."""


def figures(robustness: Robustness) -> list[Path]:
    """Draws `shift_<name>.png` for every shift and `shift_matrix.png` into the run's folder; their paths."""
    drawn = {f"shift_{folder.path.name}.png": maps(robustness, name) for name, folder in robustness.folders.items()}
    if robustness.folders:
        drawn["shift_matrix.png"] = matrices(robustness)
    return save(robustness.run.folder, drawn)


# --- maps ---


def maps(robustness: Robustness, shift: str) -> Figure:
    """A row per hypothesis: IIA of the run's alignments at home, under the shift, and the difference."""
    names = robustness.hypotheses
    rows, positions, _ = _map(robustness, BASE, names[0])
    width, height = size_of(rows, positions)
    figure = Figure(figsize=(3 * width, len(names) * height + 0.6), layout="constrained")
    for i, name in enumerate(names):
        _three(robustness, shift, name, [figure.add_subplot(len(names), 3, 3 * i + column + 1) for column in range(3)])
    share, solved = robustness.accuracy(shift)
    note = "" if solved else ": task not solved under this shift, so that robustness is not defined"
    figure.suptitle(f"under {shift}: the network answers {share:.2f} of the prompts{note}", fontsize=12)
    return figure


def _map(robustness: Robustness, tested: str, hypothesis: str) -> tuple[list[Any], list[str], Any]:
    """Rows (layer, component), positions in prompt order, IIA (rows, positions)."""
    home = robustness.map(BASE, BASE, hypothesis)
    values = robustness.map(BASE, tested, hypothesis).reindex(home.index).unstack("position")
    positions = [p for p in robustness.summaries[BASE]["tokens"] if p in values.columns]
    values = values.reindex(index=pd.MultiIndex.from_tuples(sorted(values.index, key=row_order)), columns=positions)
    return list(values.index), positions, values.to_numpy()


def _three(robustness: Robustness, shift: str, hypothesis: str, axes: Sequence[Axes]) -> None:
    """The maps of one hypothesis."""
    rows, positions, home = _map(robustness, BASE, hypothesis)
    away = _map(robustness, shift, hypothesis)[2]
    entry, tokens = robustness.entry(BASE, hypothesis), robustness.summaries[BASE]["tokens"]
    found = robustness.row(hypothesis, BASE, shift) or {}
    cell = rows.index((entry["layer"], entry["component"])), positions.index(entry["position"])
    texts = [
        f"{entry['hypothesis']}: as trained (chosen cell {two(home[cell])})",
        f"under {shift} ({two(away[cell])}): {found['outcome']}",
        f"difference; correlation {two(found['correlation'])}, other hypotheses' maps {spread(found['wrong'].values())}",
    ]
    for ax, values, text in zip(axes, (home, away, away - home), texts, strict=True):
        _panel(ax, values, cell, apart=ax is axes[2])
        ticks(ax, rows, {p: tokens[p] for p in positions}, "")
        ax.set_title(fitted(text, inches_of(ax)[0], 10), fontsize=10)
    for ax in axes[::2]:
        ax.get_figure().colorbar(ax.images[0], ax=ax, pad=0.02, fraction=0.05)  # type: ignore[union-attr]


def _panel(ax: Axes, values: Any, cell: tuple[int, int], apart: bool) -> None:
    """A map with the chosen cell (row, column) outlined; apart: of differences."""
    colours, least = (DIFFERENCE, -1) if apart else (COLOURS, 0)
    image = ax.imshow(values, origin="lower", aspect="auto", cmap=colours, vmin=least, vmax=1)
    ax.set_facecolor(SKIPPED)
    numbers(ax, image, None)
    outline(ax, cell)


# --- matrices ---


def matrices(robustness: Robustness) -> Figure:
    """For every hypothesis the IIA of its chosen alignment: where it was trained × where it was tested."""
    names = robustness.hypotheses
    columns = min(2, len(names))
    deep = -(-len(names) // columns)
    across, down = len(robustness.tested), len(robustness.trained)
    size = columns * (2.4 + 0.95 * across), deep * (2.3 + 0.5 * down)
    figure = Figure(figsize=size, layout="constrained")
    for i, name in enumerate(names):
        _matrix(figure.add_subplot(deep, columns, i + 1), robustness, name)
    undefined = any(row["outcome"] in UNDEFINED for row in robustness.rows)
    hatched = "; hatched: task not solved, or not to be told" if undefined else ""
    figure.suptitle(f"IIA and its 95 % interval at the cell chosen where it was trained; below: no-op{hatched}", fontsize=11)
    return figure


def _matrix(ax: Axes, robustness: Robustness, hypothesis: str) -> None:
    values, full = robustness.matrix(hypothesis), robustness.entry(BASE, hypothesis)["hypothesis"]
    trained, tested = list(values.index), list(values.columns)
    ax.imshow(values.to_numpy(float), cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    ax.set_facecolor(SKIPPED)
    for row in (r for r in robustness.rows if r["hypothesis"] == full and r["iia"] == r["iia"]):
        cell = trained.index(row["trained"]), tested.index(row["tested"])
        ink = "white" if row["iia"] <= 0.6 else "black"
        write(ax, cell, short(row["iia"]), 8, 9, color=ink)
        write(ax, cell, f"{short(row['low'])}–{short(row['high'])}", -1, 6, color=ink)
        write(ax, cell, short(row["noop"]), -9, 6, color=ink)
        if row["outcome"] in UNDEFINED:
            hatch(ax, cell, ink)
    ax.set_xticks(range(len(tested)), [name.replace("_", "\n") for name in tested], fontsize=8)
    ax.set_yticks(range(len(trained)), trained, fontsize=8)
    ax.set_xlabel("tested under", fontsize=9)
    ax.set_ylabel("trained under", fontsize=9)
    ax.set_title(full, fontsize=10)
