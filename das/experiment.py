"""Experiment: from a task and a network to a run folder with every cell trained, judged and tabled."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_object_dtype

from das.alignment import Cell, untrained
from das.audit import audit, audit_text
from das.budget import cost, outline, sites_of, spend
from das.dataset import Dataset
from das.engine import Engine, make_engine
from das.errors import DasError
from das.evaluate import correct, evaluate
from das.grid import Schedule
from das.kinds import Kind
from das.lm import LM, layer_count, load_config, load_tokenizer
from das.memory import give_back, room
from das.pairs import Pairs, check_families, make_pairs, split_pools
from das.progress import Reporter, silent
from das.prompt import expand_positions
from das.run import SCREEN, Run, write
from das.screen import screen
from das.settings import Settings, check_keys, name_of
from das.site import Site, parse_component
from das.task import Task, load_task
from das.train import forget, train
from das.workers import run_in_processes

SPLITS = ("train", "val", "test")
POOL = 3
"""Prompts in a split's pool per pair wanted of it."""


@dataclass
class Material:
    """What every worker of a run needs, made the same way by each from the settings alone."""

    lm: LM
    engine: Engine
    pairs: dict[str, dict[str, Pairs]]  # split → hypothesis → pairs
    data: dict[str, Dataset]  # split → tokens


