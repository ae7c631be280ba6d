"""The paper's table: "Interpretability at Scale" (arXiv 2305.08809), its figures beside those of a run of price tagging.

Twice: in the paper's statistics (of each site the best seed on test pairs, of these the best; correlation of that map with
the hypothesis' own on plain prompts; variance over sites) and in ours (the site chosen on validation pairs, mean over seeds,
interval; the correlations that wrong hypotheses' maps have). The difference between the two maxima is what choosing on test
pairs is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from das.errors import DasError
from das.task.variant import BASE
from das.text import aligned, spread, two
from das.transfer.maps import together
from das.transfer.robustness import NOT_TESTED, Robustness

LEFT = "left_boundary"


@dataclass(frozen=True)
class Published:
    """Figures of the paper: task accuracy, maximum IIA, correlation, 100 × variance; None where it gives none."""

    task: float | None
    iia: float
    correlation: float
    variance: float


@dataclass(frozen=True)
class Row:
    """A row of the table: what was trained and tested where, and on which of the pairs it is scored."""

    name: str
    published: Published
    hypothesis: str = LEFT
    trained: str = BASE
    tested: str = BASE
    metric: str = "iia"


ROWS = (
    Row("left boundary", Published(0.8516, 0.90, 1.00, 2.01)),
    Row("left and right boundary", Published(0.8516, 0.86, 1.00, 1.14), "left_and_right"),
    Row("midpoint distance", Published(0.8516, 0.70, 1.00, 0.04), "midpoint"),
    Row("bracket identity", Published(0.8516, 0.72, 1.00, 0.08), "bracket"),
    Row("left, pairs answered right", Published(None, 0.88, 0.99, 1.47), metric="iia_correct"),
    Row("left, pairs answered wrong", Published(None, 0.71, 0.84, 0.36), metric="iia_incorrect"),
    Row("left, new bracket, seen", Published(0.94, 0.94, 0.97, 3.02), trained="new_brackets", tested="new_brackets"),
    Row("left, new bracket, unseen", Published(0.95, 0.95, 0.94, 1.66), trained="new_brackets", tested="new_brackets_unseen"),
    Row("left, context: pricing tag", Published(0.84, 0.83, 0.97, 0.94), tested="irrelevant_context"),
    Row("left, context: frogs", Published(0.85, 0.85, 0.98, 1.04), tested="irrelevant_frogs"),
    Row("left, true or false", Published(None, 0.83, 0.87, 0.93), tested="true_false"),
)


def paper_table(robustness: Robustness) -> str:
    """The table as text, with what its columns are below it."""
    left = robustness.summaries[BASE]["hypotheses"].get(LEFT)
    if left is None or left["hypothesis"] != f"{LEFT}.above_lower":
        raise DasError(f"{robustness.run.folder} is no run of price tagging with {LEFT}: the paper's table is of that")
    heads = "task acc.", "max IIA", "corr.", "var × 100"
    ours = "ours: IIA", "95 %", "no-op", "wrong maps", "outcome"
    rows: list[tuple[str, ...]] = [("", f"paper: {heads[0]}", *heads[1:], f"here: {heads[0]}", *heads[1:], *ours)]
    rows += [_line(row, figures(robustness, row)) for row in ROWS]
    return f"{aligned(rows)}\n\n{NOTE}"


NOTE = (
    "paper, here: the paper's statistics, the best seed of the best cell on test pairs; correlation with the hypothesis' own "
    "map; variance over cells.\nours: the cell chosen on validation pairs where it was trained, mean over seeds. wrong maps: "
    "correlation that the other hypotheses' maps have with the left boundary's."
)


def figures(robustness: Robustness, row: Row) -> dict[str, Any] | None:
    """What the run has for a row; None where it was not trained, or not tested there."""
    if row.trained not in robustness.trained or row.hypothesis not in robustness.summaries[row.trained]["hypotheses"]:
        return None
    if robustness.scored(row.trained, row.tested) is None:
        return None
    best, home = _best(robustness, row, row.hypothesis), robustness.map(BASE, BASE, row.hypothesis, over="max")
    own = robustness.row(row.hypothesis, row.trained, row.tested) or {}
    return {
        "task": robustness.accuracy(row.tested)[0] if row.metric == "iia" else None,
        "iia": float(best.max()),
        "correlation": together(home, best)[0],
        "variance": 100 * float(best.var(ddof=0)),
        "chosen": _chosen(robustness, row),
        "interval": (own["low"], own["high"]) if row.metric == "iia" else None,
        "noop": own["noop"] if row.metric == "iia" else None,
        "wrong": _wrong(robustness, row),
        "outcome": _outcome(robustness, row, own),
    }


def _best(robustness: Robustness, row: Row, hypothesis: str) -> pd.Series[float]:
    """Site → the row's metric of its best seed."""
    return robustness.map(row.trained, row.tested, hypothesis, row.metric, over="max")


def _wrong(robustness: Robustness, row: Row) -> list[float]:
    """Correlations of the other hypotheses' maps, where this row is scored, with the left boundary's at home."""
    if row.hypothesis != LEFT:
        return []
    others = [h for h in robustness.summaries[row.trained]["hypotheses"] if h not in (LEFT, "left_and_right")]
    home = robustness.map(BASE, BASE, LEFT, over="max")
    return [together(home, _best(robustness, row, other))[0] for other in others]


def _outcome(robustness: Robustness, row: Row, own: dict[str, Any]) -> str:
    """The verdict where it was trained, else what became of it; for a part of the pairs how many they are."""
    if row.metric != "iia" and own["outcome"] != NOT_TESTED:
        right = round(own["ceiling"] * own["pairs"])
        return f"{right if row.metric == 'iia_correct' else own['pairs'] - right} pairs"
    if row.trained == row.tested:
        return str(robustness.entry(row.trained, row.hypothesis)["verdict"]["verdict"])
    return str(own["outcome"])


def _chosen(robustness: Robustness, row: Row) -> float:
    cells = robustness.chosen(row.trained, row.tested, row.hypothesis)
    return float("nan") if cells is None else float(cells[row.metric].mean())


def _line(row: Row, found: dict[str, Any] | None) -> tuple[str, ...]:
    p = row.published
    paper = two(p.task), two(p.iia), two(p.correlation), two(p.variance)
    if found is None:
        return (row.name, *paper, *["–"] * 8, "not trained or tested")
    interval = "–" if found["interval"] is None else "–".join(map(two, found["interval"]))
    here = (two(found[key]) for key in ("task", "iia", "correlation", "variance", "chosen"))
    return (row.name, *paper, *here, interval, two(found["noop"]), spread(found["wrong"]), found["outcome"])
