"""DAG: a causal model as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from das.draw.axes import axes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def levels(parents: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The variables by how far they are from the inputs, these first. parents: of every variable, which stand before it."""
    depth: dict[str, int] = {}
    for name, above in parents.items():
        depth[name] = 1 + max((depth[p] for p in above), default=-1)
    return [[n for n in parents if depth[n] == level] for level in range(max(depth.values()) + 1)]


def dag(parents: Mapping[str, Sequence[str]], output: str, ax: Axes | None = None) -> Axes:
    """A causal model: every variable above its parents, inputs at the bottom."""
    floors = levels(parents)
    place = {n: ((i + 1) / (len(level) + 1), y) for y, level in enumerate(floors) for i, n in enumerate(level)}
    widest = max(map(len, floors))
    ax = axes_of(ax, (1.6 * widest + 1, 1.1 * len(floors) + 0.4))
    for name, above in parents.items():
        for parent in above:
            look = {"arrowstyle": "-|>", "color": "#555555", "shrinkA": 14, "shrinkB": 14}
            bend = f"arc3,rad={_bend(place, place[parent], place[name])}"
            ax.annotate("", place[name], place[parent], arrowprops=look | {"connectionstyle": bend})
        face = "#fde0c5" if name == output else "#dbe9f6" if above else "#eeeeee"
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#333333"}
        ax.text(*place[name], name, ha="center", va="center", fontsize=9, bbox=box)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.5, len(floors) - 0.5)
    ax.axis("off")
    return ax


def _bend(place: Mapping[str, tuple[float, int]], start: tuple[float, int], end: tuple[float, int]) -> float:
    """How an arrow is bent so as to pass beside what lies on the floors between, to the right (above 0) or to the left."""
    middle = (start[0] + end[0]) / 2
    crossed = [x for x, y in place.values() if start[1] < y < end[1] and abs(x - middle) < 0.15]
    return 0.0 if not crossed else 0.3 if crossed[0] <= middle else -0.3


def svg(parents: Mapping[str, Sequence[str]], output: str) -> str:
    """The same as an inline picture for a page."""
    drawn = StringIO()
    figure: Figure = dag(parents, output).get_figure(root=True)  # type: ignore[assignment]
    figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "<svg" + drawn.getvalue().partition("<svg")[2]
