"""Run: the folder that holds everything a run found; it is the run's only state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype, is_object_dtype
from pandas.util import hash_pandas_object
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save_file

from das.alignment import Alignment, Cell
from das.columns import objects
from das.dataset import Dataset, Rows
from das.errors import DasError, unknown
from das.evaluate import Record
from das.evidence import Natural, Scorecard
from das.failures import Group
from das.lock import LOCK, alone
from das.mend import SCREEN, mend
from das.pairs import Pairs
from das.progress import Reporter, silent
from das.provenance import changes, comparable, found_again, places
from das.score import Hits
from das.settings import Settings, check_keys, read_yaml
from das.site import Site
from das.stats import Bootstrap, Difference
from das.storage import load, noted, read_json, read_table, write_json, writing, written
from das.storage import write as write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from das.robustness import Robustness

FREE = ("workers", "threads", "logger", "device", "memory", "nulls", "shifts", "retrain")
"""Settings that may change when a run is resumed: they change nothing that is there."""

ADDED = {"under": "base"}
"""What settings had been before there was a choice."""

PROVENANCE = "provenance.json"

NAMED = ("task", "lm")
"""Settings that name what the run was made from: another name for the same is fine."""

PROMPT = "prompt."
"""What the columns of `pairs.parquet` begin with that hold prompts' identities."""

PART = ["split", "hypothesis"]
"""Its columns that say whose pair a row is."""


def pair_table(pairs: Pairs, identities: Mapping[str, Rows] | None = None) -> pd.DataFrame:
    """A row per pair, as `pairs.parquet` holds them: what is neither a number nor a text is JSON.

    identities: role → each row's prompt (see `Dataset.roles`), the columns `prompt.base` and `prompt.source.<variable>`.
    """
    mine = {f"{PROMPT}{role}": pd.array(rows, "Int64") for role, rows in (identities or {}).items()}  # a float has 53 bits
    columns = {name: column if column.ndim == 1 else objects(column.tolist()) for name, column in pairs.columns().items()}
    return _written(pd.DataFrame(columns).assign(**mine))


def all_pairs(pairs: Mapping[str, Mapping[str, Pairs]], data: Mapping[str, Dataset]) -> pd.DataFrame:
    """The table of `pairs.parquet`. pairs: split → hypothesis → pairs; data: split → the same as tokens."""
    tables = [
        pair_table(p, data[split].roles(name, p.sources)).assign(split=split, hypothesis=name)
        for split, named in pairs.items()
        for name, p in named.items()
    ]
    return _written(pd.concat(tables, ignore_index=True))


def _written(frame: pd.DataFrame) -> pd.DataFrame:
    """With JSON in place of what a column of texts or numbers cannot hold."""
    for column in (c for c in frame if is_object_dtype(frame[c])):
        frame[column] = frame[column].map(lambda v: v if _missing(v) or isinstance(v, str) else json.dumps(v, default=str))
    return frame


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def prompt_codes(table: pd.DataFrame) -> dict[str, Rows]:
    """Of a table of pairs, `base` and `source.<variable>` → a number for each row's prompt, equal for equal prompts: its
    identity (see `das.identity`), or of a table that holds none, as older runs' do, a hash of the inputs' values."""
    if kept := [str(c) for c in table if str(c).startswith(PROMPT) and table[c].notna().any()]:
        return {c.removeprefix(PROMPT): table[c].to_numpy(np.int64) for c in sorted(kept)}
    columns = sorted(str(c) for c in table if str(c).startswith(("base.", "source.")) and table[c].notna().any())
    roles = dict.fromkeys(c.rpartition(".")[0] for c in columns)
    mine = {role: [c for c in columns if c.rpartition(".")[0] == role] for role in roles}
    alike = table[columns].apply(_alike)
    return {role: hash_pandas_object(alike[names], index=False).to_numpy().view(np.int64) for role, names in mine.items()}


def _alike(column: pd.Series[Any]) -> pd.Series[Any]:
    """In one type for numbers and one for texts: 3 and 3.0 are one value, however a table came to hold it."""
    column = column.infer_objects()
    return column.astype(float) if is_numeric_dtype(column) else column.astype(str).astype(object)


def _of(table: pd.DataFrame, part: Any) -> pd.Series[bool]:
    """The rows of one split and hypothesis."""
    return (table[PART] == list(part)).all(axis=1)


def _same_pairs(theirs: pd.DataFrame, mine: pd.DataFrame) -> bool:
    """Whether two tables of one hypothesis have the same prompts and answers, in the same order."""
    if len(theirs) != len(mine):
        return False
    if not any(str(c).startswith(PROMPT) for c in theirs):
        mine = mine[[c for c in mine if not str(c).startswith(PROMPT)]]
    there, here = prompt_codes(theirs), prompt_codes(mine)
    labels = ["base_answer", "source_answer", "answer", "family"]
    same = all(_alike(theirs[c]).tolist() == _alike(mine[c]).tolist() for c in labels)
    return same and set(there) == set(here) and all(np.array_equal(there[role], here[role]) for role in there)


