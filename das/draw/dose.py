"""Dose: pictures of what adding a direction does to the answers (see `das.judge.dose`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from das.network.site import place_text
from das.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = {
    "add": ("the direction", "#0072b2", "-"),
    "random": ("a random direction", "#777777", "--"),
    "piecewise": ("the direction, piecewise", "#d55e00", "-"),
}
"""Curve → what is added, a colour of Okabe and Ito, a line style."""

PANELS = {"the answer of the upper level": ("add", "random"), "the prompt's own answer": ("piecewise",)}
"""What answer is asked for → the curves that it is asked of."""

MEASURES = {"probability": "probability", "accuracy": "share that gives it"}


def dose_figure(entry: Mapping[str, Any]) -> Figure:
    """A row per variable that has a direction: probability and share of an answer against the dose. entry: the hypothesis' part
    of a run's summary, with a scorecard that holds doses."""
    dose = entry["scorecard"]["dose"]
    columns = [(answer, measure) for answer in PANELS for measure in MEASURES if _known(dose, answer, measure)]
    figure = Figure(figsize=(3.1 * len(columns) + 0.6, 2.7 * len(dose) + 0.8), layout="constrained")
    axes = figure.subplots(len(dose), len(columns), squeeze=False, sharex=True, sharey=True)
    for row, (variable, curves) in zip(axes, dose.items(), strict=True):
        for ax, (answer, measure) in zip(row, columns, strict=True):
            _panel(ax, curves, PANELS[answer], measure)
        row[0].set_ylabel(plain(variable), fontsize=9)
    for ax, (answer, measure) in zip(axes[0], columns, strict=True):
        ax.set_title(f"{answer}:\n{MEASURES[measure]}", fontsize=9)
    figure.supxlabel("dose, in units of the natural spread along the direction", fontsize=9)
    figure.suptitle(plain(f"{entry['hypothesis']}: a direction added, {place_text(entry)}"), fontsize=10.5)
    return figure


def _known(dose: Mapping[str, Any], answer: str, measure: str) -> bool:
    return any(measure in curves[name] for curves in dose.values() for name in PANELS[answer])


def _panel(ax: Axes, curves: Mapping[str, Any], names: Sequence[str], measure: str) -> None:
    for name in names:
        label, ink, style = LINES[name]
        if measure in curves[name]:
            ax.plot(curves["alpha"], curves[name][measure], style, color=ink, marker=".", label=label)
    ax.axvline(0, color="#bbbbbb", linewidth=1, zorder=0)
    ax.set_ylim(-0.03, 1.03)
    ax.grid(color="#eeeeee")
    ax.legend(fontsize=7.5, frameon=False)
