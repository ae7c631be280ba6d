"""Course: the stages of a run, one after another. Each is cut into jobs, and handed to whoever does them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from das.find.alignment import Cell
from das.find.budget import outline, spend
from das.find.dead import mark, told
from das.find.race import losers, rungs
from das.find.sites import SITE, as_kept, as_read, site_of, sites_of
from das.find.train import begun, forget
from das.ground.storage import forget_missing, read_json, read_table, remove, write
from das.judge.nulls import NULLS, draws_of
from das.memory import room
from das.network.device import device_of
from das.network.site import Site
from das.progress import Reporter, Watched
from das.run.captured import finds_room
from das.run.costs import cell_flops
from das.run.early import Early, Watch, early
from das.run.hand import at_hand, job_of
from das.run.layout import Layout
from das.run.mend import DEAD, RUNGS, SCREEN
from das.run.part import Part, parts_of
from das.run.settings import TRAIN
from das.run.stages import PURPOSES, so_far
from das.run.summary import Summary
from das.run.words import PROMPT, TEXTS
from das.run.work import Work
from das.run.workers import Workers, dealt
from das.text import count

if TYPE_CHECKING:
    from das.use.run import Run

After = Callable[["Run", str], None]
"""What is called after a stage, with the run and the stage's name (a key of `das.run.stages.PURPOSES`, or `DONE`). The run's
tables and its summary say what there is so far; no hypothesis has a verdict before the last."""
Look = Callable[[Path, Early], Any]
"""What is called with a run's folder and what there is to see of its grid."""


