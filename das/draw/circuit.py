"""Circuit: edges between a network's parts, layers upwards, and what circuits of growing size carry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from das.draw.heads import COLOURS as ROLES
from das.text import fitted, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAYS = {"query": "#0072b2", "key": "#e69f00", "value": "#009e73", "MLP": "#cc79a7", "logits": "#000000"}
"""What an edge leads into, and its colour."""
PLACES = ("#56b4e9", "#f0e442", "#d55e00", "#90be6d", "#b39ddb", "#a1887f", "#80cbc4", "#f48fb1")
"""Colours of nodes, by the position at which most of what they write is read."""
ELSEWHERE = "#dddddd"
KINDS = {"network": "#0072b2", "random": "#999999", "untrained": "#e69f00"}


def circuit_figure(
    kept: pd.DataFrame, graph: Mapping[str, int], tokens: Mapping[str, str], roles: Mapping[str, str], title: str
) -> Figure:  # fmt: skip
    """The circuit's edges, the stronger the wider, coloured by what they lead into; its nodes coloured by the position that
    most of the score of what they write is due to, and framed by the first of a head's roles. kept: see
    `das.use.circuit.Circuit.kept`; graph: the fields of `das.circuits.graph.Graph`; roles: head → its roles."""
    layers, heads = graph["layers"], graph["heads"]
    width = max(7.0, 0.75 * heads + 3)
    figure = Figure(figsize=(width, max(4.5, 0.5 * layers + 2)), layout="constrained")
    ax = figure.add_subplot()
    _edges(ax, kept, graph)
    colours = _nodes(ax, kept, heads, layers, list(tokens), roles)
    ax.set_yticks(range(layers), [str(layer) for layer in range(layers)])
    ax.set_ylabel("layer")
    ax.set_xticks([*range(heads), heads + 0.5], [*(f"head {h}" for h in range(heads)), "MLP"], fontsize=8)
    ax.set_xlim(-0.7, heads + 1.2)
    ax.set_ylim(-1.5, layers + 0.5)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    _legends(figure, kept, colours, {_first(roles, name) for name in kept["writer"]} - {""})
    ax.set_title(fitted(plain(title), width - 1.5, 10), fontsize=10)
    return figure


def _place(name: str, heads: int, layers: int) -> tuple[float, float]:
    """Where a node stands."""
    if name in ("embedding", "logits"):
        return heads / 2, -1.0 if name == "embedding" else float(layers)
    kind, where = name.split(" ")
    if kind == "MLP":
        return heads + 0.5, float(where) + 0.4
    layer, head = where.split(".")
    return float(head), float(layer)


def _end(name: str, graph: Mapping[str, int]) -> tuple[float, float]:
    """Where an edge goes: keys and values of a group stand amid its heads."""
    x, y = _place(name, graph["heads"], graph["layers"])
    many = graph["heads"] // graph["groups"]
    return (x * many + (many - 1) / 2 if name.startswith(("key", "value")) else x), y


def _edges(ax: Axes, kept: pd.DataFrame, graph: Mapping[str, int]) -> None:
    most = float(kept["score"].abs().max()) or 1.0
    for row in kept.iloc[::-1].to_dict("records"):
        start, end = _place(row["writer"], graph["heads"], graph["layers"]), _end(row["reader"], graph)
        share = (abs(row["score"]) / most) ** 0.5
        bend = np.linspace(0, 1, 20)[:, None]
        curve = (1 - bend) ** 2 * start + 2 * bend * (1 - bend) * np.array([end[0], start[1]]) + bend**2 * np.array(end)
        ax.add_collection(
            LineCollection(
                [curve], colors=WAYS[row["reader"].split(" ")[0]], linewidths=0.3 + 3.5 * share, alpha=0.2 + 0.6 * share
            )
        )


def _nodes(
    ax: Axes, kept: pd.DataFrame, heads: int, layers: int, positions: list[str], roles: Mapping[str, str]
) -> dict[str, str]:  # fmt: skip
    """Draws the nodes; the colour of each position that occurs."""
    used: dict[str, str] = {}
    for name in dict.fromkeys(kept["writer"]):
        columns = [f"score@{position}" for position in positions if f"score@{position}" in kept]
        parts = kept[kept["writer"] == name][columns].abs().sum()
        mine = kept[kept["writer"] == name]["score"].abs().sum()
        at = str(parts.idxmax())[len("score@") :] if len(parts) and parts.max() >= mine / 2 else ""
        colour = used.setdefault(at, PLACES[len(used.keys() - {""}) % len(PLACES)] if at else ELSEWHERE)
        _node(ax, name, _place(name, heads, layers), colour, _first(roles, name))
    _node(ax, "logits", _place("logits", heads, layers), "white", "")
    return used


def _first(roles: Mapping[str, str], name: str) -> str:
    return roles.get(name, "").split(" + ")[0]


def _node(ax: Axes, name: str, at: tuple[float, float], colour: str, role: str) -> None:
    text = name if name in ("embedding", "logits") else name.split(" ")[1]
    frame, width = (ROLES[role], 2.2) if role else ("#444444", 0.6)
    box = {"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": frame, "linewidth": width}
    ax.annotate(text, at, fontsize=7, ha="center", va="center", bbox=box, zorder=3)


def _legends(figure: Figure, kept: pd.DataFrame, colours: Mapping[str, str], roles: Collection[str]) -> None:
    ways = [way for way in WAYS if kept["reader"].str.startswith(way).any()]
    lines = [Line2D([], [], color=WAYS[way], lw=2, label=f"into {way}") for way in ways]
    dots = [
        Line2D(
            [], [], color="none", marker="s", markerfacecolor=colour, markeredgecolor="#444444", label=at or "at several tokens"
        )
        for at, colour in colours.items()
    ]
    frames = [
        Line2D([], [], color="none", marker="s", markerfacecolor="white", markeredgecolor=ROLES[role], mew=2, label=role)
        for role in ROLES
        if role in roles
    ]
    figure.legend(handles=[*lines, *dots, *frames], fontsize=7.5, frameon=False, loc="outside right center")


def curve_figure(curve: pd.DataFrame, test: pd.DataFrame, about: Mapping[str, Any], title: str) -> Figure:
    """Faithfulness and completeness of circuits on validation pairs against their number of edges, by whose they are, with
    their 95 % intervals; stars: the circuit chosen, on test pairs. See `das.use.circuit.Circuit`."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, name in zip(axes, ("faithfulness", "completeness"), strict=True):
        for kind, mine in curve.groupby("kind", sort=False):
            _line(ax, mine[mine["edges"] > 0].sort_values("edges"), str(kind), name)
        chosen = test[test["kind"] == "network"].iloc[0]
        ax.plot(chosen["edges"], chosen[name], "*", color=KINDS["network"], markersize=13, markeredgecolor="black")
        ax.set_xscale("log")
        ax.set_xlabel("edges in the circuit")
        ax.grid(color="#eeeeee")
        ax.set_ylim(-0.03, 1.03)
    axes[0].axhline(about["threshold"], color="#bbbbbb", lw=0.8, ls="--")
    axes[0].set_title("faithfulness: the base's answer stays,\nall outside swapped", fontsize=9)
    axes[1].set_title(f"completeness: {_came(about['swap'])},\nall inside swapped", fontsize=9)
    axes[1].legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("share of pairs")
    figure.suptitle(fitted(plain(title), 9, 10), fontsize=10)
    return figure


def _came(swap: str) -> str:
    return "the source's answer comes" if swap == "source" else "the base's answer goes"


def _line(ax: Axes, mine: pd.DataFrame, kind: str, name: str) -> None:
    edges, colour = mine["edges"].to_numpy(), KINDS[kind]
    ax.fill_between(edges, mine[f"{name}_low"], mine[f"{name}_high"], color=colour, alpha=0.15, lw=0)
    ax.plot(edges, mine[name], "o-", color=colour, ms=3.5, lw=1.2, label=kind)
