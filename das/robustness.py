"""Robustness: does an alignment survive another prompt? Tables from the shifts that a run's alignments were tested under.

An *outcome* is of a hypothesis' alignment at its chosen cell (chosen on validation pairs where it was trained, never on the
pairs it is tested on), from where it was trained to a shift; the first line that holds decides:

1. *task not solved under this shift*: the network is right less than halfway from the commonest answer to 1. Whether the
   alignment is robust is then not defined.
2. *cannot be told under this shift*: from a no-op to the ceiling (base and source both answered correctly) it is less than .2:
   the variable hardly ever matters there, or the network is too often wrong.
3. *nothing to carry over*: where it was trained its verdict is *not above the null* or *task not solved*.
4. *does not carry over*: the 95 % interval of its IIA under the shift is not above a no-op, the commonest label and a random
   subspace of its rank.
5. *carries over*: the interval's lower end, on the scale from no-op (0) to the ceiling (1), is at least .8 of what the
   alignment has where it was trained.
6. *weakened*: what is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from das.run import Run, write
from das.scored import Scored, ShiftFolder
from das.stats import Bootstrap, Floats, correlation, quantiles
from das.text import aligned
from das.verdict import UNLEARNED

BASE = "base"
CARRIED, ROOM = 0.8, 0.2
GAIN = 0.05
"""Over a no-op, that an alignment trained anew must have for another to be measured by it."""
DRAWS = 500
"""Of base prompts, for the intervals of correlations."""

BESIDE = "iia", "flip_iia", "noop", "majority", "random", "whole", "ceiling"

HEAD = (
    "hypothesis", "trained", "tested", "task acc.", "IIA", "95 %", "flip", "no-op", "correlation", "wrong maps", "anew",
    "relative", "outcome",
)  # fmt: skip

NOT_SOLVED, UNTOLD = "task not solved under this shift", "cannot be told under this shift"


class Robustness:
    """What the shifts of a run come to. `trained` and `tested` are `base` or the name of a shift."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.folders = {folder.name: folder for folder in ShiftFolder.all(run.folder)}
        self.trained: dict[str, Run] = {BASE: run}
        self.trained |= {name: folder.trained for name, folder in self.folders.items() if folder.trained}
        self._scored = cache(self._read)

    @property
    def tested(self) -> list[str]:
        """Everything that alignments were tested under."""
        return [BASE, *self.folders]

    @cached_property
    def summaries(self) -> dict[str, dict[str, Any]]:
        return {name: run.summary for name, run in self.trained.items()}

    def entry(self, trained: str, hypothesis: str) -> dict[str, Any]:
        """What the run that trained says of a hypothesis."""
        found: dict[str, Any] = self.summaries[trained]["hypotheses"][hypothesis]
        return found

    @property
    def hypotheses(self) -> list[str]:
        return list(self.summaries[BASE]["hypotheses"])

    def scored(self, trained: str, tested: str) -> Scored | None:
        """The scores of what was trained at one place when tested at another; None where that was not done."""
        found: Scored | None = self._scored(trained, tested)
        return found

    def _read(self, trained: str, tested: str) -> Scored | None:
        if trained == tested:
            return Scored.of_run(self.trained[trained])
        folder = self.folders.get(tested) or ShiftFolder(self.run.folder, tested)
        return folder.scored(trained) if folder.has(trained) else None

    # --- one number at a time ---

    def chosen(self, trained: str, tested: str, hypothesis: str) -> pd.DataFrame | None:
        """The cells of the chosen site, a row per seed, with their scores; None where its position does not exist."""
        if (scored := self.scored(trained, tested)) is None:
            return None
        entry = self.entry(trained, hypothesis)
        cells = scored.at(hypothesis, entry["subspace"], entry)
        return cells if len(cells) else None

    def accuracy(self, tested: str) -> tuple[float, bool]:
        """The network's accuracy on natural prompts, and whether that solves the task; for the base from its test pairs."""
        if tested == BASE:
            unsolved = any(e["verdict"]["verdict"] == "task not solved" for e in self.summaries[BASE]["hypotheses"].values())
            return self.summaries[BASE]["task_accuracy"], not unsolved
        about = self.folders[tested].about
        return about["share"], about["solved"]

    def map(self, trained: str, tested: str, hypothesis: str, metric: str = "iia") -> pd.Series:
        """A metric of every site, mean over seeds; indexed by layer, component and position."""
        scored = self.scored(trained, tested)
        assert scored is not None
        cells = scored.at(hypothesis, self.entry(trained, hypothesis)["subspace"])
        return cells.groupby(["layer", "component", "position"])[metric].mean()

    def _interval(self, scored: Scored, hypothesis: str, cells: pd.DataFrame) -> tuple[float, float]:
        return Bootstrap(scored.base[hypothesis]).interval(scored.stack(cells["cell"]))

    def row(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any] | None:
        """What becomes of a hypothesis' chosen alignment; None where it was not tested."""
        scored, cells = self.scored(trained, tested), self.chosen(trained, tested, hypothesis)
        if scored is None or cells is None:
            return None
        mean = {name: float(cells[name].mean()) for name in BESIDE}
        low, high = self._interval(scored, hypothesis, cells)
        share, solved = self.accuracy(tested)
        row = {"hypothesis": self.entry(BASE, hypothesis)["hypothesis"], "trained": trained, "tested": tested}
        row |= {
            "task_accuracy": share,
            "solved": solved,
            **mean,
            "low": low,
            "high": high,
            "pairs": len(scored.rows[hypothesis]),
        }
        row |= self.maps(hypothesis, trained, tested) | self._anew(hypothesis, trained, tested)
        return row | {"outcome": self._outcome(hypothesis, trained, row)}

    def _outcome(self, hypothesis: str, trained: str, row: Mapping[str, Any]) -> str:
        home = self.entry(trained, hypothesis)
        room = row["ceiling"] - row["noop"]
        if not row["solved"]:
            return NOT_SOLVED
        if room < ROOM:
            return UNTOLD
        if home["verdict"]["verdict"] in ("not above the null", "task not solved"):
            return "nothing to carry over"
        if row["trained"] == row["tested"]:
            return "trained here"
        if row["low"] <= max(row[name] for name in UNLEARNED):
            return "does not carry over"
        return "carries over" if (row["low"] - row["noop"]) / room >= CARRIED * home["normalised"] else "weakened"

    def _anew(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any]:
        """Against the best alignment that was trained where this one is tested, on the same pairs: the difference, and the
        share of that one's gain over a no-op that this one has; with intervals."""
        none = dict.fromkeys(["anew", "less", "less_low", "less_high", "relative", "relative_low", "relative_high"])
        there = self.chosen(tested, tested, hypothesis) if tested in self.trained and self._has(tested, hypothesis) else None
        if there is None or trained == tested:
            return none
        scored, home = self.scored(trained, tested), self.scored(tested, tested)
        cells = self.chosen(trained, tested, hypothesis)
        assert scored is not None and home is not None and cells is not None  # noqa: PT018
        mine, other = scored.stack(cells["cell"]), home.stack(there["cell"])[:, scored.rows[hypothesis]]
        bootstrap = Bootstrap(scored.base[hypothesis])
        less = bootstrap.difference(mine, other)
        noop = float(cells["noop"].mean())
        drawn = _share(bootstrap.means(mine) - noop, bootstrap.means(other) - noop)
        relative = float(_share(mine.mean() - noop, other.mean() - noop)), *quantiles(drawn)
        return dict(zip(none, [float(other.mean()), less.mean, less.low, less.high, *relative], strict=True))

    def _has(self, trained: str, hypothesis: str) -> bool:
        return hypothesis in self.summaries[trained]["hypotheses"]

    # --- maps ---

    def maps(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any]:
        """The map of IIA over cells against the same alignments' where they were trained: correlation with its interval; the
        correlations of the wrong hypotheses' maps under the shift with this hypothesis' own, as their null; the variance."""
        found: dict[str, Any] = dict.fromkeys(["correlation", "correlation_low", "correlation_high", "variance"]) | {
            "wrong": {}
        }
        map_ = self.map(trained, tested, hypothesis)
        found["variance"] = float(map_.var(ddof=0)) if len(map_) > 1 else None
        if trained == tested or len(map_) < 3:
            return found
        one, other = self._common(hypothesis, hypothesis, trained, tested)
        found["correlation"] = float(correlation(one.mean(0), other.mean(0)))
        found["correlation_low"], found["correlation_high"] = quantiles(correlation(one, other))
        wrong = {h: self._common(hypothesis, h, trained, tested) for h in self.hypotheses if h != hypothesis}
        found["wrong"] = {h: float(correlation(a.mean(0), b.mean(0))) for h, (a, b) in wrong.items() if a.shape[1] > 2}
        return found

    def _common(self, hypothesis: str, other: str, trained: str, tested: str) -> tuple[Floats, Floats]:
        """Draws of two maps over the sites that both have, (draws, sites): one hypothesis where it was trained, the other (or
        the same) under the shift. Pairs that are the same at both are drawn together."""
        at_home, away = self.draws(hypothesis, trained, trained), self.draws(other, trained, tested)
        sites = [site for site in at_home if site in away]
        return np.stack([at_home[s] for s in sites], -1), np.stack([away[s] for s in sites], -1)

    def draws(self, hypothesis: str, trained: str, tested: str) -> dict[tuple[Any, ...], NDArray[Any]]:
        """Site → IIA in draws of base prompts, (draws,), mean over seeds. Where the pairs are others than those at home, the
        draws are independent of those."""
        scored, home = self.scored(trained, tested), self.scored(trained, trained)
        assert scored is not None and home is not None  # noqa: PT018
        same = np.array_equal(scored.base[hypothesis], home.base[hypothesis])
        bootstrap = Bootstrap(scored.base[hypothesis], DRAWS, seed=0 if same else 1)
        cells = scored.at(hypothesis, self.entry(trained, hypothesis)["subspace"])
        keys = list(zip(cells["layer"], cells["component"], cells["position"], strict=True))
        drawn = bootstrap.by_row(scored.stack(cells["cell"]))
        return {site: drawn[:, [i for i, k in enumerate(keys) if k == site]].mean(1) for site in dict.fromkeys(keys)}

    # --- tables ---

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every hypothesis, wherever it was trained, wherever it was tested."""
        for trained in self.trained:
            for tested in self.tested:
                for hypothesis in self.summaries[trained]["hypotheses"]:
                    if (row := self.row(hypothesis, trained, tested)) is not None:
                        yield row

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return list(self.rows())

    def table(self) -> pd.DataFrame:
        """A row per hypothesis, `trained` and `tested`: task accuracy, IIA and its interval, flip IIA, baselines, correlation
        of the maps, variance over cells, the score relative to an alignment trained anew, and the outcome."""
        return pd.DataFrame(self._rows)

    def matrix(self, hypothesis: str, metric: str = "iia") -> pd.DataFrame:
        """A metric of the chosen alignment: a row per place of training, a column per place of testing; nan if not tested."""
        full = self.entry(BASE, hypothesis)["hypothesis"]
        table = self.table()
        mine: pd.DataFrame = table[table["hypothesis"] == full].pivot(index="trained", columns="tested", values=metric)
        return mine.reindex(index=[t for t in self.trained if t in mine.index], columns=self.tested)

    def write(self) -> None:
        """`shift.json` into the run's folder."""
        body = {"shifts": {name: folder.about for name, folder in self.folders.items()}, "rows": self._rows}
        write(self.run.folder / "shift.json", lambda p: p.write_text(json.dumps(_plain(body), indent=1) + "\n"))

    def text(self) -> str:
        """The table for the console."""
        lines = [_line(row) for row in self._rows if row["trained"] != row["tested"] or row["tested"] == BASE]
        missing = {name: [p for p, share in f.about["coverage"].items() if share < 1] for name, f in self.folders.items()}
        notes = [f"{name}: {', '.join(lost)} do not exist in every prompt" for name, lost in missing.items() if lost]
        return "\n".join([aligned([HEAD, *lines]), *notes])


def _share(part: Floats, whole: Floats) -> Floats:
    """Of a gain; nan where there is next to none."""
    share: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > GAIN)
    return share


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    wrong = [r for r in row["wrong"].values() if r == r]
    return (
        row["hypothesis"], row["trained"], row["tested"], _number(row["task_accuracy"]), _number(row["iia"]),
        f"{row['low']:.2f}–{row['high']:.2f}", _number(row["flip_iia"]), _number(row["noop"]), _number(row["correlation"]),
        f"{min(wrong):.2f}–{max(wrong):.2f}" if wrong else "–", _number(row["anew"]), _number(row["relative"]), row["outcome"],
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}"


def _plain(value: Any) -> Any:
    """As JSON has it: no nan."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
