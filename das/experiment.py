"""Experiment: from a task and a network to a run folder with every cell trained, judged and tabled."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from das.alignment import Alignment, Cell, untrained
from das.audit import audit, audit_text
from das.budget import cost, outline, sites_of, spend
from das.check import askable, retrained
from das.dataset import Dataset
from das.engine import Engine
from das.errors import DasError
from das.evaluate import evaluate
from das.evidence import questions, scorecards, values_of
from das.failures import failing_groups, value_table
from das.grid import Schedule
from das.kinds import Kind
from das.lm import LM, layer_count, load_config
from das.material import SPLITS, Material, tokenizer_of
from das.memory import give_back, room
from das.nulls import NULLS, Searches, draws_of
from das.pairs import check_families
from das.progress import Reporter, silent
from das.prompt import Tokenizer, expand_positions
from das.run import SCREEN, Run, pair_table, write
from das.screen import screen
from das.settings import Settings, check_keys, name_of
from das.shifts import parse_shift
from das.site import Site, parse_component
from das.summary import Summary
from das.task import Task, load_task
from das.train import forget, train
from das.workers import run_in_processes

T = TypeVar("T")


class Experiment:
    """Everything that `Settings` says, checked before weights are loaded.

    >>> run = Experiment("price_tagging", "price-tagger-tiny", layers=[2], positions=["last"]).run("runs/x")  # doctest: +SKIP
    """

    def __init__(self, task: str | Path | Task, lm: str | Path | LM, **settings: Any) -> None:
        check_keys(settings, Settings, "Experiment")
        self.settings = Settings(task, lm, **settings)
        s, base = self.settings, load_task(task)
        self.tokenizer = tokenizer_of(s)
        self.task = _under(s.under, base, self.tokenizer)
        if s.shifts:
            retrained(s.retrain, s.shifts, askable(base, self.tokenizer, s.shifts)[0])
        depth = lm.layers if isinstance(lm, LM) else layer_count(load_config(str(lm)))
        self.layers = list(range(depth)) if isinstance(s.layers, str) else list(s.layers)
        for layer in self.layers:
            if not 0 <= layer < depth:
                raise DasError(f"layer {layer} does not exist: {name_of(lm)} has layers 0 to {depth - 1}")
        self.positions = expand_positions(s.positions or self.task.positions)
        self.hypotheses = self.task.short_names(s.hypotheses)
        check_families(s.families)
        self._check_components(lm)
        self.task.check(self.tokenizer, self.positions)

    def _check_components(self, lm: Any) -> None:
        components = self.settings.components
        if components == ["block_output"]:
            return
        network = lm if isinstance(lm, LM) else LM.skeleton(str(lm))
        for component in components:
            if "." in component and parse_component(component) is None and "{layer}" not in component and len(self.layers) > 1:
                raise DasError(
                    f"component {component!r} is the same module in every layer: put {{layer}} in it, or give one layer"
                )
            for layer in self.layers:
                network.tap(component, layer)

    @classmethod
    def from_settings(cls, settings: Settings) -> Experiment:
        return cls(**vars(settings))

    @property
    def variables(self) -> dict[str, int]:
        """Hypothesis → how many variables it aligns."""
        return {name: len(self.task.hypotheses[name].variables) for name in self.hypotheses}

    def grid(self) -> list[Cell]:
        """The cells of the whole grid."""
        s = self.settings
        spots = [(layer, component) for layer in self.layers for component in s.components]
        sites = [Site(layer, position, component) for layer, component in spots for position in self.positions]
        return [Cell(h, site, s.kind, seed) for site in sites for h in self.hypotheses for seed in range(s.seeds)]

    def refinement(self, chosen: Mapping[str, Site]) -> list[Cell]:
        """The cells that are added where each hypothesis was found: more seeds, and the kinds beside."""
        s = self.settings
        kinds: list[Kind] = [s.kind, *s.kinds_beside]
        return [Cell(h, site, kind, seed) for h, site in chosen.items() for kind in kinds for seed in range(s.chosen_seeds)]

    @property
    def schedule(self) -> Schedule:
        s = self.settings
        return Schedule(s.steps, s.batch, s.check_every, s.patience, seed=s.seed)

    @property
    def _names(self) -> dict[str, str]:
        """Hypothesis → its full name."""
        return {name: self.task.full_name(name) for name in self.hypotheses}

    def _labels(self, trained: Sequence[Cell]) -> dict[str, Any]:
        """What the run's summary and figures need to be told: hypotheses' full names, the tokens of an example prompt, how
        many cells of the grid were trained and skipped."""
        cells, done = (Counter(cell.hypothesis for cell in some) for some in (self.grid(), trained))
        counts = {name: {"trained": done[name], "skipped": cells[name] - done[name]} for name in self.hypotheses}
        return {"names": self._names, "tokens": self.task.tokens_at(self.tokenizer, self.positions), "grid": counts}

    # --- material ---

    def material(self) -> Material:
        """Loads the network, draws and labels the pairs, tokenizes them."""
        return Material.make(self.settings, self.task, self.tokenizer, self.hypotheses, self.positions)

    # --- the run ---

    def run(self, out: str | Path, report: Reporter = silent) -> Run:
        """Trains and judges every cell that `out` does not hold yet, and writes tables, summary and figures there."""
        started = time.time()
        run = Run(Path(out))
        run.prepare(self.settings)
        if not (run.folder / "audit.json").exists():
            self._share(run, [Experiment._audit], report)
        grid = self._within_budget(run, report)
        self._stage(run, "grid", grid, report)
        chosen = run.choose(grid)
        self._stage(run, "chosen cells", self.refinement(chosen), report)
        self._search_nulls(run, grid, chosen, report)
        self._examine(run, chosen, report)
        cells = list(dict.fromkeys([*grid, *self.refinement(chosen)]))
        Summary(run, cells, chosen, self._labels(grid)).write(time.time() - started)
        run.figures()
        if self.settings.shifts:
            run.shift(self.settings.shifts, self.settings.retrain, report, self.settings.task, self.settings.lm)
        report.say(f"done in {time.time() - started:.0f} s: {run.folder}")
        return run

    @cached_property
    def _material(self) -> Material:
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        material = self.material()
        give_back()
        return material

    def _audit(self, run: Run, report: Reporter) -> None:
        """Writes the pairs and what can be said of them."""
        m = self._material
        audits = {}
        for split in SPLITS:
            audits[split] = {n: audit(self.task, n, p, m.data[split].pairs[n].label) for n, p in m.pairs[split].items()}
        tables = [
            pair_table(p).assign(split=split, hypothesis=name) for split, table in m.pairs.items() for name, p in table.items()
        ]
        write(run.folder / "pairs.parquet", lambda path: pd.concat(tables, ignore_index=True).to_parquet(path))
        write(run.folder / "audit.json", lambda path: path.write_text(json.dumps(audits, indent=1)))
        for name in self.hypotheses:
            report.say(audit_text(name, audits["test"][name]))

    def _within_budget(self, run: Run, report: Reporter) -> list[Cell]:
        """The cells of the grid that are to be trained: those of the sites that the folder's screen says, if there is a budget.
        The screen sees training pairs alone, so that nothing is chosen on what is reported."""
        grid, budget = self.grid(), self.settings.budget
        if budget is None:
            return grid
        if (table := run.screened()) is None:
            table = spend(self._screened(run, report), budget)
            write(run.folder / SCREEN, table.to_parquet)
            for name in self.hypotheses:
                _part(run, name).unlink()
        for line in outline(table, self._names):
            report.say(line)
        table = table[table["trained"]]
        trained = set(zip(table["hypothesis"], sites_of(table), strict=True))
        return [cell for cell in grid if (cell.hypothesis, cell.site) in trained]

    def _screened(self, run: Run, report: Reporter) -> pd.DataFrame:
        """What the screen finds, hypotheses shared out among the workers."""
        missing = [name for name in self.hypotheses if not _part(run, name).exists()]
        shards = _dealt(missing, self.settings.workers)
        self._share(run, [partial(_screen, hypotheses=shard) for shard in shards], report)
        return pd.concat([pd.read_parquet(_part(run, name)) for name in self.hypotheses], ignore_index=True)

    def screen(self, run: Run, hypotheses: Sequence[str], report: Reporter) -> None:
        """Screens the sites of hypotheses in this process and writes what it finds, with what a cell at each site costs."""
        m = self._material
        data, rows = m.data["train"], self.settings.batch
        for name in hypotheses:
            cells = [cell for cell in self.grid() if cell.hypothesis == name]
            with report.task(f"screen: {len(cells) // self.settings.seeds} sites of {name}", 1) as step:
                table = screen(m.engine, data, cells, rows=rows, progress=partial(step, note=""))
            table["cost"] = [cost(m.engine, data, site) for site in sites_of(table)]
            write(_part(run, name), table.to_parquet)

    def _stage(self, run: Run, name: str, cells: Sequence[Cell], report: Reporter) -> None:
        """Trains and judges the cells that are not there, in as many processes as were asked for."""
        missing = [cell for cell in cells if not run.has(cell)]
        if not missing:
            return
        self._share(run, [partial(_work, stage=name, cells=shard) for shard in _shards(missing, self.settings.workers)], report)

    def _share(self, run: Run, jobs: Sequence[Callable[..., None]], report: Reporter) -> None:
        """Does jobs, functions of an experiment, a run and a reporter, each in a process of its own; where one worker is all
        that was asked for, in this one."""
        if self.settings.workers == 1:
            for job in jobs:
                job(self, run, report=report)
            return
        if not isinstance(self.settings.task, str | Path) or not isinstance(self.settings.lm, str | Path):
            raise DasError("several workers need a task and a network that are given by name or path, not as objects")
        self.__dict__.pop("_material", None)  # the workers make their own
        give_back()
        run_in_processes([partial(_elsewhere, self.settings, run.folder, job) for job in jobs], report, __name__)

    def work(self, run: Run, stage: str, cells: Sequence[Cell], report: Reporter) -> None:
        """Trains and judges cells in this process and writes their folders."""
        m = self._material
        done = self._aligned(cells, m.engine, m.data, run.folder, stage, report, self.settings.logger)
        with report.task(f"{stage}: evaluating {len(done)} cells", 2) as step:
            records = evaluate(
                done, m.engine, {"val": m.data["val"], "test": m.data["test"]},
                lambda split, share: step((split == "test") + share, ""), self._room,
            )  # fmt: skip
        for record in records:
            run.save(record)
        forget(run.folder, [cell for cell in cells if cell.trains])

    def _aligned(
        self, cells: Sequence[Cell], engine: Engine, data: Mapping[str, Dataset], folder: Path, stage: str, report: Reporter,
        logger: str = "none",
    ) -> list[Alignment]:  # fmt: skip
        """The alignments of cells on a data set, trained where they are of a kind that trains."""
        variables = {name: len(pairs.sources) for name, pairs in data["val"].pairs.items()}
        done = [untrained(c, data["val"].size(engine.lm, c.site), variables[c.hypothesis]) for c in cells if not c.trains]
        if trained := [cell for cell in cells if cell.trains]:
            train_on = data["train"], data["val"], variables, self.schedule
            done += train(trained, engine, *train_on, folder, stage, logger, report, self._room)
        return done

    # --- evidence ---

    def _search_nulls(self, run: Run, grid: Sequence[Cell], chosen: Mapping[str, Site], report: Reporter) -> None:
        """The same search where there is nothing to be found, as often as was asked for and not done yet."""
        n = self.settings.nulls
        every = [(null, draw) for null in NULLS for draw in range(n) if not run.null_path(null, draw).exists()]
        if not every:
            return
        found = {name: run.card(Cell(name, site, self.settings.kind))["rank"] for name, site in chosen.items()}
        ranks = {name: max(1, round(rank / self.variables[name])) for name, rank in found.items()}
        shards = _dealt(every, self.settings.workers)
        cells = draws_of(grid, chosen, n, self.settings.seed)
        self._share(run, [partial(_search, wanted=shard, draws=cells, chosen=chosen, ranks=ranks) for shard in shards], report)
        forget(run.folder / "nulls")

    def search(
        self, run: Run, wanted: Sequence[tuple[str, int]], draws: Sequence[Sequence[Cell]], chosen: Mapping[str, Site],
        ranks: Mapping[str, int], report: Reporter,
    ) -> None:  # fmt: skip
        """Does some draws of nulls in this process and writes their tables."""
        m = self._material

        def align(cells: Sequence[Cell], engine: Engine, data: Mapping[str, Dataset], name: str) -> list[Alignment]:
            return self._aligned(cells, engine, data, run.folder / "nulls", f"null: {name}", report)

        searches = Searches(m.engine, m.data, m.engine_of, align, ranks)
        for null in NULLS:
            mine = {draw: draws[draw] for kind, draw in wanted if kind == null}
            for draw, table in searches.tables(null, mine, chosen):
                run.save_null(null, draw, table)

    def _examine(self, run: Run, chosen: Mapping[str, Site], report: Reporter) -> None:
        """Writes the scorecards of the chosen cells, and where they fail; hypotheses shared out among the workers."""
        left = [cell.hypothesis for cell in self.refinement(chosen) if run.scorecard(cell) is None]
        shards = _dealt(dict.fromkeys(left), self.settings.workers)
        self._share(run, [partial(_evidence, sites={name: chosen[name] for name in shard}) for shard in shards], report)

    def examine(self, run: Run, sites: Mapping[str, Site], report: Reporter) -> None:
        """Writes the scorecards of the cells at hypotheses' chosen sites, and where they fail."""
        m = self._material
        values = {split: values_of(self.task, m.pairs[split]) for split in ("val", "test")}
        for name, site in sites.items():
            cells = self.refinement({name: site})
            asked = Dataset.make(
                self.task, self.tokenizer, questions(self.task, [name], m.pool, self.settings.seed), self.positions
            )
            alignments = [run.alignment(cell.id) for cell in cells]
            with report.task(f"evidence: {name}", 1) as step:
                found = scorecards(alignments, m.engine, asked, m.data, values, partial(step, note=""))
            hypothesis, pairs = self.task.hypotheses[name], m.pairs["test"][name]
            main = [Cell(name, site, self.settings.kind, seed) for seed in range(self.settings.chosen_seeds)]
            hits = np.mean([run.hits(cell) for cell in main], axis=0)
            run.save_failures(name, failing_groups(hypothesis, pairs, hits), value_table(hypothesis, pairs, hits))
            for cell, (card, natural) in zip(cells, found, strict=True):
                run.save_scorecard(cell, card, natural)

    @property
    def _room(self) -> float:
        """Bytes for captures in each worker."""
        return room(self.settings.memory, self._material.lm.device) / self.settings.workers


