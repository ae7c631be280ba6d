"""Folder: everything that a run found lies in one folder; it is the run's only state."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save_file

from das.errors import DasError
from das.find.alignment import Alignment, Cell, mark_of
from das.find.sites import as_kept, as_read, site_of, sites_of
from das.ground.storage import load, noted, read_json, read_table, write, write_json, written
from das.interchange.score import Hits
from das.judge.evaluate import Record
from das.judge.evidence import Natural, Scorecard
from das.judge.failures import Group
from das.network.site import Site
from das.pairs.dataset import Rows
from das.progress import Reporter, silent
from das.run.about import README, about
from das.run.lock import LOCK, alone
from das.run.mend import RACE, RUNGS, SCREEN, mend
from das.run.provenance import changes, comparable, found_again, places
from das.run.settings import Settings, check_keys, read_yaml
from das.run.table import PART, PROMPT, part_of, prompt_codes, same_pairs
from das.run.words import REPLIES

FREE = ("workers", "threads", "logger", "device", "memory", "nulls", "shifts", "retrain", "closed_forms", "dead")
"""Settings that may change when a run is resumed: they change nothing that is there."""

ADDED: dict[str, Any] = {
    "under": "base",
    "pairs": None,
    "columns": None,
    "loss": "cross_entropy",
    "measures": [],
    "race": False,
}
"""What settings had been before there was a choice."""

PROVENANCE, TIME = "provenance.json", "time.json"

NAMED = ("task", "lm")
"""Settings that name what the run was made from: another name for the same is fine."""


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if written(path) else None


class Folder:
    """A run folder: `config.yaml`, `provenance.json`, `pairs.parquet`, `audit.json`, `cells/<id>/`, `failures_*.json`,
    `results.parquet`, `examples.parquet`, `summary.json`, `time.json`, figures; with a budget `screen.parquet`, and with nulls
    `nulls/`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A finished run; DasError if there is none."""
        run = cls(folder)
        if not run.judged:
            state = "has not finished: run it again to go on" if (run.folder / "config.yaml").is_file() else "is no run folder"
            raise DasError(f"{run.folder} {state}")
        return run

    @property
    def judged(self) -> bool:
        """Whether it has been finished once."""
        return (self.folder / "summary.json").is_file()

    def check(self, settings: Settings, made: Mapping[str, Any]) -> None:
        """DasError where the folder belongs to other settings, was made from something else (see `same_as`), or is no run's."""
        path, mine = self.folder / "config.yaml", settings.plain()
        if path.exists():
            theirs, known = read_yaml(path), {k for k in NAMED if comparable(k, self.made, made)}
            check_keys(theirs, Settings, str(path))
            changed = [k for k in mine if k not in {*FREE, *known} and theirs.get(k, ADDED.get(k)) != mine[k]]
            if changed:
                k = changed[0]
                raise DasError(f"{self.folder} holds a run with {k} = {theirs.get(k)!r}, not {mine[k]!r}: give another folder")
        elif self.folder.exists() and any(not inside.name.startswith(LOCK) for inside in self.folder.iterdir()):
            raise DasError(
                f"{self.folder} holds something other than a run, or a run without its {path.name}: give another folder"
            )
        self.same_as(made)

    def prepare(self, settings: Settings, made: Mapping[str, Any] | None = None) -> None:
        """Makes the folder, or checks that it is of the same. made: the prints of what it is made from; without any, those that
        are there stay unchecked."""
        made, mine = made or self.made, settings.plain()
        self.check(settings, made)
        write(self.folder / "config.yaml", lambda p: p.write_text(yaml.safe_dump(mine, sort_keys=False)))
        body = {"made_from": dict(made), "places": places({k: getattr(settings, k) for k in NAMED}, self.folder)}
        write_json(self.folder / PROVENANCE, body)
        write(self.folder / README, lambda p: p.write_text(about(self.folder, mine["task"], mine["lm"]), "utf-8"))

    @contextmanager
    def alone(self, report: Reporter = silent) -> Iterator[None]:
        """Holds the run's folder and mends it; DasError where another process writes there."""
        with alone(self.folder):
            mend(self.folder, report)
            yield

    @property
    def made(self) -> dict[str, Any]:
        """What the run was made from, as prints (see `das.run.provenance`); empty in older runs."""
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
        if not all(same_pairs(theirs[part_of(theirs, part)], mine) for part, mine in tables.groupby(PART, sort=False)):
            raise DasError(
                f"{path} holds other pairs than are drawn now with the same seed: something that draws the inputs is not "
                "deterministic (it goes by the clock, by the system's randomness or by what was drawn before). Draw from the "
                "generator that it is handed, or from random or numpy.random, and give another folder"
            )

    # --- time ---

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time of a `with` block, whole or interrupted, to the run's and to the stage's; only a process that is killed
        takes it along. Processor seconds are those of this process and of its children that have ended."""
        started, spent = time.monotonic(), _processor_seconds()
        try:
            yield
        finally:
            wall, spent = time.monotonic() - started, _processor_seconds() - spent
            stages, past = self.stage_seconds, self.seconds
            before = stages.get(stage, {"seconds": 0.0, "processor": 0.0})
            stages[stage] = {"seconds": round(before["seconds"] + wall, 2), "processor": round(before["processor"] + spent, 2)}
            with suppress(DasError):  # it would hide why the block ended
                write_json(self.folder / TIME, {"seconds": round(past + wall, 1), "stages": stages})

    @property
    def seconds(self) -> float:
        """That its stages took, in however many sittings; what cannot be read is not counted."""
        try:
            return float(read_json(self.folder / TIME)["seconds"])
        except (DasError, KeyError, TypeError, ValueError):
            return 0.0

    @property
    def stage_seconds(self) -> dict[str, dict[str, float]]:
        """Stage → `seconds` on the clock and `processor` seconds, over all sittings; empty in older runs."""
        try:
            stages = read_json(self.folder / TIME)["stages"]
            return {name: {key: float(each[key]) for key in ("seconds", "processor")} for name, each in stages.items()}
        except (DasError, KeyError, TypeError, ValueError, AttributeError):
            return {}

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
            curve, about = record.alignment.curve, record.alignment.about
            record.alignment.save(partial, about | {"metrics": record.metrics, "curves": {"val": curve} if curve else {}})
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
        """For each hypothesis the site with the best validation IIA, mean over seeds, of those that a race did not stop; the
        first of equals."""
        scores: dict[str, dict[Site, list[float]]] = {}
        for cell, card in ((cell, self.card(cell)) for cell in grid):
            if "raced" not in card:
                scores.setdefault(cell.hypothesis, {}).setdefault(cell.site, []).append(card["metrics"]["val"]["iia"])
        return {name: max(sites, key=lambda site: float(np.mean(sites[site]))) for name, sites in scores.items()}

    # --- evidence ---

    def save_scorecard(self, cell: Cell, card: Scorecard, natural: Natural, replies: pd.DataFrame) -> None:
        """Writes a chosen cell's scorecard, and beside it its hits on the natural pairs and its `das.run.words.reply_table`."""
        folder: Path = self._cell(cell)
        hits: dict[str, Any] = {"hits": natural.hits.astype(np.uint8), "prompts": natural.prompts}
        write(folder / "natural.safetensors", lambda p: save_file(hits, p))
        write(folder / REPLIES, replies.to_parquet)
        write_json(folder / "scorecard.json", card.plain())

    def scorecard(self, cell: Cell) -> dict[str, Any] | None:
        """What `das.judge.evidence.Scorecard` holds of a chosen cell; None where it was not made."""
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
        """`groups` and `by_value`, see `das.judge.failures`; empty where they were not looked for."""
        return _json(self.folder / f"failures_{hypothesis}.json") or {"groups": [], "by_value": []}

    def null_path(self, null: str, draw: int) -> Path:
        """Where the table of one draw of a null lies, or will."""
        return self.folder / "nulls" / f"{null}-{draw}.parquet"

    def save_null(self, null: str, draw: int, table: pd.DataFrame) -> None:
        """Writes the table of one draw of a null."""
        write(self.null_path(null, draw), lambda p: as_kept(table).to_parquet(p))

    def nulls(self) -> pd.DataFrame | None:
        """The rows of all draws of all nulls (see `das.judge.nulls`); None where there are none."""
        folder = self.folder / "nulls"
        paths = [folder / name for name in sorted({*noted(folder), *(path.name for path in folder.glob("[!.]*.parquet"))})]
        return pd.concat([as_read(read_table(path)) for path in paths], ignore_index=True) if paths else None

    # --- tables ---

    def screen_part(self, hypothesis: str) -> Path:
        """Where a hypothesis' part of the screen lies until all are there."""
        return self.folder / f"screen-{hypothesis}.parquet"

    def screened(self) -> pd.DataFrame | None:
        """`screen.parquet`: a row per hypothesis and site of the grid, with how far swaps can move answers there (`reach`), and
        whether it is `dead` (see `das.find.dead`); with a budget what the screen, or a trace, found there, its rank, and
        whether and why it was trained or skipped (see `das.find.screen`, `das.run.by_trace` and `das.find.budget`). None where
        the run had no budget and looked for no dead sites."""
        path = self.folder / SCREEN
        if not written(path):
            return None
        table = as_read(read_table(path))
        return table if "dead" in table else table.assign(dead=False)  # older runs know of none

    def dead_sites(self) -> set[tuple[str, Site]]:
        """Hypotheses with their sites that were found dead."""
        table = self.screened()
        if table is None:
            return set()
        return set(zip(table["hypothesis"][table["dead"]], sites_of(table[table["dead"]]), strict=True))

    # --- a race ---

    def race(self) -> dict[str, Any]:
        """What a race has decided so far: `steps`, and of each hypothesis and site that it `stopped` the step. Finished cells
        say it of themselves (`raced`)."""
        return _json(self.folder / RACE) or {"steps": [], "stopped": []}

    def stop(self, step: int, losers: Sequence[tuple[str, Site]]) -> None:
        """Writes down what a race decides after a step."""
        body = self.race()
        stopped = [{"hypothesis": name, **asdict(site), "step": step} for name, site in losers]
        write_json(self.folder / RACE, {"steps": [*body["steps"], step], "stopped": [*body["stopped"], *stopped]})

    def stopped(self) -> dict[tuple[str, Site], int]:
        """Hypotheses with their sites that a race has stopped → after which step."""
        return {(row["hypothesis"], site_of(row)): row["step"] for row in self.race()["stopped"]}

    def rung_part(self, step: int, cells: Sequence[Cell]) -> Path:
        """Where it lies what cells that train together score after a step of a race."""
        return self.folder / RUNGS / f"{step}-{mark_of(cells)}.json"

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
        return as_read(table)

    def prompts(self, hypothesis: str, splits: Sequence[str]) -> dict[str, Rows]:
        """Of the pairs of some splits, `base` and `source.<variable>` → a number for each prompt, equal for equal ones."""
        mine = [("split", "in", list(splits)), ("hypothesis", "==", hypothesis)]
        return prompt_codes(read_table(self.folder / "pairs.parquet", filters=mine))

    @property
    def by_text(self) -> bool:
        """Whether prompts are known by their tokens (see `das.task.identity`); in older runs they are by their values."""
        return any(str(c).startswith(PROMPT) for c in read_table(self.folder / "pairs.parquet"))

    def test_bases(self, hypothesis: str) -> Rows:
        """The base prompt of each test pair, as a number. (pairs,)"""
        return self.prompts(hypothesis, ["test"])["base"]

    def test_prompts(self, hypothesis: str) -> Rows:
        """The base and the source prompts of each test pair, as numbers. (ways, pairs)"""
        return np.stack(list(self.prompts(hypothesis, ["test"]).values()))

    def table(self) -> pd.DataFrame:
        """One row per cell, a column per split and metric (`test_iia`, `val_flip_iia`, …), rank curves left out. `dead`:
        whether it is of a dead site, where nothing was trained: every swap has the no-op's IIA there. Such cells come last.
        `raced`, after a race: the step after which it stopped the cell, nan where it did not."""
        results = self.results()
        results = results[results["width"] == 0]
        keys = ["cell", "hypothesis", "layer", "component", "position", "subspace", "seed"]
        results = results.assign(column=results["split"] + "_" + results["metric"])
        wide = results.pivot(index=keys, columns="column", values="value").reset_index().rename_axis(columns=None)
        wide = wide.assign(dead=wide["test_rank"].isna()).drop(columns="val_rank")
        wide = wide.rename(columns={"test_rank": "rank", "test_raced": "raced"})
        return wide.sort_values("dead", kind="stable", ignore_index=True)

    def found(self) -> pd.DataFrame:
        """The rows of `table()` of which there is an alignment."""
        table = self.table()
        return table[~table["dead"]]

    # --- what it was made with ---

    def settings(self, task: Any = None, lm: Any = None) -> Settings:
        """What the run was made with. task, lm: the objects themselves, where the run was given objects and no names."""
        values = read_yaml(self.folder / "config.yaml")
        check_keys(values, Settings, str(self.folder / "config.yaml"))
        kept = (_json(self.folder / PROVENANCE) or {"places": {}})["places"]
        values |= {k: found_again(k, values[k], kept, self.folder) for k in NAMED}
        return Settings(**values | {key: thing for key, thing in (("task", task), ("lm", lm)) if thing is not None})