def _json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if written(path) else None


class Run:
    """A run folder: `config.yaml`, `provenance.json`, `pairs.parquet`, `audit.json`, `cells/<id>/`, `failures_*.json`,
    `results.parquet`, `examples.parquet`, `summary.json`, `time.json`, figures; with a budget `screen.parquet`, and with nulls
    `nulls/`."""

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

    def prepare(self, settings: Settings, made: Mapping[str, Any] | None = None) -> None:
        """Makes the folder, or checks that it belongs to the same settings and was made from the same (see `same_as`). made:
        the prints of that; without any, those that are there stay unchecked."""
        made = made or self.made
        path, mine = self.folder / "config.yaml", settings.plain()
        if path.exists():
            theirs, known = read_yaml(path), {k for k in NAMED if comparable(k, self.made, made)}
            check_keys(theirs, Settings, str(path))
            changed = [k for k in mine if k not in {*FREE, *known} and theirs.get(k, ADDED.get(k)) != mine[k]]
            if changed:
                k = changed[0]
                raise DasError(f"{self.folder} holds a run with {k} = {theirs.get(k)!r}, not {mine[k]!r}: give another folder")
        elif self.folder.exists() and any(inside.name != LOCK for inside in self.folder.iterdir()):
            raise DasError(
                f"{self.folder} holds something other than a run, or a run without its {path.name}: give another folder"
            )
        self.same_as(made)
        write(path, lambda p: p.write_text(yaml.safe_dump(mine, sort_keys=False)))
        body = {"made_from": dict(made), "places": places({k: getattr(settings, k) for k in NAMED}, self.folder)}
        write_json(self.folder / PROVENANCE, body)

    @contextmanager
    def alone(self, report: Reporter = silent) -> Iterator[None]:
        """Holds the run's folder and mends it; DasError where another process writes there."""
        with alone(self.folder):
            mend(self.folder, report)
            yield

    @property
    def made(self) -> dict[str, Any]:
        """What the run was made from, as prints (see `das.provenance`); empty in older runs."""
        return (_json(self.folder / PROVENANCE) or {"made_from": {}})["made_from"]  # type: ignore[no-any-return]

    def same_as(self, made: Mapping[str, Any]) -> None:
        """DasError where the run was made from something else."""
        if self.made and (changed := changes(self.made, made)):
            raise DasError(
                f"{self.folder} was made from something else: {'; '.join(changed)} changed since. Its tables say nothing "
                "of what there is now: give another folder, or put back what it was made from"
            )

    def hold(self, tables: pd.DataFrame) -> None:
        """Holds pairs that this process has drawn against those of `pairs.parquet`, if they are there; DasError where they are
        others: the cells of one table would be trained and tested on prompts that are not kept apart."""
        path = self.folder / "pairs.parquet"
        if not path.exists():
            return
        theirs = read_table(path)
        if not all(_same_pairs(theirs[_of(theirs, part)], mine) for part, mine in tables.groupby(PART, sort=False)):
            raise DasError(
                f"{path} holds other pairs than are drawn now with the same seed: something that draws the inputs is not "
                "deterministic (it goes by the clock, by the system's randomness or by what was drawn before). Draw from the "
                "generator that it is handed, or from random or numpy.random, and give another folder"
            )

    # --- time ---

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the time of a `with` block, whole or interrupted, to the run's; only a process that is killed takes it along."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = round(self.seconds + time.monotonic() - started, 1)
            with suppress(DasError):  # it would hide why the block ended
                write_json(self.folder / "time.json", {"seconds": seconds})

    @property
    def seconds(self) -> float:
        """That its stages took, in however many sittings; what cannot be read is not counted."""
        try:
            return float(read_json(self.folder / "time.json")["seconds"])
        except (DasError, KeyError, TypeError, ValueError):
            return 0.0

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

        def fill(partial: Path) -> None:
            partial.mkdir()
            record.alignment.save(partial, {"metrics": record.metrics, "curves": record.curves})
            save_file({"test": record.hits.astype(np.uint8)}, partial / "hits.safetensors")

        write(folder, fill)

    def card(self, cell: Cell) -> dict[str, Any]:
        """What a finished cell says of itself: rank, steps, metrics per split, rank curves."""
        card: dict[str, Any] = read_json(self._cell(cell) / "card.json")
        return card

    def hits(self, cell: Cell) -> Hits:
        """Of a finished cell on the test pairs, in their order. (pairs,)"""
        return load(self._cell(cell) / "hits.safetensors", tensors_of)["test"].astype(bool)

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
        hits: dict[str, Any] = {"hits": natural.hits.astype(np.uint8), "prompts": natural.prompts}
        write(folder / "natural.safetensors", lambda p: save_file(hits, p))
        write_json(folder / "scorecard.json", card.plain())

    def scorecard(self, cell: Cell) -> dict[str, Any] | None:
        """What `das.evidence.Scorecard` holds of a chosen cell; None where it was not made."""
        return _json(self._cell(cell) / "scorecard.json")

    def examined(self, cell: Cell) -> bool:
        """Whether a chosen cell has its scorecard, and its hypothesis what is known of where it fails."""
        return self.scorecard(cell) is not None and (self.folder / f"failures_{cell.hypothesis}.json").exists()

    def natural(self, cell: Cell) -> Natural:
        """A chosen cell's hits on the natural pairs."""
        kept = load(self._cell(cell) / "natural.safetensors", tensors_of)
        return Natural(kept["hits"].astype(bool), kept["prompts"] if "prompts" in kept else kept["base"][None])

    def save_failures(self, hypothesis: str, groups: Sequence[Group], table: Sequence[Mapping[str, Any]]) -> None:
        """Writes where a hypothesis' chosen alignments fail: the groups that stand out, and IIA by value."""
        body = {"groups": [asdict(group) | {"text": group.text()} for group in groups], "by_value": list(table)}
        write_json(self.folder / f"failures_{hypothesis}.json", body)

    def failures(self, hypothesis: str) -> dict[str, Any]:
        """`groups` and `by_value`, see `das.failures`; empty where they were not looked for."""
        return _json(self.folder / f"failures_{hypothesis}.json") or {"groups": [], "by_value": []}

    def null_path(self, null: str, draw: int) -> Path:
        """Where the table of one draw of a null lies, or will."""
        return self.folder / "nulls" / f"{null}-{draw}.parquet"

    def save_null(self, null: str, draw: int, table: pd.DataFrame) -> None:
        """Writes the table of one draw of a null."""
        write(self.null_path(null, draw), lambda p: table.to_parquet(p))

    def nulls(self) -> pd.DataFrame | None:
        """The rows of all draws of all nulls (see `das.nulls`); None where there are none."""
        folder = self.folder / "nulls"
        paths = [folder / name for name in sorted({*noted(folder), *(path.name for path in folder.glob("[!.]*.parquet"))})]
        return pd.concat([read_table(path) for path in paths], ignore_index=True) if paths else None

    # --- tables ---

    def screen_part(self, hypothesis: str) -> Path:
        """Where a hypothesis' part of the screen lies until all are there."""
        return self.folder / f"screen-{hypothesis}.parquet"

    def screened(self) -> pd.DataFrame | None:
        """`screen.parquet`: a row per hypothesis and site of the grid, with what the screen found there, its rank, and whether
        and why it was trained or skipped (see `das.screen` and `das.budget`); None where the run had no budget."""
        path = self.folder / SCREEN
        return read_table(path) if written(path) else None

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        body: dict[str, Any] = read_json(self.folder / "summary.json")
        return body

    def results(self) -> pd.DataFrame:
        """`results.parquet`: a row per cell, split and metric."""
        table = read_table(self.folder / "results.parquet")
        if "component" not in table:
            raise DasError(f"{self.folder} was made by an older version of das: run it again, in another folder")
        return table

    def prompts(self, hypothesis: str, splits: Sequence[str]) -> dict[str, Rows]:
        """Of the pairs of some splits, `base` and `source.<variable>` → a number for each prompt, equal for equal ones."""
        mine = [("split", "in", list(splits)), ("hypothesis", "==", hypothesis)]
        return prompt_codes(read_table(self.folder / "pairs.parquet", filters=mine))

    @property
    def by_text(self) -> bool:
        """Whether prompts are known by their tokens (see `das.identity`); in older runs they are by their values."""
        return any(str(c).startswith(PROMPT) for c in read_table(self.folder / "pairs.parquet"))

    def test_bases(self, hypothesis: str) -> Rows:
        """The base prompt of each test pair, as a number. (pairs,)"""
        return self.prompts(hypothesis, ["test"])["base"]

    def test_prompts(self, hypothesis: str) -> Rows:
        """The base and the source prompts of each test pair, as numbers. (ways, pairs)"""
        return np.stack(list(self.prompts(hypothesis, ["test"]).values()))

    def compare(self, cell_id: str, other_id: str) -> Difference:
        """How much better one cell does than another, with its interval and p-value: on the test pairs where both are of one
        hypothesis, on the natural pairs, each by its own labels, where both are chosen ones of different hypotheses."""
        one, other = (self.alignment(name).cell for name in (cell_id, other_id))
        if one.hypothesis == other.hypothesis:
            return Bootstrap(self.test_prompts(one.hypothesis)).difference(self.hits(one), self.hits(other))
        for cell in (one, other):
            if self.scorecard(cell) is None:
                raise DasError(
                    f"{cell.id} is no chosen cell: cells of different hypotheses share natural pairs if chosen alone"
                )
        natural = self.natural(one), self.natural(other)
        return Bootstrap(natural[0].prompts).difference(*(n.hits for n in natural))

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
        kept = (_json(self.folder / PROVENANCE) or {"places": {}})["places"]
        values |= {k: found_again(k, values[k], kept, self.folder) for k in NAMED}
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

        with self.alone(report):
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

        with writing(self.folder):
            drawn = plot.figures(self)
            if (self.folder / "shift.json").exists():
                from das import plot_shift

                drawn += plot_shift.figures(self.robustness())
        return drawn
