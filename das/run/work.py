"""Work: what a process does for a run. It loads the network and the pairs once, and writes what each of its jobs gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from das.causal.columns import take
from das.find.alignment import Alignment, Cell
from das.find.budget import cost
from das.find.dead import bounds
from das.find.kinds import Nested, Rotation
from das.find.screen import screen
from das.find.search import Search, align
from das.find.sites import as_kept, sites_of
from das.find.train import forget, race
from das.ground.storage import write, write_json
from das.interchange.accuracy import Accuracy, commonest, correct
from das.interchange.engine import Engine, HookEngine
from das.interchange.feature import Whole
from das.interchange.measures import left_out
from das.interchange.replied import REPLIED
from das.interchange.score import hold, measured, score
from das.judge.evaluate import evaluate
from das.judge.evidence import questions, scorecards, values_of
from das.judge.failures import failing_groups, value_table
from das.judge.nulls import NULLS, Searches
from das.judge.verdict import SUPPORTED
from das.memory import give_back, room
from das.network.site import Site
from das.pairs.audit import audit, audit_text
from das.pairs.dataset import Dataset
from das.pairs.upstream import ordinary, telling
from das.progress import Reporter
from das.run.early import write_reach
from das.run.folder import Folder
from das.run.layout import Layout
from das.run.material import SPLITS, Material
from das.run.mend import DEAD
from das.run.table import all_pairs
from das.run.words import PROMPT, TEXTS, prompt_body, reply_table, text_table
from das.task.variant import BASE
from das.text import count

FEW = 128
"""Pairs per hypothesis for a first look at the grid."""


class Work:
    """The jobs of a run, for one process."""

    def __init__(self, layout: Layout, run: Folder, report: Reporter) -> None:
        self.layout, self.run, self.report = layout, run, report

    @cached_property
    def material(self) -> Material:
        """The network and the pairs, as the layout says."""
        if threads := self.layout.settings.threads:
            torch.set_num_threads(threads)
        material = self.layout.material()
        self.run.hold(all_pairs(material.pairs, material.data))
        if isinstance(material.engine, HookEngine):
            self.report.say(f"every swap runs the whole network: {material.engine.why}")
        give_back()
        return material

    @property
    def room(self) -> float:
        """Bytes for captures."""
        s = self.layout.settings
        return room(s.memory, self.material.lm.device) / s.workers

    def audit(self) -> None:
        """Writes the pairs and what can be said of them."""
        m, audits = self.material, {}
        for split in SPLITS:
            audits[split] = {n: audit(self.layout.task, n, p, m.data[split].pairs[n].label) for n, p in m.pairs[split].items()}
        folder = self.run.folder
        write(folder / "pairs.parquet", lambda path: all_pairs(m.pairs, m.data).to_parquet(path))
        write(folder / TEXTS, text_table(self.layout.task, m.pairs["test"]).to_parquet)
        write_json(folder / PROMPT, prompt_body(self.layout.task, self.layout.tokenizer, self.layout.positions))
        write_json(folder / "audit.json", audits)
        for name in self.layout.hypotheses:
            self.report.say(audit_text(name, audits["test"][name]))
            if left := m.left_out.get(name):
                every = f"{left} of the {len(self.layout.task.pairs[name])} pairs brought"
                self.report.say(f"  {every} are left out: the network answers a prompt of theirs wrongly")
        for line in left_out(self.layout.measures, m.data["test"]):
            self.report.say(line)

    def reach(self) -> None:
        """Writes what swapping the whole vector does at every site, on a few validation pairs: a first look at the grid."""
        m, every = self.material, self.layout.variables
        few = {
            name: pairs.take(np.random.default_rng(0).permutation(len(pairs))[:FEW])
            for name, pairs in m.data["val"].pairs.items()
        }
        sites = dict.fromkeys((cell.hypothesis, cell.site) for cell in self.layout.grid())
        wanted = {(name, site): (name, site, [Whole(every[name])]) for name, site in sites}
        with self.report.task(f"first look: {count(len(sites), 'sites')}", 1) as step:
            found = score(m.engine, Dataset(m.data["val"].prompts, few), wanted, progress=partial(step, note=""))
        write_reach(self.run.folder, {key: float(hits.mean()) for key, hits in found.items()})

    def tell_unsolved(self) -> None:
        """Says so where the network does not solve the task on a few validation prompts: then the verdict can be no other."""
        task, name = self.layout.task, self.layout.hypotheses[0]
        if not task.hypothesis(name).model.complete:
            return
        asked, pairs = task.variant(BASE), self.material.pairs["val"][name]
        base = take(pairs.base, np.arange(min(FEW, len(pairs))))
        found = Accuracy(float(correct(asked, self.material.lm, base, self.material.engine).mean()), commonest(asked))
        if not found.solved:
            self.report.say(f"the network does not solve the task: {found.enough}. Train it longer, or take another one")

    def begin(self, look: bool) -> None:
        """What comes before a grid: the audit and, if so, a first look."""
        self.audit()
        if look:
            self.tell_unsolved()
            self.reach()

    def bound(self, sites: Sequence[Site]) -> None:
        """Writes how far swaps of subspaces can move answers at sites, on training pairs alone."""
        m = self.material
        with self.report.task(f"dead sites: {len(sites)} sites", 1) as step:
            table = bounds(m.engine, m.data["train"], self.layout.hypotheses, sites, progress=partial(step, note=""))
        write(self.run.folder / DEAD, as_kept(table).to_parquet)

    def screen(self, hypotheses: Sequence[str]) -> None:
        """Screens the sites of hypotheses: writes what is found, and what a cell at each site costs. It sees training pairs
        alone, so that nothing is chosen on what is reported."""
        m, s = self.material, self.layout.settings
        for name in hypotheses:
            cells = [cell for cell in self.layout.grid() if cell.hypothesis == name]
            with self.report.task(f"screen: {len(cells) // s.seeds} sites of {name}", 1) as step:
                table = screen(m.engine, m.data["train"], cells, rows=s.batch, progress=partial(step, note=""))
            self._rankable(name, table)

    def by_trace(self, hypotheses: Sequence[str]) -> None:
        """Writes what the trace has found at the sites of hypotheses, and what a cell at each costs."""
        assert self.layout.trace
        for name in hypotheses:
            self._rankable(name, self.layout.trace.table(name, self.layout.sites))

    def _rankable(self, name: str, table: pd.DataFrame) -> None:
        """Writes the sites of a hypothesis with their scores, and what a cell at each costs."""
        m = self.material
        costs = [cost(m.engine, m.data["train"], site) for site in sites_of(table)]
        write(self.run.screen_part(name), as_kept(table.assign(cost=costs)).to_parquet)

    def train(self, stage: str, cells: Sequence[Cell], among: Sequence[Site] = ()) -> None:
        """Finds and judges alignments of cells and writes their folders. among: the sites at which jobs of this process, one
        after another, look for some; what the network makes of the prompts is kept for all of them."""
        m = self.material
        self._hold(among)
        search = self._search(m.engine, m.data, stage, self.run.folder, self.layout.settings.logger)
        done = align(cells, self._racing(search, cells))
        with self.report.task(f"{stage}: evaluating {len(done)} cells", 2) as step:
            records = evaluate(
                done, m.engine, {"val": m.data["val"], "test": m.data["test"]},
                lambda split, share: step((split == "test") + share, ""), self.room, self.layout.measures,
            )  # fmt: skip
        for record in records:
            self.run.save(record)

    def race(self, cells: Sequence[Cell], until: int, among: Sequence[Site] = ()) -> None:
        """Trains cells up to a step, leaves them to be gone on with, and writes how they do there. among: see `train`."""
        m, s = self.material, self.layout.settings
        self._hold(among)
        found = race(cells, self._racing(self._search(m.engine, m.data, "grid", self.run.folder, s.logger), cells), until)
        write_json(self.run.rung_part(until, cells), found)

    def _hold(self, among: Sequence[Site] = ()) -> None:
        """Keeps what the network makes of the prompts for searches at these sites, one after another; without any, nothing."""
        m = self.material
        hold(m.engine, list(m.data.values()) if among else [], among, self.room)

    def _racing(self, search: Search, cells: Sequence[Cell]) -> Search:
        """A search that stops those cells which a race has stopped."""
        stopped = self.run.stopped()
        halts = {cell.id: step for cell in cells if (step := stopped.get((cell.hypothesis, cell.site))) is not None}
        return replace(search, halts=halts)

    def _search(
        self, engine: Engine, data: Mapping[str, Dataset], stage: str, folder: Path, logger: str = "none"
    ) -> Search:  # fmt: skip
        return Search(engine, data, self.layout.schedule, folder, stage, logger, self.report, self.room)

    def search(
        self, wanted: Sequence[tuple[str, int]], draws: Sequence[Sequence[Cell]], chosen: Mapping[str, Site],
        ranks: Mapping[str, int],
    ) -> None:  # fmt: skip
        """Does some draws of nulls and writes their tables."""
        self._hold()
        m, folder = self.material, self.run.folder / "nulls"

        def found(cells: Sequence[Cell], engine: Engine, data: Mapping[str, Dataset], name: str) -> list[Alignment]:
            return align(cells, self._search(engine, data, f"null: {name}", folder))

        searches = Searches(m.engine, m.data, m.engine_of, found, ranks)
        for null in NULLS:
            mine = {draw: draws[draw] for kind, draw in wanted if kind == null}
            for draw, table in searches.tables(null, mine, chosen):
                self.run.save_null(null, draw, table)

    def examine(self, sites: Mapping[str, Site]) -> None:
        """Writes the scorecards of the cells at hypotheses' chosen sites, and where they fail."""
        m, task, s = self.material, self.layout.task, self.layout.settings
        values = {split: values_of(task, m.pairs[split]) for split in ("val", "test")}
        for name, site in sites.items():
            cells = self.layout.examined({name: site})
            put = questions(task, [name], m.pool, s.seed, m.pairs["test"])
            asked = Dataset.make(task, self.layout.tokenizer, put, self.layout.positions, m.outputs)
            alignments = [self.run.alignment(cell.id) for cell in cells]
            with self.report.task(f"evidence: {name}", 1) as step:
                found = scorecards(alignments, m.engine, asked, m.data, values, partial(step, note=""), self.room)
            upstream = self._upstream(name, site)
            hypothesis, pairs = task.hypotheses[name], m.pairs["test"][name]
            main = [Cell(name, site, s.kind, seed) for seed in range(s.chosen_seeds)]
            hits = np.mean([self.run.hits(cell) for cell in main], axis=0)
            self.run.save_failures(name, failing_groups(hypothesis, pairs, hits), value_table(hypothesis, pairs, hits))
            for cell, (card, natural), replies in zip(cells, found, self._replies(name, alignments), strict=True):
                self.run.save_scorecard(cell, replace(card, upstream=upstream), natural, replies)

    def _replies(self, name: str, alignments: Sequence[Alignment]) -> list[pd.DataFrame]:
        """What the network answers to a hypothesis' test pairs under each alignment's swap."""
        m, data, task = self.material, self.material.data["test"], self.layout.task
        wanted = {i: (name, a.cell.site, [a.feature]) for i, a in enumerate(alignments)}
        found = measured(m.engine, data, wanted, {"reply": REPLIED})
        return [
            reply_table(task, self.layout.tokenizer, m.pairs["test"][name], data, name, found[i]["reply"][0]) for i in wanted
        ]

    def _upstream(self, name: str, site: Site) -> dict[str, float]:
        """Cause of a hypothesis' variables → the share of its telling pairs (see `das.pairs.upstream`) on which an alignment of
        it at the site gives the answer. Empty where no kind there scores enough to be supported anyway."""
        m, s, task = self.material, self.layout.settings, self.layout.task
        hypothesis, rng = task.hypotheses[name], np.random.default_rng([s.seed, 8])
        if not hypothesis.model.complete:
            return {}
        cells = self.layout.examined({name: site})
        best = max(self.run.card(cell)["metrics"]["test"]["normalised"] for cell in cells)
        told = telling(hypothesis, m.pool, rng) if best >= SUPPORTED else {}
        if not told:
            return {}
        pairs = {split: ordinary(hypothesis, told, m.pairs[split][name], rng) for split in ("train", "val")} | {"test": told}
        data = {
            split: Dataset.make(
                task, self.layout.tokenizer, {f"{name} from {c}": p for c, p in some.items()}, self.layout.positions, m.outputs
            )
            for split, some in pairs.items()
        }
        kind = s.kind if isinstance(s.kind, Rotation) else Nested(min(Nested().k, m.data["val"].size(m.lm, site)))
        wanted = [Cell(cause, site, kind) for cause in data["test"].pairs]
        alignments = align(wanted, self._search(m.engine, data, f"evidence: what {name} is computed from", self.run.folder))
        asked = {c: (a.cell.hypothesis, site, [a.feature]) for c, a in zip(told, alignments, strict=True)}
        shares = {c: float(hits.mean()) for c, hits in score(m.engine, data["test"], asked).items()}
        forget(self.run.folder, wanted)
        return shares
