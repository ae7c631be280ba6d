"""Run: the folder that holds everything a run found; it is the run's only state."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype, is_object_dtype
from pandas.util import hash_pandas_object
from safetensors.numpy import load_file, save_file

from das.alignment import Alignment, Cell
from das.dataset import Rows
from das.errors import DasError, unknown
from das.evaluate import Record
from das.evidence import Natural, Scorecard
from das.failures import Group
from das.pairs import Pairs
from das.progress import Reporter, silent
from das.score import Hits
from das.settings import Settings, check_keys, read_yaml
from das.site import Site
from das.stats import Bootstrap, Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.robustness import Robustness

FREE = ("workers", "threads", "logger", "device", "memory", "nulls", "shifts", "retrain")
"""Settings that may change when a run is resumed: they change nothing that is there."""

ADDED = {"under": "base"}
"""What settings had been before there was a choice."""

SCREEN = "screen.parquet"


def write(path: Path, writer: Callable[[Path], Any]) -> None:
    """Writes a file under a temporary name and renames it, so that it is there whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    writer(partial)
    partial.replace(path)


def pair_table(pairs: Pairs) -> pd.DataFrame:
    """A row per pair, as `pairs.parquet` holds them: what is neither a number nor a text is JSON."""
    frame = pd.DataFrame(pairs.columns())
    for column in (c for c in frame if is_object_dtype(frame[c])):
        frame[column] = frame[column].map(lambda v: v if v is None or isinstance(v, str) else json.dumps(v, default=str))
    return frame


def prompt_codes(table: pd.DataFrame) -> dict[str, Rows]:
    """Of a table of pairs, `base` and `source.<variable>` → a number for each row's prompt, equal for equal prompts."""
    columns = sorted(str(c) for c in table if str(c).startswith(("base.", "source.")) and table[c].notna().any())
    roles = dict.fromkeys(c.rpartition(".")[0] for c in columns)
    mine = {role: [c for c in columns if c.rpartition(".")[0] == role] for role in roles}
    alike = table[columns].apply(_alike)
    return {role: hash_pandas_object(alike[names], index=False).to_numpy().view(np.int64) for role, names in mine.items()}


def _alike(column: pd.Series[Any]) -> pd.Series[Any]:
    """In one type for numbers and one for texts: 3 and 3.0 are one value, however a table came to hold it."""
    column = column.infer_objects()
    return column.astype(float) if is_numeric_dtype(column) else column.astype(str).astype(object)


def _json(path: Path) -> dict[str, Any] | None:
    body: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return body