class Experiment:
    """Everything that `Settings` says, checked before weights are loaded.

    >>> run = Experiment("price_tagging", "price-tagger-tiny", layers=[2], positions=["last"]).run("runs/x")  # doctest: +SKIP
    """

    def __init__(self, task: str | Path | Task, lm: str | Path | LM, **settings: Any) -> None:
        check_keys(settings, Settings, "Experiment")
        self.settings = Settings(task, lm, **settings)
        self.task = load_task(task)
        s = self.settings
        self.tokenizer = lm.tokenizer if isinstance(lm, LM) else load_tokenizer(str(lm))
        depth = lm.layers if isinstance(lm, LM) else layer_count(load_config(str(lm)))
        self.layers = list(range(depth)) if isinstance(s.layers, str) else list(s.layers)
        for layer in self.layers:
            if not 0 <= layer < depth:
                raise DasError(f"layer {layer} does not exist: {name_of(lm)} has layers 0 to {depth - 1}")
        self.positions = expand_positions(s.positions or self.task.positions)
        self.hypotheses = [n.split(".")[0] for n in s.hypotheses or self.task.hypotheses if self.task.hypothesis(n)]
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
        s = self.settings
        lm = s.lm if isinstance(s.lm, LM) else LM.load(str(s.lm), s.dtype, s.device)
        sizes = {"train": s.train_pairs, "val": s.val_pairs, "test": s.test_pairs}
        accept = partial(correct, self.task, lm, "base", engine=make_engine(lm)) if s.only_correct else None
        pools = split_pools(
            self.task.model, {k: POOL * n for k, n in sizes.items()}, np.random.default_rng([s.seed, 0]), accept
        )
        pairs = {
            split: {
                name: make_pairs(
                    self.task.hypotheses[name],
                    pools[split],
                    sizes[split],
                    np.random.default_rng([s.seed, i, j]),
                    s.families,
                    self.task.rivals(name),
                )
                for j, name in enumerate(self.hypotheses)
            }
            for i, split in enumerate(SPLITS)
        }
        data = {split: Dataset.make(self.task, self.tokenizer, p, self.positions) for split, p in pairs.items()}
        prefixes = [d.shared_prefix() for d in data.values()]
        shortest = min(len(p) for p in prefixes)
        same = np.argmin([*(np.stack([p[:shortest] for p in prefixes]) == prefixes[0][:shortest]).all(0), False])
        longest = max(int(d.prompts.lengths.max()) for d in data.values())
        return Material(lm, make_engine(lm, prefixes[0][:same], s.components, longest), pairs, data)

    # --- the run ---

    def run(self, out: str | Path, report: Reporter = silent) -> Run:
        """Trains and judges every cell that `out` does not hold yet, and writes tables, summary and figures there."""
        started = time.time()
        run = Run(Path(out))
        run.prepare(self.settings)
        self._audit(run, report)
        grid = self._within_budget(run, report)
        self._stage(run, "grid", grid, report)
        chosen = run.choose(grid)
        extra = [cell for cell in self.refinement(chosen) if not run.has(cell)]
        if extra:
            self._stage(run, "chosen cells", extra, report)
        run.write(list(dict.fromkeys([*grid, *self.refinement(chosen)])), chosen, self._labels(grid), time.time() - started)
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
        """Writes the pairs and what can be said of them; once per run folder."""
        if (run.folder / "audit.json").exists():
            return
        m = self._material
        audits = {}
        for split in SPLITS:
            audits[split] = {n: audit(self.task, n, p, m.data[split].pairs[n].label) for n, p in m.pairs[split].items()}
        tables = [
            pd.DataFrame(p.columns()).assign(split=split, hypothesis=name)
            for split, table in m.pairs.items()
            for name, p in table.items()
        ]
        frame = pd.concat(tables, ignore_index=True)
        for column in (c for c in frame if is_object_dtype(frame[c])):
            frame[column] = frame[column].map(lambda v: v if v is None or isinstance(v, str) else json.dumps(v, default=str))
        write(run.folder / "pairs.parquet", lambda path: frame.to_parquet(path))
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
            table = spend(self._screen(grid, report), budget)
            write(run.folder / SCREEN, table.to_parquet)
        for line in outline(table, self._names):
            report.say(line)
        table = table[table["trained"]]
        trained = set(zip(table["hypothesis"], sites_of(table), strict=True))
        return [cell for cell in grid if (cell.hypothesis, cell.site) in trained]

    def _screen(self, grid: Sequence[Cell], report: Reporter) -> pd.DataFrame:
        """What the screen finds, with what a cell at each site costs."""
        m = self._material
        data = m.data["train"]
        with report.task(f"screen: {len(grid) // self.settings.seeds} sites", 1) as step:
            table = screen(m.engine, data, grid, rows=self.settings.batch, progress=lambda share: step(share, ""))
        return table.assign(cost=[cost(m.engine, data, site) for site in sites_of(table)])

    def _stage(self, run: Run, name: str, cells: Sequence[Cell], report: Reporter) -> None:
        """Trains and judges the cells that are not there, in as many processes as were asked for."""
        missing = [cell for cell in cells if not run.has(cell)]
        if not missing:
            return
        shards = _shards(missing, self.settings.workers)
        if len(shards) == 1:
            self.work(run, name, missing, report)
            return
        if not isinstance(self.settings.task, str | Path) or not isinstance(self.settings.lm, str | Path):
            raise DasError("several workers need a task and a network that are given by name or path, not as objects")
        self.__dict__.pop("_material", None)  # the workers make their own
        give_back()
        run_in_processes([partial(_work, self.settings, run.folder, name, shard) for shard in shards], report, __name__)

    def work(self, run: Run, stage: str, cells: Sequence[Cell], report: Reporter) -> None:
        """Trains and judges cells in this process and writes their folders."""
        m = self._material
        trained = [cell for cell in cells if cell.trains]
        done = [untrained(c, m.data["val"].size(m.lm, c.site), self.variables[c.hypothesis]) for c in cells if not c.trains]
        if trained:
            done += train(
                trained, m.engine, m.data["train"], m.data["val"], self.variables, self.schedule,
                run.folder, stage, self.settings.logger, report, self._room,
            )  # fmt: skip
        with report.task(f"{stage}: evaluating {len(done)} cells", 2) as step:
            records = evaluate(
                done, m.engine, {"val": m.data["val"], "test": m.data["test"]},
                lambda split, share: step((split == "test") + share, ""), self._room,
            )  # fmt: skip
        for record in records:
            run.save(record)
        forget(run.folder, trained)

    @property
    def _room(self) -> float:
        """Bytes for captures in each worker."""
        return room(self.settings.memory, self._material.lm.device) / self.settings.workers


def _work(settings: Settings, folder: Path, stage: str, cells: Sequence[Cell], report: Reporter) -> None:
    """A worker's share, in a process of its own."""
    Experiment.from_settings(settings).work(Run(folder), stage, cells, report)


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
