"""Pictures of what one hypothesis rests on: IIA by rank against its nulls, and its scorecard.

`entry` is the hypothesis' part of a run's summary, `card` the scorecard in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from das.find.sites import SITE
from das.judge.verdict import UNLEARNED
from das.network.site import place_text
from das.text import fitted, plain, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.run.folder import Folder
from das.draw.axes import axes_of, title, write

FOUND = "#0072b2", "#d55e00"


LUCK = "#e9e9e9"


NULLS = {
    "untrained": ("untrained network", "#e69f00", "--"),
    "shuffled": ("shuffled answers", "#009e73", "-."),
    "random": ("random subspaces", "#cc79a7", ":"),
}


BASELINES = {
    "whole": ("whole vector", "#222222", "--"),
    "noop": ("no-op", "#222222", ":"),
    "random": ("random subspace", "#cc79a7", "-"),
}
"""Colours of Okabe and Ito, which colour-blind readers tell apart, each with a line style of its own."""


READ_AS = "cause: answers flipped that should flip", "others: answers kept from flipping", "grey: not asked"


NOT_ASKED = "#dddddd"


INK = {"decoding": "#009e73", "interchange": "#0072b2", "ablation": "#d55e00", "recovery": "#cc79a7"}
"""A colour per level of evidence."""


FAILING = "#d55e00"


FAILURES = 3.7
"""Inches in width for the groups that fail."""


def luck(entry: Mapping[str, Any]) -> tuple[float, str]:
    """What an IIA must exceed, and its name: the highest 95 % quantile of a null's best of the grid or, where no nulls were
    run, the best that takes no learning."""
    nulls = [null["quantile95"] for null in entry.get("nulls", {}).values()]
    if nulls:
        return max(nulls), f"the null ({short(max(nulls))})"
    best = max(entry["baselines"][name] for name in UNLEARNED)
    return best, f"no-op, majority and random ({short(best)})"


# --- capacity ---


def rank_curve(run: Folder, hypothesis: str, ax: Axes | None = None) -> Axes:
    """IIA against rank at the chosen cell: the alignment's curve and the ranks that were found, on test pairs; what the same
    search finds where there is nothing to be found, on validation pairs; and the baselines. What luck reaches is shaded."""
    entry = run.summary["hypotheses"][hypothesis]
    ax = axes_of(ax, (7.6, 4.2))
    variables = entry["hypothesis"].count("+") + 1
    _found_curve(ax, _curve_rows(run.results(), hypothesis, entry), entry, variables)
    nulls = run.nulls()
    if nulls is not None:
        _null_curves(ax, _curve_rows(nulls, hypothesis, entry), entry, variables)
    _baselines(ax, entry)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
    ax.set_xlabel("rank: swapped columns" + (f", {variables} variables together" if variables > 1 else ""))
    ax.set_ylabel("IIA")
    title(ax, entry, place_text(entry))
    ax.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.03, 1.02), frameon=False, handlelength=2.6)
    return ax


def _curve_rows(table: pd.DataFrame, hypothesis: str, entry: Mapping[str, Any]) -> pd.DataFrame:
    """A table's rows of curves at the chosen cell."""
    mine = (table["hypothesis"] == hypothesis) & (table["width"] > 0)
    for part in SITE:
        mine &= table[part] == entry[part]
    return table[mine]


def _curve(ax: Axes, by_width: Any, variables: int, ink: str, **style: Any) -> None:
    """Mean over seeds or draws, and their range, at the widths that all of them have."""
    count = by_width.count()
    everywhere = count[count == count.max()].index
    mean, low, high = (part.loc[everywhere] for part in (by_width.mean(), by_width.min(), by_width.max()))
    ranks = variables * everywhere.to_numpy()
    ax.plot(ranks, mean, color=ink, **style)
    ax.fill_between(ranks, low, high, color=ink, alpha=0.2, linewidth=0)


def _header(ax: Axes, text: str) -> None:
    """A line of the legend without a mark."""
    ax.plot([], [], " ", label=text)


def _found_curve(ax: Axes, rows: pd.DataFrame, entry: Mapping[str, Any], variables: int) -> None:
    _header(ax, "alignment, on test pairs")
    for subspace, mine in rows[rows["split"] == "test"].groupby("subspace"):
        if mine["width"].nunique() > 1:
            _curve(ax, mine.groupby("width")["value"], variables, FOUND[0], marker=".", label=f"{subspace}, by rank")
    for marker, (name, found) in zip("osD^v", {entry["subspace"]: entry, **entry["beside"]}.items(), strict=False):
        label = f"{name}: rank {found['rank']:g}, IIA {found['test_iia']:.2f}"
        ax.plot(found["rank"], found["test_iia"], marker, color=FOUND[1], markersize=8, label=label)