class Run:
    """A run folder: `config.yaml`, `pairs.parquet`, `audit.json`, `cells/<id>/`, `failures_*.json`, `results.parquet`,
    `examples.parquet`, `summary.json`, `time.json`, figures; with a budget `screen.parquet`, and with nulls `nulls/`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """A finished run; DasError if there is none."""
        run = cls(folder)
        if not (run.folder / "summary.json").is_file():
            state = "has not finished: run it again to go on" if (run.folder / "config.yaml").is_file() else "is no run folder"
            raise DasError(f"{run.folder} {state}")
        return run

    def prepare(self, settings: Settings) -> None:
        """Makes the folder, or checks that it belongs to the same settings."""
        path, mine = self.folder / "config.yaml", settings.plain()
        if path.exists():
            theirs = read_yaml(path)
            check_keys(theirs, Settings, str(path))
            changed = [k for k in mine if k not in FREE and theirs.get(k, ADDED.get(k)) != mine[k]]
            if changed:
                k = changed[0]
                raise DasError(f"{self.folder} holds a run with {k} = {theirs.get(k)!r}, not {mine[k]!r}: give another folder")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise DasError(f"{self.folder} exists and holds something other than a run: give another folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DasError(f"{self.folder} cannot be made ({error.strerror}): give another folder") from error
        write(path, lambda p: p.write_text(yaml.safe_dump(mine, sort_keys=False)))
        for partial in (self.folder / "cells").glob(".partial-*"):
            shutil.rmtree(partial)

    # --- time ---

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the time of a `with` block, whole or interrupted, to the run's; only a process that is killed takes it along."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = round(self.seconds + time.monotonic() - started, 1)
            write(self.folder / "time.json", lambda p: p.write_text(json.dumps({"seconds": seconds}) + "\n"))

    @property
    def seconds(self) -> float:
        """That its stages took, in however many sittings."""
        return float((_json(self.folder / "time.json") or {"seconds": 0.0})["seconds"])

    # --- cells ---

    def _cell(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.id

    def has(self, cell: Cell) -> bool:
        """Whether the cell is finished."""
        return (self._cell(cell) / "card.json").exists()

    def save(self, record: Record) -> None:
        """Writes a finished cell."""
        folder = self._cell(record.alignment.cell)
        if folder.exists():
            return
        folder.parent.mkdir(exist_ok=True)

        def fill(partial: Path) -> None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            record.alignment.save(partial, {"metrics": record.metrics, "curves": record.curves})
            save_file({"test": record.hits.astype(np.uint8)}, partial / "hits.safetensors")

        write(folder, fill)

    def card(self, cell: Cell) -> dict[str, Any]:
        """What a finished cell says of itself: rank, steps, metrics per split, rank curves."""
        card: dict[str, Any] = json.loads((self._cell(cell) / "card.json").read_text())
        return card

    def hits(self, cell: Cell) -> Hits:
        """Of a finished cell on the test pairs, in their order. (pairs,)"""
        return load_file(self._cell(cell) / "hits.safetensors")["test"].astype(bool)

    def alignment(self, cell_id: str) -> Alignment:
        """A trained cell by its id (a column of `table()`)."""
        return Alignment.load(self.folder / "cells" / cell_id)

    def choose(self, grid: Sequence[Cell]) -> dict[str, Site]:
        """For each hypothesis the site with the best validation IIA, mean over seeds; the first of equals."""
        scores: dict[str, dict[Site, list[float]]] = {}
        for cell in grid:
            sites = scores.setdefault(cell.hypothesis, {})
            sites.setdefault(cell.site, []).append(self.card(cell)["metrics"]["val"]["iia"])
        return {name: max(sites, key=lambda site: float(np.mean(sites[site]))) for name, sites in scores.items()}

    # --- evidence ---

    def save_scorecard(self, cell: Cell, card: Scorecard, natural: Natural) -> None:
        """Writes a chosen cell's scorecard, and beside it its hits on the natural pairs."""
        folder: Path = self._cell(cell)
        hits: dict[str, Any] = {"hits": natural.hits.astype(np.uint8), "base": natural.base}
        write(folder / "natural.safetensors", lambda p: save_file(hits, p))
        write(folder / "scorecard.json", lambda p: p.write_text(json.dumps(card.plain(), indent=1) + "\n"))

    def scorecard(self, cell: Cell) -> dict[str, Any] | None:
        """What `das.evidence.Scorecard` holds of a chosen cell; None where it was not made."""
        return _json(self._cell(cell) / "scorecard.json")

    def natural(self, cell: Cell) -> Natural:
        """A chosen cell's hits on the natural pairs."""
        kept = load_file(self._cell(cell) / "natural.safetensors")
        return Natural(kept["hits"].astype(bool), kept["base"])

    def save_failures(self, hypothesis: str, groups: Sequence[Group], table: Sequence[Mapping[str, Any]]) -> None:
        """Writes where a hypothesis' chosen alignments fail: the groups that stand out, and IIA by value."""
        body = {"groups": [asdict(group) | {"text": group.text()} for group in groups], "by_value": list(table)}
        path = self.folder / f"failures_{hypothesis}.json"
        write(path, lambda p: p.write_text(json.dumps(body, indent=1, default=str) + "\n"))

    def failures(self, hypothesis: str) -> dict[str, Any]:
        """`groups` and `by_value`, see `das.failures`; empty where they were not looked for."""
        return _json(self.folder / f"failures_{hypothesis}.json") or {"groups": [], "by_value": []}

    def null_path(self, null: str, draw: int) -> Path:
        """Where the table of one draw of a null lies, or will."""
        return self.folder / "nulls" / f"{null}-{draw}.parquet"

    def save_null(self, null: str, draw: int, table: pd.DataFrame) -> None:
        """Writes the table of one draw of a null."""
        path = self.null_path(null, draw)
        path.parent.mkdir(exist_ok=True)
        write(path, lambda p: table.to_parquet(p))

    def nulls(self) -> pd.DataFrame | None:
        """The rows of all draws of all nulls (see `das.nulls`); None where there are none."""
        paths = sorted((self.folder / "nulls").glob("[!.]*.parquet"))
        return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True) if paths else None

    # --- tables ---

    def screen_part(self, hypothesis: str) -> Path:
        """Where a hypothesis' part of the screen lies until all are there."""
        return self.folder / f"screen-{hypothesis}.parquet"

    def screened(self) -> pd.DataFrame | None:
        """`screen.parquet`: a row per hypothesis and site of the grid, with what the screen found there, its rank, and whether
        and why it was trained or skipped (see `das.screen` and `das.budget`); None where the run had no budget."""
        path = self.folder / SCREEN
        return pd.read_parquet(path) if path.exists() else None

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        body: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return body

    def results(self) -> pd.DataFrame:
        """`results.parquet`: a row per cell, split and metric."""
        table = pd.read_parquet(self.folder / "results.parquet")
        if "component" not in table:
            raise DasError(f"{self.folder} was made by an older version of das: run it again, in another folder")
        return table

    def prompts(self, hypothesis: str, splits: Sequence[str]) -> dict[str, Rows]:
        """Of the pairs of some splits, `base` and `source.<variable>` → a number for each prompt, equal for equal ones."""
        mine = [("split", "in", list(splits)), ("hypothesis", "==", hypothesis)]
        return prompt_codes(pd.read_parquet(self.folder / "pairs.parquet", filters=mine))

    def test_bases(self, hypothesis: str) -> Rows:
        """The base prompt of each test pair, as a number. (pairs,)"""
        return self.prompts(hypothesis, ["test"])["base"]

    def compare(self, cell_id: str, other_id: str) -> Difference:
        """How much better one cell does than another, with its interval and p-value: on the test pairs where both are of one
        hypothesis, on the natural pairs, each by its own labels, where both are chosen ones of different hypotheses."""
        one, other = (self.alignment(name).cell for name in (cell_id, other_id))
        if one.hypothesis == other.hypothesis:
            return Bootstrap(self.test_bases(one.hypothesis)).difference(self.hits(one), self.hits(other))
        for cell in (one, other):
            if self.scorecard(cell) is None:
                raise DasError(
                    f"{cell.id} is no chosen cell: cells of different hypotheses share natural pairs if chosen alone"
                )
        natural = self.natural(one), self.natural(other)
        return Bootstrap(natural[0].base).difference(*(n.hits for n in natural))

    def table(self) -> pd.DataFrame:
        """One row per cell, a column per split and metric (`test_iia`, `val_flip_iia`, …), rank curves left out."""
        results = self.results()
        results = results[results["width"] == 0]
        keys = ["cell", "hypothesis", "layer", "component", "position", "subspace", "seed"]
        results = results.assign(column=results["split"] + "_" + results["metric"])
        wide = results.pivot(index=keys, columns="column", values="value").reset_index().rename_axis(columns=None)
        return wide.rename(columns={"test_rank": "rank"}).drop(columns="val_rank")

    # --- shifts ---

    def settings(self, task: Any = None, lm: Any = None) -> Settings:
        """What the run was made with. task, lm: the objects themselves, where the run was given objects and no names."""
        values = read_yaml(self.folder / "config.yaml")
        check_keys(values, Settings, str(self.folder / "config.yaml"))
        return Settings(**values | {key: thing for key, thing in (("task", task), ("lm", lm)) if thing is not None})

    def shift(
        self, shifts: Any = "all", retrain: float | Mapping[str, float] = 0.0, report: Reporter = silent, task: Any = None,
        lm: Any = None,
    ) -> Robustness:  # fmt: skip
        """Tests every alignment, as it is, on the same question put otherwise; what is there already is not done again.

        shifts: `all` that the task declares, names, or a mapping from names to what `das.shifts.parse_shift` reads.
        retrain: share of the grid to train anew under each shift (or shift → share), to compare with. Writes `shifts/`,
        `shift.json` and the figures `shift_*.png` into the run's folder.
        """
        from das.transfer import transfer

        return transfer(self, shifts, retrain, report, task, lm)

    def robustness(self) -> Robustness:
        """What the shifts came to that the run was tested under."""
        from das.robustness import Robustness

        return Robustness(self)

    # --- pictures ---

    def heatmap(self, hypothesis: str, ax: Axes | None = None, metric: str = "iia") -> Axes:
        """IIA on test pairs over layers × positions; `hypothesis` with or without its variables."""
        from das import plot

        name = hypothesis.split(".")[0]
        if name not in self.summary["hypotheses"]:
            raise unknown("hypothesis", hypothesis, self.summary["hypotheses"])
        return plot.heatmap(self, name, ax, metric)

    def figures(self) -> list[Path]:
        """Draws every figure anew from the tables; their paths."""
        from das import plot

        drawn = plot.figures(self)
        if (self.folder / "shift.json").exists():
            from das import plot_shift

            drawn += plot_shift.figures(self.robustness())
        return drawn
