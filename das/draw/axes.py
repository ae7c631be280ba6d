"""Axes: a frame to draw in, its title, and how a figure is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from das.text import fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_of(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes, or those of a new figure of that size in inches."""
    return Figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax


def inches_of(ax: Axes) -> tuple[float, float]:
    """About how wide and high the axes will be."""
    box, dpi = ax.get_window_extent(), ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    return box.width / dpi, box.height / dpi


def title(ax: Axes, entry: Mapping[str, Any], text: str) -> None:
    """The hypothesis, its verdict, and a line of text."""
    verdict = entry.get("verdict")
    head = entry["hypothesis"] + (f": {verdict['verdict']}" if verdict else "")
    width = inches_of(ax)[0]
    ax.set_title(f"{fitted(head, width, 10)}\n{fitted(text, width, 10)}", fontsize=10)


def write(ax: Axes, cell: tuple[int, int], text: str, up: float, size: float, **style: Any) -> None:
    """In a cell (row, column) of an image, so many points above its middle."""
    ax.annotate(text, cell[::-1], (0, up), fontsize=size, ha="center", va="center", textcoords="offset points", **style)