def _null_curves(ax: Axes, rows: pd.DataFrame, entry: Mapping[str, Any], variables: int) -> None:
    """A curve per null, and at the right edge the 95 % quantile of its best of the whole grid."""
    found = entry.get("nulls", {})
    draws = max((len(null["draws"]) for null in found.values()), default=0)
    _header(ax, f"\nnulls, on validation pairs ({draws} draws)\n◂ 95 % quantile of the best of the grid")
    for null, (label, ink, style) in NULLS.items():
        mine = rows[rows["null"] == null]
        if null in found:
            limit = found[null]["quantile95"]
            _curve(ax, mine.groupby("width")["iia"], variables, ink, linestyle=style, label=f"{label} ◂ {limit:.2f}")
            ax.plot(1.012, limit, "<", color=ink, markersize=6, transform=ax.get_yaxis_transform(), clip_on=False)


def _baselines(ax: Axes, entry: Mapping[str, Any]) -> None:
    """Baselines as lines, what luck reaches as a band from below, and the scale that shows them all."""
    limit, name = luck(entry)
    _header(ax, "\nbaselines, on test pairs")
    for baseline, (label, ink, style) in BASELINES.items():
        value = entry["baselines"][baseline]
        ax.axhline(value, linestyle=style, color=ink, linewidth=1, label=f"{label} {value:.2f}")
    bottom = max(0.0, np.floor(10 * ax.dataLim.y0 - 0.5) / 10)
    ax.set_ylim(bottom, 1.02)
    ax.axhspan(bottom, limit, color=LUCK, zorder=0, label=f"not above {name}")


# --- the scorecard ---


def evidence(entry: Mapping[str, Any]) -> Figure:
    """Cause and isolation of each variable; the four levels of evidence; where it fails. Under the verdict's sentence."""
    card = entry["scorecard"]
    rows, columns, shares = effects(card, entry["hypothesis"].partition(".")[2].split("+"))
    steps = levels(card)
    widths = 0.58 * max(3, len(columns)), 3.8, FAILURES
    size = sum(widths) + 4.6, max(4.4, 1.9 + 0.36 * len(steps), 2.6 + 0.55 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=widths)
    _effects(left, rows, columns, shares, card, entry.get("test_off_manifold"))
    _levels(middle, steps)
    _failures(right, entry)
    sentence = entry["verdict"]["sentence"] if entry.get("verdict") else entry["hypothesis"]
    figure.suptitle(fitted(sentence, 0.9 * size[0], 10.5), fontsize=10.5)
    return figure


def effects(card: Mapping[str, Any], variables: Sequence[str] = ()) -> tuple[list[str], list[str], Any]:
    """Aligned variables; `cause` and the other variables; shares (variables, columns), nan where not asked. variables: those to
    be named where nothing was asked of any."""
    rows = list(dict.fromkeys([*card["decoding"], *card["cause"], *card["isolate"]])) or list(variables)
    others = list(dict.fromkeys(other for kept in card["isolate"].values() for other in kept))
    table = [{"cause": card["cause"].get(row, np.nan), **card["isolate"].get(row, {})} for row in rows]
    shares = [[line.get(column, np.nan) for column in ("cause", *others)] for line in table]
    return rows, ["cause", *others], np.array(shares, float).reshape(len(rows), 1 + len(others))


def _more(card: Mapping[str, Any], off_manifold: float | None) -> list[str]:
    """Figures that belong to no panel, two in a line."""
    named = {name: card.get(name.replace(" ", "_")) for name in ("disentangle", "complete", "rest", "read share")}
    known = [f"{name} {short(share)}" for name, share in (named | {"off-manifold": off_manifold}).items() if share is not None]
    return [", ".join(known[i : i + 2]) for i in range(0, len(known), 2)]


def _effects(
    ax: Axes, rows: Sequence[str], columns: Sequence[str], shares: Any, card: Mapping[str, Any], off_manifold: float | None
) -> None:
    """Under a share of cause, that of the whole vector; below, what else is known."""
    ax.imshow(shares, aspect=0.85, cmap="viridis", vmin=0, vmax=1)
    ax.set_anchor("N")
    ax.set_facecolor(NOT_ASKED)
    for row, column in np.argwhere(np.isfinite(shares)):
        whole = card["whole_cause"].get(rows[row]) if column == 0 else None
        ink = "black" if shares[row, column] > 0.6 else "white"
        up = 0 if whole is None else 4
        write(ax, (row, column), short(shares[row, column]), up, 10, color=ink)
        if whole is not None:
            write(ax, (row, column), f"whole {short(whole)}", -9, 6.5, color=ink)
    ax.axvline(0.5, color="white", linewidth=4)
    ax.set_xticks(range(len(columns)), map(plain, columns), rotation=35, ha="right", rotation_mode="anchor", fontsize=8.5)
    ax.set_yticks(range(len(rows)), map(plain, rows), fontsize=8.5)
    ax.set_xlabel("\n".join([*READ_AS, "", *_more(card, off_manifold)]), fontsize=8)
    ax.set_title("cause, and isolation from the others", fontsize=10)


