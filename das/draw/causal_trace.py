"""Causal trace: which states bring the clean answer back, as maps over layers and positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from das.draw.heatmaps import hatch, image_of, numbers, size_of, ticks
from das.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"state": ("state", "states"), "mlp": ("MLP", "MLPs"), "attention": ("attention", "attentions")}
"""What of a layer is restored, of one and of several."""


def causal_trace_figure(table: pd.DataFrame, tokens: Mapping[str, str], about: Mapping[str, Any]) -> Figure:
    """A map for each kind of what is restored, side by side on one scale: the share of the lost probability that comes back.
    Hatched where the interval of what comes back holds 0. table: see `das.circuits.tracing.Traced`; tokens: position → the
    token there in an example prompt; about: see `das.use.causal_trace.CausalTrace`."""
    kinds = table["kind"].unique().tolist()
    rows = [(layer, "block_output") for layer in sorted(table["layer"].unique())]
    width, height = size_of(rows, list(tokens))
    figure = Figure(figsize=(width * len(kinds), height + 0.5), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        image = _map(ax, table[table["kind"] == kind], [layer for layer, _ in rows], list(tokens))
        ticks(ax, rows, tokens, "")
        ax.set_title(_title(kind, about["window"]), fontsize=10)
    figure.colorbar(image, ax=list(axes), pad=0.01, fraction=0.03)
    lost = about["clean"] - about["corrupted"]
    what = f"{about['hypothesis']}: {about['lm']}, corrupted by {about['corrupted_by']}, {about['pairs']} runs"
    note = f"share of the lost probability ({lost:.2f}) that comes back; hatched: the 95 % interval holds 0"
    figure.suptitle(plain(f"{what}\n{note}"), fontsize=10)
    return figure


def _title(kind: str, window: int) -> str:
    one, several = PARTS[kind]
    return f"one layer's {one}" if kind == "state" or window == 1 else f"{several} of {window} layers"


def _map(ax: Axes, table: pd.DataFrame, layers: list[int], positions: list[str]) -> Any:
    def values(column: str) -> Any:
        return table.pivot(index="layer", columns="position", values=column).reindex(index=layers, columns=positions).to_numpy()

    image = image_of(ax, values("recovered"))
    for cell in np.argwhere((values("effect_low") <= 0) & (values("effect_high") >= 0)):
        hatch(ax, tuple(cell), "white")
    numbers(ax, image, None)
    return image