def _under(shift: Any, task: Task, tokenizer: Tokenizer) -> Task:
    """The task under a shift that the settings name."""
    if shift == "base":
        return task
    try:
        return task.under(parse_shift(shift, task.shifts), tokenizer)
    except DasError as error:
        raise DasError(f"under {shift!r}: {error}") from error


def _work(experiment: Experiment, run: Run, stage: str, cells: Sequence[Cell], report: Reporter) -> None:
    experiment.work(run, stage, cells, report)


def _screen(experiment: Experiment, run: Run, hypotheses: Sequence[str], report: Reporter) -> None:
    experiment.screen(run, hypotheses, report)


def _evidence(experiment: Experiment, run: Run, sites: Mapping[str, Site], report: Reporter) -> None:
    experiment.examine(run, sites, report)


def _dealt(things: Iterable[T], hands: int) -> list[list[T]]:
    """Things dealt out in turn; no empty hands."""
    every = list(things)
    return [every[i::hands] for i in range(min(hands, len(every)))]


def _part(run: Run, hypothesis: str) -> Path:
    """Where a hypothesis' part of the screen lies until all are there."""
    return run.folder / f"screen-{hypothesis}.parquet"


def _search(experiment: Experiment, run: Run, report: Reporter, **wanted: Any) -> None:
    experiment.search(run, report=report, **wanted)


def _elsewhere(settings: Settings, folder: Path, job: Callable[..., None], report: Reporter) -> None:
    """A worker's share, in a process of its own."""
    job(Experiment.from_settings(settings), Run(folder), report=report)


def _shards(cells: Sequence[Cell], workers: int) -> list[list[Cell]]:
    """The cells in at most `workers` parts of like cost; cells at one site stay together."""
    depth = max(cell.site.layer for cell in cells) + 1
    sites: dict[Site, list[Cell]] = {}
    for cell in cells:
        sites.setdefault(cell.site, []).append(cell)
    shards: list[list[Cell]] = [[] for _ in range(min(workers, len(sites)))]
    cost = [0.0] * len(shards)
    for site, members in sorted(sites.items(), key=lambda item: item[0].layer):
        lightest = int(np.argmin(cost))
        shards[lightest] += members
        cost[lightest] += len(members) * (depth - site.layer)
    return shards
