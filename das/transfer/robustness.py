"""Robustness: does an alignment survive another prompt? Tables from the shifts that a run's alignments were tested under.

An *outcome* is of a hypothesis' alignment at its chosen cell (chosen on validation pairs where it was trained, never on the
pairs it is tested on), from where it was trained to a shift; the first line that holds decides:

1. *task not solved under this shift*: the network is right less than halfway from the commonest answer to 1. Whether the
   alignment is robust is then not defined.
2. *not tested*: its position does not exist under the shift, or there are too few prompts that it has not seen.
3. *cannot be told under this shift*: from a no-op to the ceiling (base and source both answered correctly) it is less than .2:
   the variable hardly ever matters there, or the network is too often wrong.
4. *nothing to carry over*: where it was trained its verdict is *not above the null* or *task not solved*.
5. *does not carry over*: the 95 % interval of its IIA under the shift is not above a no-op, the commonest label and a random
   subspace of its rank.
6. *carries over*, *weakened*: the interval, on the scale from no-op (0) to the ceiling (1), lies above, below .8 of what the
   alignment has where it was trained; *undecided* where it holds that value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from das.errors import DasError, unknown
from das.ground.storage import write
from das.judge.verdict import UNLEARNED
from das.run.folder import Folder
from das.stats import Bootstrap, Floats, quantiles
from das.task.variant import BASE
from das.text import aligned, spread, two
from das.transfer.maps import correlated, site_map, together
from das.transfer.scored import Scored, ShiftFolder

CARRIED, ROOM, GAIN = 0.8, 0.2, 0.05
"""Of outcomes; GAIN: over a no-op, that an alignment trained anew must have for another to be measured by it."""

NOT_SOLVED, UNTOLD, NOT_TESTED = "task not solved under this shift", "cannot be told under this shift", "not tested"
BESIDE = "iia", "flip_iia", "noop", "majority", "random", "whole", "ceiling"
ANEW = "anew", "less", "less_low", "less_high", "relative", "relative_low", "relative_high"
MAPS = "correlation", "correlation_low", "correlation_high", "variance"
HEAD = (
    "hypothesis", "trained", "tested", "task acc.", "IIA", "95 %", "flip", "no-op", "pairs", "correlation", "wrong maps",
    "anew", "relative", "outcome",
)  # fmt: skip


class Robustness:
    """What the shifts of a run come to. `trained` and `tested` are `base` (the run itself) or the name of a shift."""

    def __init__(self, run: Folder) -> None:
        self.run = run
        self.folders = {folder.name: folder for folder in ShiftFolder.all(run.folder)}
        self.trained: dict[str, Folder] = {BASE: run}
        self.trained |= {name: folder.trained for name, folder in self.folders.items() if folder.trained}
        self._scored, self._made = cache(self._read), cache(self._make)

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

    def _folder(self, tested: str) -> ShiftFolder:
        return self.folders.get(tested) or ShiftFolder(self.run.folder, tested)

    def accuracy(self, tested: str) -> tuple[float, bool]:
        """The network's accuracy on natural prompts, and whether that solves the task."""
        if not (about := self._folder(tested).about):
            raise DasError(f"{self.run.folder} was not tested under any shift yet: das shift {self.run.folder}")
        return about["share"], about["solved"]

    # --- what was scored ---

    def scored(self, trained: str, tested: str) -> Scored | None:
        """The scores of what was trained at one place when tested at another; None where that was not done."""
        found: Scored | None = self._scored(trained, tested)
        return found

    def _read(self, trained: str, tested: str) -> Scored | None:
        if trained == tested:
            return Scored.of_run(self.trained[trained])
        folder = self._folder(tested)
        return folder.scored(trained) if folder.has(trained) else None

    def chosen(self, trained: str, tested: str, hypothesis: str) -> pd.DataFrame | None:
        """The cells of the site that was chosen where they were trained, a row per seed, with their scores; None where they
        were not tested."""
        scored = self.scored(trained, tested)
        if scored is None or hypothesis not in self.summaries[trained]["hypotheses"]:
            return None
        entry = self.entry(trained, hypothesis)
        cells = scored.at(hypothesis, entry["subspace"], entry)
        return cells if len(cells) else None

    def map(self, trained: str, tested: str, hypothesis: str, metric: str = "iia", over: str = "mean") -> pd.Series[float]:
        """A metric of every site, over seeds their `mean` or their `max`; indexed by layer, component and position."""
        scored = self.scored(trained, tested)
        assert scored is not None
        return site_map(scored, hypothesis, self.entry(trained, hypothesis)["subspace"], metric, over)

    # --- a row of the table ---

    def row(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any] | None:
        """What becomes of a hypothesis' chosen alignment; None where that was not looked at."""
        made: dict[str, Any] | None = self._made(hypothesis, trained, tested)
        return made

    def _make(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any] | None:
        if (scored := self.scored(trained, tested)) is None:
            return None
        share, solved = self.accuracy(tested)
        row = {"hypothesis": self.entry(trained, hypothesis)["hypothesis"], "trained": trained, "tested": tested}
        row |= {"task_accuracy": share, "solved": solved} | dict.fromkeys([*BESIDE, "low", "high", *MAPS, *ANEW], float("nan"))
        row |= {"pairs": len(scored.rows.get(hypothesis, ())), "wrong": {}}
        if (cells := self.chosen(trained, tested, hypothesis)) is not None:
            low, high = Bootstrap(scored.prompts[hypothesis]).interval(scored.stack(cells["cell"]))
            row |= {name: float(cells[name].mean()) for name in BESIDE} | {"low": low, "high": high}
            row |= self._maps(hypothesis, trained, tested) | self._anew(hypothesis, trained, tested)
        return row | {"outcome": self._outcome(hypothesis, row)}

    def _outcome(self, hypothesis: str, row: Mapping[str, Any]) -> str:
        home, room = self.entry(row["trained"], hypothesis), row["ceiling"] - row["noop"]
        if not row["solved"]:
            return NOT_SOLVED
        if row["iia"] != row["iia"]:
            return NOT_TESTED
        if room < ROOM:
            return UNTOLD
        if home["verdict"]["verdict"] in ("not above the null", "task not solved"):
            return "nothing to carry over"
        if row["trained"] == row["tested"]:
            return "trained here"
        if row["low"] <= max(row[name] for name in UNLEARNED):
            return "does not carry over"
        low, high = ((row[end] - row["noop"]) / room for end in ("low", "high"))
        least = CARRIED * home["normalised"]
        return "carries over" if low >= least else "weakened" if high < least else "undecided"

    def _anew(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any]:
        """Against the best alignment that was trained where this one is tested, on the same pairs: the difference, and the
        share of that one's gain over a no-op (as it is on these pairs) that this one has; with intervals."""
        if tested not in self.trained or trained == tested:
            return {}
        cells, scored = self.chosen(trained, tested, hypothesis), self.scored(trained, tested)
        there, home = self.chosen(tested, tested, hypothesis), self.scored(tested, tested)
        if cells is None or scored is None or there is None or home is None:
            return {}
        mine, other = scored.stack(cells["cell"]), home.stack(there["cell"])[:, scored.rows[hypothesis]]
        bootstrap, noop = Bootstrap(scored.prompts[hypothesis]), float(cells["noop"].mean())
        less = bootstrap.difference(mine, other)
        drawn = _share(bootstrap.means(mine) - noop, bootstrap.means(other) - noop)
        relative = float(_share(mine.mean() - noop, other.mean() - noop)), *quantiles(drawn)
        return dict(zip(ANEW, [float(other.mean()), less.mean, less.low, less.high, *relative], strict=True))

    def _maps(self, hypothesis: str, trained: str, tested: str) -> dict[str, Any]:
        """The map under the shift: its variance over sites, its correlation with the map where it was trained, and, as the
        null of that, the correlations which the other hypotheses' maps under the shift have with it."""
        away, home = self.scored(trained, tested), self.scored(trained, trained)
        found: dict[str, Any] = {"variance": float(self.map(trained, tested, hypothesis).var(ddof=0))}
        if trained == tested or away is None or home is None:
            return found
        own = self.map(trained, trained, hypothesis)
        others = [h for h in self.summaries[trained]["hypotheses"] if h != hypothesis]
        wrong = {other: together(own, self.map(trained, tested, other))[0] for other in others}
        subspace = self.entry(trained, hypothesis)["subspace"]
        return found | correlated(home, away, hypothesis, subspace) | {"wrong": wrong}

    # --- tables ---

    def _every(self) -> Iterator[dict[str, Any]]:
        for trained in self.trained:
            for tested in self.tested:
                for hypothesis in self.summaries[trained]["hypotheses"]:
                    if (row := self.row(hypothesis, trained, tested)) is not None:
                        yield row

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every hypothesis, wherever it was trained, wherever it was tested."""
        return list(self._every())

    def table(self) -> pd.DataFrame:
        """A row per hypothesis, `trained` and `tested`: task accuracy, IIA and its interval, flip IIA, baselines, correlation
        of the maps, variance over sites, the score relative to an alignment trained anew, and the outcome."""
        return pd.DataFrame(self.rows)

    def matrix(self, hypothesis: str, metric: str = "iia") -> pd.DataFrame:
        """A metric of the chosen alignment: a row per place of training, a column per place of testing; nan if not tested."""
        full = {name: self.entry(BASE, name)["hypothesis"] for name in self.hypotheses}
        if hypothesis not in {*full, *full.values()}:
            raise unknown("hypothesis", hypothesis, full)
        mine = [row for row in self.rows if row["hypothesis"] in (hypothesis, full.get(hypothesis))]
        values = pd.DataFrame(mine).pivot(index="trained", columns="tested", values=metric)
        return values.reindex(index=[t for t in self.trained if t in values.index], columns=self.tested)

    def write(self) -> None:
        """`shift.json` into the run's folder."""
        body = {"shifts": {name: folder.about for name, folder in self.folders.items()}, "rows": self.rows}
        write(self.run.folder / "shift.json", lambda p: p.write_text(json.dumps(_plain(body), indent=1) + "\n"))

    def text(self) -> str:
        """The table for the console."""
        lines = [_line(row) for row in self.rows if row["trained"] != row["tested"] or row["tested"] == BASE]
        missing = {name: [p for p, share in f.about["coverage"].items() if share < 1] for name, f in self.folders.items()}
        notes = [f"{name}: {', '.join(lost)} do not exist in every prompt" for name, lost in missing.items() if lost]
        return "\n".join([aligned([HEAD, *lines]), *notes])


def _share(part: Any, whole: Any) -> Floats:
    """Of a gain; nan where there is next to none."""
    share: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > GAIN)
    return share


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = f"{two(row['low'])}–{two(row['high'])}" if row["low"] == row["low"] else "–"
    return (
        row["hypothesis"], row["trained"], row["tested"], two(row["task_accuracy"]), two(row["iia"]), interval,
        two(row["flip_iia"]), two(row["noop"]), str(row["pairs"]), two(row["correlation"]), spread(row["wrong"].values()),
        two(row["anew"]), two(row["relative"]), row["outcome"],
    )  # fmt: skip


def _plain(value: Any) -> Any:
    """As JSON has it: no nan."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value
