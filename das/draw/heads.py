"""Heads: what each attention head writes, and its role, layers upwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from das.circuits.roles import ROLES
from das.text import fitted, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = dict(zip(ROLES, ("#cc79a7", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#56b4e9"), strict=True))
"""Okabe and Ito's, which colour-blind people tell apart."""


def heads_figure(table: pd.DataFrame, title: str) -> Figure:
    """Two panels of layers × heads: what heads write to the logit difference, and their roles; a head of two roles is parted.
    table: see `das.circuits.roles.head_table`."""
    layers, heads = (int(table[name].max()) + 1 for name in ("layer", "head"))
    width = max(8.0, 2 * (0.34 * heads + 1.6))
    figure = Figure(figsize=(width, max(3.2, 0.24 * layers + 1.6)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _writes(figure, left, table, layers, heads)
    _roles(right, table, layers, heads)
    for ax in (left, right):
        ax.set_xlabel("head")
        ax.set_xticks(range(0, heads, 1 + heads // 17))
        ax.set_yticks(range(0, layers, 1 + layers // 17))
    left.set_ylabel("layer")
    figure.suptitle(fitted(plain(title), width - 0.5, 10), fontsize=10)
    return figure


def _writes(figure: Figure, ax: Axes, table: pd.DataFrame, layers: int, heads: int) -> None:
    wrote = table.pivot(index="layer", columns="head", values="writes").to_numpy()
    most = float(np.nanmax(np.abs(wrote))) if np.isfinite(wrote).any() else 1.0
    shown = ax.imshow(wrote, cmap="RdBu", vmin=-most, vmax=most, origin="lower", aspect="auto")
    figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set_title("writes to the logit difference", fontsize=9)


def _roles(ax: Axes, table: pd.DataFrame, layers: int, heads: int) -> None:
    for row in table[table["role"] != ""].to_dict("records"):
        names = row["role"].split(" + ")
        for i, name in enumerate(names):
            corner = row["head"] - 0.5 + i / len(names), row["layer"] - 0.5
            ax.add_patch(Rectangle(corner, 1 / len(names), 1, facecolor=COLOURS[name], edgecolor="white", linewidth=0.5))
    ax.set_xlim(-0.5, heads - 0.5)
    ax.set_ylim(-0.5, layers - 0.5)
    ax.set_title("role", fontsize=9)
    used = {name for each in table["role"] for name in each.split(" + ") if name}
    patches = [Patch(color=COLOURS[name], label=name) for name in ROLES if name in used]
    ax.figure.legend(handles=patches, fontsize=8, frameon=False, loc="outside right center")
