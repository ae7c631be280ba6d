"""Axes: a frame to draw in, its title, and how a figure is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from das.text import fitted, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def axes_of(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes, or those of a new figure of that size in inches."""
    return Figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax


def inches_of(ax: Axes) -> tuple[float, float]:
    """About how wide and high the axes will be."""
    box, dpi = ax.get_window_extent(), ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    return box.width / dpi, box.height / dpi


ACROSS = 5
"""Panels in a row."""


def share_panels(
    groups: Iterable[tuple[Any, pd.DataFrame]], draw: Callable[[Axes, pd.DataFrame], None], size: tuple[float, float],
    what: str, against: str,
) -> Figure:  # fmt: skip
    """A panel for each group of a table, at most `ACROSS` side by side, of shares against something. draw: what fills a panel
    with the group's rows; size: of a panel in inches."""
    panels = list(groups)
    down = -(-len(panels) // ACROSS)
    across = -(-len(panels) // down)
    figure = Figure(figsize=(size[0] * across + 0.6, size[1] * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False, sharey=True).flat
    for ax in list(places)[len(panels) :]:
        ax.remove()
    for ax, (name, each) in zip(figure.axes, panels, strict=True):
        draw(ax, each)
        ax.set_title(plain(str(name)), fontsize=9)
        ax.set_ylim(-0.03, 1.03)
        ax.grid(color="#eeeeee")
    for ax in figure.axes[::across]:
        ax.set_ylabel(what, fontsize=9)
    figure.axes[0].legend(fontsize=7.5, frameon=False)
    figure.supxlabel(against, fontsize=9)
    return figure


def title(ax: Axes, entry: Mapping[str, Any], text: str) -> None:
    """The hypothesis, its verdict, and a line of text."""
    verdict = entry.get("verdict")
    head = entry["hypothesis"] + (f": {verdict['verdict']}" if verdict else "")
    width = inches_of(ax)[0]
    ax.set_title(f"{fitted(head, width, 10)}\n{fitted(text, width, 10)}", fontsize=10)


def write(ax: Axes, cell: tuple[int, int], text: str, up: float, size: float, **style: Any) -> None:
    """In a cell (row, column) of an image, so many points above its middle."""
    ax.annotate(text, cell[::-1], (0, up), fontsize=size, ha="center", va="center", textcoords="offset points", **style)