# --- the four levels ---


@dataclass(frozen=True)
class Step:
    """A figure of the scorecard: from a reference to what was found, beside something to compare it with."""

    level: str
    label: str
    start: float
    end: float
    words: str
    mark: float | None = None


def levels(card: Mapping[str, Any]) -> list[Step]:
    """The four levels of evidence; what could not be asked is left out."""
    steps = [_decoding(v, found, common, card.get("arbitrary", {}).get(v)) for v, (found, common) in card["decoding"].items()]
    if card["natural"] is not None:
        words = f"answer as before {short(card['expected'])} → {short(card['natural'])}"
        steps.append(Step("interchange", "natural IIA", card["expected"], card["natural"], words))
    for v, share in card["cause"].items():
        whole = card["whole_cause"].get(v)
        beside = f", whole vector {short(whole)}" if whole is not None else ""
        steps.append(Step("interchange", f"flips by {v}", 0, share, f"0 → {short(share)}{beside}", whole))
    if card["resampled"] is not None:
        words = f"clean {short(card['clean'])} → {short(card['resampled'])}, expected {short(card['expected'])}"
        steps.append(Step("ablation", "resample ablation", card["clean"], card["resampled"], words, card["expected"]))
    for name, part in (("mean ablation", "averaged"), ("zero ablation", "zeroed")):
        if (left := card.get(part)) is not None:
            steps.append(Step("ablation", name, card["clean"], left, f"clean {short(card['clean'])} → {short(left)}"))
    if card["restored"] is not None:
        name = "expected_restored" if card.get("expected_restored") is not None else "clean"
        words = f"wiped {short(card['wiped'])} → {short(card['restored'])}, {name.split('_')[0]} {short(card[name])}"
        steps.append(Step("recovery", "recovery", card["wiped"], card["restored"], words, card[name]))
    return steps


def _decoding(variable: str, found: float, common: float, arbitrary: float | None) -> Step:
    beside = "" if arbitrary is None else f", arbitrary values {short(arbitrary)}"
    words = f"commonest class {short(common)} → {short(found)}{beside}"
    return Step("decoding", f"decoding {variable}", common, found, words, arbitrary)


def _levels(ax: Axes, steps: Sequence[Step]) -> None:
    if not steps:
        ax.text(0.5, 0, "not asked", ha="center", va="center", fontsize=10)
    for y, step in enumerate(steps):
        ink = INK[step.level]
        ax.plot([step.start, step.end], [y, y], color=ink, linewidth=2.5, alpha=0.5, zorder=1)
        ax.plot(step.start, y, "o", color=ink, markerfacecolor="white", markersize=7)
        ax.plot(step.end, y, "o", color=ink, markersize=8)
        if step.mark is not None:
            ax.plot(step.mark, y, "|", color="black", markersize=15, markeredgewidth=1.6)
        ax.text(1.04, y, step.words, transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.set_yticks(range(len(steps)), [plain(step.label) for step in steps], fontsize=8.5)
    ax.set_ylim(max(1, len(steps)) - 0.4, -0.6)
    ax.set_xlim(-0.03, 1.03)
    ax.grid(axis="x", color="#eeeeee")
    ax.set_axisbelow(True)
    ax.set_xlabel("share of pairs: ○ from, ● to, | to compare with", fontsize=8)
    ax.set_title("four levels of evidence", fontsize=10)


# --- failures ---


def _failures(ax: Axes, entry: Mapping[str, Any]) -> None:
    """A bar per failing group, its conditions above, a mark at the IIA of all pairs."""
    groups = entry.get("failures", [])
    for y, group in enumerate(groups):
        more = "another " if group["rest"] else ""
        size = f"{short(group['iia'])} on {more}{group['share']:.0%} of the pairs, {group['failures']:.0%} of the failures"
        ax.barh(y, group["iia"], height=0.22, color=FAILING, alpha=0.8)
        ax.plot(entry["test_iia"], y, "|", color="black", markersize=22, markeredgewidth=1.6)
        text = f"{fitted(group['conditions'], FAILURES, 8, lines=4)}\n{fitted(size, FAILURES, 8)}"
        ax.text(0.015, y - 0.16, text, va="bottom", fontsize=8)
    ax.set_xlim(0, 1)
    ax.set_ylim(max(3, len(groups)) - 0.7, -0.85)
    ax.set_yticks([])
    ax.set_xlabel(f"IIA in the group; | of all pairs, {short(entry['test_iia'])}", fontsize=8)
    ax.set_title("where it fails", fontsize=10)
    if not groups:
        ax.text(0.5, 0.5, "no group of pairs stands out", transform=ax.transAxes, ha="center", va="center", fontsize=9)
