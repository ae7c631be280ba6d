"""Early: heatmaps of a grid while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from das.draw.axes import title
from das.draw.gallery import ALL, save
from das.draw.heatmaps import grey_numbers, image_of, numbers, size_of, spread, ticks
from das.find.sites import row_order
from das.progress import Reporter, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.run.early import Early


def draw_early(folder: Path, seen: Early, report: Reporter = silent) -> None:
    """Draws what there is to see into a run's folder, under the name of the figure of all its heatmaps; says where the first
    one is."""
    new = not (folder / ALL).exists()
    save(folder, {ALL: early_heatmaps(seen)})
    if new:
        report.say(f"first picture: {folder / ALL}, drawn anew as there is more to see")


def early_heatmaps(seen: Early) -> Figure:
    """The maps of all hypotheses side by side: validation IIA at the last check; before the first one, what swapping the whole
    vector does."""
    table = seen.table
    positions = [position for position in seen.tokens if position in set(table["position"])]
    rows = sorted(set(zip(table["layer"], table["component"], strict=True)), key=row_order)
    columns = min(2, len(seen.names))
    lines = -(-len(seen.names) // columns)
    width, height = size_of(rows, positions)
    figure = Figure(figsize=(columns * width, lines * height), layout="constrained")
    for at, (short_name, name) in enumerate(seen.names.items(), 1):
        ax = figure.add_subplot(lines, columns, at)
        mine = table[table["hypothesis"] == short_name]
        text = _map(ax, spread(mine, "iia", rows, positions), spread(mine, "whole", rows, positions), seen.steps)
        ticks(ax, rows, {p: seen.tokens[p] for p in positions}, "")
        title(ax, {"hypothesis": name}, text)
    return figure


def _map(ax: Axes, iia: Any, whole: Any, steps: int) -> str:
    """Draws a map; what is to be said of it."""
    begun = bool(np.isfinite(iia).any())
    image = image_of(ax, iia if begun else whole)
    numbers(ax, image, None)
    if not begun:
        return "nothing trained yet: validation IIA of swapping the whole vector"
    grey_numbers(ax, iia, whole)
    left = ", grey: not yet (whole swap)" if np.isnan(iia).any() else ""
    return f"validation IIA so far, {steps} steps{left}"