class Course:
    """The stages of one run, whose folder must be held. after, look: see `das.run.experiment.Experiment.run`."""

    def __init__(
        self, layout: Layout, run: Run, workers: Workers, report: Reporter, after: Sequence[After] = (),
        look: Look | None = None,
    ) -> None:  # fmt: skip
        self.layout, self.run, self.workers, self.after, self.look = layout, run, workers, after, look
        self.work = Work(layout, run, report)
        self.see: Callable[[], None] = lambda: None

    def whole(self) -> None:
        """Does what is not done of all."""
        with self._watched():
            grid = self.begin(self.look is not None)
            self._race(grid)
            trained = self._train("grid", grid)
        dead = self._dead(grid)
        chosen, labels = self.run.choose(grid), self.layout.labels(grid, dead)
        for line in self.layout.left_out(chosen):
            self.work.report.say(line)
        closed = self._closed(grid)
        more = [cell for cell in self.layout.refinement(chosen) if cell not in {*grid, *closed}]
        cells = list(dict.fromkeys([*grid, *closed, *more]))

        def tell(stage: str, some: Sequence[Cell]) -> None:
            if self.after:
                seen = self.run.so_far(*so_far(Summary(self.run, some, chosen, labels, dead), stage))
                for each in self.after:
                    each(seen, stage)

        if trained:
            tell("grid", grid)
        if self._train("closed forms", closed):
            tell("closed forms", [*grid, *closed])
        if self._train("chosen cells", more):
            tell("chosen cells", cells)
        searched = [cell for cell in self.layout.grid() if cell in {*grid, *dead}]  # what is dead is known without a training
        if self._search_nulls(searched, chosen):
            tell("nulls", cells)
        self._examine(chosen)
        forget(self.run.folder)
        Summary(self.run, cells, chosen, labels, dead).write()

    @property
    def has_begun(self) -> bool:
        """Whether there is all that comes before the grid."""
        sorts = self.layout.settings.budget is not None or self._in_question
        return self._drawn and (not sorts or self.run.screened() is not None)

    @property
    def _drawn(self) -> bool:
        return all((self.run.folder / name).exists() for name in ("audit.json", TEXTS, PROMPT))

    def begin(self, look: bool = False) -> list[Cell]:
        """Draws the pairs, looks at the grid for the first time if so, and with a budget ranks its sites; the cells to be
        trained."""
        if not self._drawn:
            self._share("pairs", {"the pairs": partial(Work.begin, look=look)})
        self.see()
        return self.within_budget()

    def part(self, part: Part) -> int:
        """Does one part of the grid and its closed forms, of a run that has begun; how many cells are left to others."""
        grid = self.within_budget()
        for stage, cells in (("grid", grid), ("closed forms", self._closed(grid))):
            self._train(stage, part.of(cells, cell_flops(self.layout, cells)))
        return sum(not self.run.has(cell) for cell in [*grid, *self._closed(grid)])

    def _closed(self, grid: Sequence[Cell]) -> list[Cell]:
        return self.layout.closed((cell.hypothesis, cell.site) for cell in grid)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Within it `look` is called now and then with what there is to see, and once there are pairs."""
        if self.look is None:
            yield
            return
        folder, layout, report, look = self.run.folder, self.layout, self.work.report, self.look
        tokens = layout.task.tokens_at(layout.tokenizer, layout.positions)
        watch = Watch(folder, lambda: look(folder, early(folder, layout.grid(), layout.names, tokens)))
        self.work.report, self.see = Watched(report, watch.look), watch.look
        try:
            yield
        finally:
            self.work.report = report

    def within_budget(self) -> list[Cell]:
        """The cells of the grid that are to be trained: those of living sites, and if there is a budget of the sites that the
        folder's ranking says."""
        grid, run = self.layout.grid(), self.run
        if (table := run.screened()) is None and (table := self._sorted()) is not None:
            write(run.folder / SCREEN, as_kept(table).to_parquet)
            for part in (run.folder / DEAD, *map(run.screen_part, self.layout.hypotheses)):
                remove(part)
            forget_missing(run.folder)
        if table is None:
            return grid
        if self.layout.settings.dead == TRAIN:
            table["trained"] |= table["dead"]
        for line in [*told(table[~table["trained"]], len(self.layout.sites)), *outline(table, self.layout.names)]:
            self.work.report.say(line)
        table = table[table["trained"]]
        trained = set(zip(table["hypothesis"], sites_of(table), strict=True))
        return [cell for cell in grid if (cell.hypothesis, cell.site) in trained]

    def _dead(self, trained: Sequence[Cell]) -> list[Cell]:
        """The cells of the grid at dead sites, less those that were trained all the same."""
        sites, there = self.run.dead_sites(), set(trained)
        return [cell for cell in self.layout.grid() if (cell.hypothesis, cell.site) in sites and cell not in there]

    # --- stages, shared out among the workers ---

    def _sorted(self) -> pd.DataFrame | None:
        """The grid's sites by what is to become of them; None where all are to be trained."""
        budget, reached = self.layout.settings.budget, self._reached()
        if budget is None:
            return reached
        table = self._ranked()
        return spend(table if reached is None else table.merge(reached, on=["hypothesis", *SITE]), budget)

    @property
    def _in_question(self) -> list[Site]:
        """The sites that may be found dead: where dead ones are looked for, all that have no finished cell."""
        done = {cell.site for cell in self.layout.grid() if self.run.has(cell)}
        return [site for site in self.layout.sites if site not in done] if self.layout.skips_dead else []

    def _reached(self) -> pd.DataFrame | None:
        """Which sites are dead; None where none is in question."""
        sites, part, layout = self._in_question, self.run.folder / DEAD, self.layout
        if not sites:
            return None
        if not part.exists():
            self._share("dead sites", {count(len(sites), "sites"): partial(Work.bound, sites=sites)})
        every = pd.DataFrame([{"hypothesis": name, **asdict(site)} for name in layout.hypotheses for site in layout.sites])
        found = as_read(read_table(part)).astype({"layer": every["layer"].dtype})
        return mark(every.merge(found, how="left", on=["hypothesis", *SITE]))

    def _ranked(self) -> pd.DataFrame:
        """What the screen finds, or the trace has found."""
        parts = {name: self.run.screen_part(name) for name in self.layout.hypotheses}
        shards = dealt([name for name, part in parts.items() if not part.exists()], self.workers.parts)
        stage, does = ("screen", Work.screen) if self.layout.settings.screens else ("trace", Work.by_trace)
        self._share(stage, {f"the sites of {', '.join(shard)}": partial(does, hypotheses=shard) for shard in shards})
        return as_read(pd.concat([read_table(part) for part in parts.values()], ignore_index=True))

    def _train(self, stage: str, cells: Sequence[Cell]) -> bool:
        """Trains and judges the cells that are not there; whether there were any.

        How a stage is shared out depends on the workers alone, not on what is there: cells that are run at once may differ
        in their last bits by the company they keep. So a share that was stopped midway, its checkpoint there, is finished as
        it was begun; what is missing otherwise is trained with all that is at its sites. Cells that are there stay as they are.
        """
        has = self.run.has
        if all(has(cell) for cell in cells):
            return False
        shards, among = self._shards(cells)
        left = [shard for shard in shards if not all(has(cell) for cell in shard)]
        wanted = [shard if begun(self.run.folder, _trained(shard)) else _at_sites_without(has, shard) for shard in left]
        self._share(stage, {_named(shard): partial(Work.train, stage=stage, cells=shard, among=among) for shard in wanted})
        return True

    def _cut(self, cells: Sequence[Cell]) -> tuple[int, list[Site]]:
        """Into how many jobs a training is cut; and where there are more than workers, the sites of all of them: what the
        network makes of the prompts is kept for the next job. Where it finds no room, each job would make it anew."""
        workers, s = self.workers, self.layout.settings
        each = room(s.memory, device_of(s.device)) / workers.count
        if workers.parts == workers.count or not finds_room(self.layout, each):
            return workers.count, []
        return workers.parts, list(dict.fromkeys(cell.site for cell in cells))

    def _shards(self, cells: Sequence[Cell]) -> tuple[list[list[Cell]], list[Site]]:
        """The cells by the jobs that they are cut into; and the sites of `_cut`."""
        parts, among = self._cut(cells)
        return parts_of(cells, cell_flops(self.layout, cells), parts) if parts > 1 else [list(cells)], among

    def _race(self, grid: Sequence[Cell]) -> None:
        """Trains the grid up to each rung of a race that is not decided yet, and decides it: what all cells score there, on
        validation pairs, says which sites stop. Without a race, and where all is trained, nothing."""
        if not self.layout.settings.race or all(self.run.has(cell) for cell in grid):
            return
        cut, among = self._shards(grid)
        shards = [shard for shard in cut if shard]
        for step in rungs(self.layout.schedule):
            if step not in self.run.race()["steps"]:
                parts = {_named(shard): self.run.rung_part(step, shard) for shard in shards}
                behind = [shard for shard in shards if not parts[_named(shard)].exists()]
                does = partial(Work.race, until=step, among=among)
                self._share("race", {_named(shard): partial(does, cells=shard) for shard in behind})
                self.run.stop(step, losers(self._left(grid, [row for part in parts.values() for row in read_json(part)])))
        remove(self.run.folder / RUNGS)

    def _left(self, grid: Sequence[Cell], rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, Site], float]:
        """Hypotheses with their sites that are still in a race, in the grid's order → validation IIA, mean over seeds."""
        found: dict[tuple[str, Site], list[float]] = {}
        for row in rows:
            found.setdefault((row["hypothesis"], site_of(row)), []).append(row["iia"])
        out, every = self.run.stopped(), dict.fromkeys((cell.hypothesis, cell.site) for cell in grid)
        return {key: float(np.mean(found.get(key, [0.0]))) for key in every if key not in out}

    def _search_nulls(self, grid: Sequence[Cell], chosen: Mapping[str, Site]) -> bool:
        """The same search where there is nothing to be found, as often as was asked for and not done yet; whether it was."""
        n, run, layout = self.layout.settings.nulls, self.run, self.layout
        shards = dealt([(null, draw) for null in NULLS for draw in range(n)], self.workers.parts)  # whatever is there
        wanted = [[each for each in shard if not run.null_path(*each).exists()] for shard in shards]
        if not any(wanted):
            return False
        found = {name: run.card(Cell(name, site, layout.settings.kind))["rank"] for name, site in chosen.items()}
        ranks = {name: max(1, round(rank / layout.variables[name])) for name, rank in found.items()}
        cells = draws_of(grid, chosen, n, layout.settings.seed)
        search = partial(Work.search, draws=cells, chosen=chosen, ranks=ranks)
        jobs = {", ".join(f"{null} {draw}" for null, draw in some): partial(search, wanted=some) for some in wanted if some}
        self._share("nulls", jobs)
        forget(run.folder / "nulls")
        return True

    def _examine(self, chosen: Mapping[str, Site]) -> None:
        """Writes the scorecards of the chosen cells that have none, and where they fail."""
        left = [cell.hypothesis for cell in self.layout.examined(chosen) if not self.run.examined(cell)]
        shards = dealt(list(dict.fromkeys(left)), self.workers.parts)
        jobs = {f"{', '.join(s)}": partial(Work.examine, sites={name: chosen[name] for name in s}) for s in shards}
        self._share("evidence", jobs)

    def _share(self, stage: str, jobs: Mapping[str, Callable[[Work], None]]) -> None:
        """Has a stage's jobs done. jobs: what each is of → what it does."""
        if not jobs:
            return
        self.work.report.say(f"\n{stage}: {PURPOSES[stage]}")
        settings, folder = replace(self.layout.settings, workers=self.workers.count), self.run.folder
        with self.run.timed(stage), at_hand(self.work):
            every = [job_of(settings, folder, f"{stage}, {what}", does) for what, does in jobs.items()]
            self.workers.do(every, self.work.report)


def _named(cells: Sequence[Cell]) -> str:
    """Cells as an error names them."""
    ids = [cell.id for cell in cells]
    return f"{count(len(ids), 'cells')} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"


def _trained(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.trains]


def _at_sites_without(has: Callable[[Cell], bool], cells: Sequence[Cell]) -> list[Cell]:
    """The cells at those sites of which some cell is missing."""
    sites = {cell.site for cell in cells if not has(cell)}
    return [cell for cell in cells if cell.site in sites]
