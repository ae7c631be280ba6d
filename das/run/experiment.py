"""Experiment: from a task and a network to a run folder with every cell trained, judged and tabled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from das.errors import DasError
from das.find.alignment import Cell
from das.find.budget import outline, spend
from das.find.sites import as_kept, as_read, sites_of
from das.find.train import begun, forget
from das.ground.checks import folder
from das.ground.storage import read_table, remove, write
from das.judge.nulls import NULLS, draws_of
from das.memory import give_back
from das.network.site import Site
from das.progress import Reporter, Watched, silent
from das.run.costs import cell_flops
from das.run.early import Early, Watch, early
from das.run.folder import Folder
from das.run.layout import Layout
from das.run.lock import alone
from das.run.mend import SCREEN, mend
from das.run.settings import Settings
from das.run.stages import DONE, PURPOSES, so_far
from das.run.summary import Summary
from das.run.words import PROMPT, TEXTS
from das.run.work import Work
from das.run.workers import refuse_at_start, run_in_processes

if TYPE_CHECKING:
    from das.use.run import Run

Job = Callable[[Work], None]
After = Callable[["Run", str], None]
"""What is called after a stage, with the run and the stage's name (a key of `das.run.stages.PURPOSES`, or `DONE`). The run's
tables and its summary say what there is so far; no hypothesis has a verdict before the last."""
Look = Callable[[Path, Early], Any]
"""What is called with a run's folder and what there is to see of its grid."""

T = TypeVar("T")


class Experiment(Layout):
    """Everything that `Settings` says, checked before weights are loaded, and the run of it.

    >>> run = Experiment("price_tagging", "price-tagger-tiny", layers=[2], positions=["last"]).run("runs/x")  # doctest: +SKIP
    """

    def run(self, out: str | Path, report: Reporter = silent, after: Sequence[After] = (), look: Look | None = None) -> Run:
        """Trains and judges every cell that `out` does not hold yet, and writes tables, summary and figures there. DasError
        where another process is at it.

        after: called in turn after every stage that did something, and at the end. look: called with the folder and what can be
        seen of the grid before it is trained and while it is.
        """
        from das.use.run import Run

        refuse_at_start()
        started, run = time.time(), Run(folder("out", out))
        self.ready()
        if not (run.folder / SCREEN).exists():
            self.check_trace()
        with alone(run.folder):
            run.prepare(self.settings, self.made)
            mend(run.folder, report)
            self.tell_device(report)
            self._run(run, report, after, look)
            run.figures()
            if self.settings.shifts:
                run.shift(self.settings.shifts, self.settings.retrain, report, self.settings.task, self.settings.lm)
        for each in after:
            each(run, DONE)
        report.say(f"done in {time.time() - started:.0f} s: {run.folder}")
        return run

    def _run(self, run: Run, report: Reporter, after: Sequence[After], look: Look | None) -> None:
        work = Work(self, run, report)
        grid, trained = self._grid(work, look)
        chosen = run.choose(grid)
        for line in self.left_out(chosen):
            report.say(line)
        closed = self.closed((cell.hypothesis, cell.site) for cell in grid)
        more = [cell for cell in self.refinement(chosen) if cell not in {*grid, *closed}]
        cells = list(dict.fromkeys([*grid, *closed, *more]))

        def tell(stage: str, some: Sequence[Cell]) -> None:
            if after:
                seen = run.so_far(*so_far(Summary(run, some, chosen, self.labels(grid)), stage))
                for each in after:
                    each(seen, stage)

        if trained:
            tell("grid", grid)
        if self._train(work, "closed forms", closed):
            tell("closed forms", [*grid, *closed])
        if self._train(work, "chosen cells", more):
            tell("chosen cells", cells)
        if self._search_nulls(work, grid, chosen):
            tell("nulls", cells)
        self._examine(work, chosen)
        Summary(run, cells, chosen, self.labels(grid)).write()

    def _grid(self, work: Work, look: Look | None) -> tuple[list[Cell], bool]:
        """Does all up to the grid, and the grid; its cells, and whether there was anything to do."""
        with self._watched(work, look) as see:
            if not all((work.run.folder / name).exists() for name in ("audit.json", TEXTS, PROMPT)):
                self._share(work, "pairs", [partial(Work.begin, look=look is not None)])
            see()
            grid = self.within_budget(work)
            return grid, self._train(work, "grid", grid)

    @contextmanager
    def _watched(self, work: Work, look: Look | None) -> Iterator[Callable[[], None]]:
        """Within it `look` is called now and then with what there is to see; gives what does so at once."""
        if look is None:
            yield lambda: None
            return
        folder, report, tokens = work.run.folder, work.report, self.task.tokens_at(self.tokenizer, self.positions)
        watch = Watch(folder, lambda: look(folder, early(folder, self.grid(), self.names, tokens)))
        work.report = Watched(report, watch.look)
        try:
            yield watch.look
        finally:
            work.report = report

    def within_budget(self, work: Work) -> list[Cell]:
        """The cells of the grid that are to be trained: those of the sites that the folder's ranking says, if there is a
        budget."""
        grid, budget, run = self.grid(), self.settings.budget, work.run
        if budget is None:
            return grid
        if (table := run.screened()) is None:
            table = spend(self._ranked(work), budget)
            write(run.folder / SCREEN, as_kept(table).to_parquet)
            for name in self.hypotheses:
                remove(run.screen_part(name))
        for line in outline(table, self.names):
            work.report.say(line)
        table = table[table["trained"]]
        trained = set(zip(table["hypothesis"], sites_of(table), strict=True))
        return [cell for cell in grid if (cell.hypothesis, cell.site) in trained]

    # --- stages, shared out among the workers ---

    def _ranked(self, work: Work) -> pd.DataFrame:
        """What the screen finds, or the trace has found."""
        parts = {name: work.run.screen_part(name) for name in self.hypotheses}
        shards = _dealt([name for name, part in parts.items() if not part.exists()], self.settings.workers)
        stage, job = ("screen", Work.screen) if self.settings.screens else ("trace", Work.by_trace)
        self._share(work, stage, [partial(job, hypotheses=shard) for shard in shards])
        return as_read(pd.concat([read_table(part) for part in parts.values()], ignore_index=True))

    def _train(self, work: Work, stage: str, cells: Sequence[Cell]) -> bool:
        """Trains and judges the cells that are not there; whether there were any.

        How a stage is shared out depends on the settings alone, not on what is there: cells that are run at once may differ
        in their last bits by the company they keep. So a share that was stopped midway, its checkpoint there, is finished as
        it was begun; what is missing otherwise is trained with all that is at its sites. Cells that are there stay as they are.
        """
        has, workers = work.run.has, self.settings.workers
        if all(has(cell) for cell in cells):
            return False
        shards = _shards(cells, cell_flops(self, cells), workers) if workers > 1 else [list(cells)]
        left = [shard for shard in shards if not all(has(cell) for cell in shard)]
        wanted = [shard if begun(work.run.folder, _trained(shard)) else _at_sites_without(has, shard) for shard in left]
        self._share(work, stage, [partial(Work.train, stage=stage, cells=shard) for shard in wanted])
        forget(work.run.folder)
        return True

    def _search_nulls(self, work: Work, grid: Sequence[Cell], chosen: Mapping[str, Site]) -> bool:
        """The same search where there is nothing to be found, as often as was asked for and not done yet; whether it was."""
        n, run = self.settings.nulls, work.run
        shards = _dealt([(null, draw) for null in NULLS for draw in range(n)], self.settings.workers)  # whatever is there
        wanted = [[each for each in shard if not run.null_path(*each).exists()] for shard in shards]
        if not any(wanted):
            return False
        found = {name: run.card(Cell(name, site, self.settings.kind))["rank"] for name, site in chosen.items()}
        ranks = {name: max(1, round(rank / self.variables[name])) for name, rank in found.items()}
        cells = draws_of(grid, chosen, n, self.settings.seed)
        searches = [partial(Work.search, wanted=some, draws=cells, chosen=chosen, ranks=ranks) for some in wanted if some]
        self._share(work, "nulls", searches)
        forget(run.folder / "nulls")
        return True

    def _examine(self, work: Work, chosen: Mapping[str, Site]) -> None:
        """Writes the scorecards of the chosen cells that have none, and where they fail."""
        left = [cell.hypothesis for cell in self.examined(chosen) if not work.run.examined(cell)]
        shards = _dealt(dict.fromkeys(left), self.settings.workers)
        self._share(work, "evidence", [partial(Work.examine, sites={name: chosen[name] for name in shard}) for shard in shards])

    def _share(self, work: Work, stage: str, jobs: Sequence[Job]) -> None:
        """Does a stage's jobs, each in a process of its own; where one worker is all that was asked for, in this one."""
        if jobs:
            work.report.say(f"\n{stage}: {PURPOSES[stage]}")
            with work.run.timed(stage):
                self._do(work, jobs)

    def _do(self, work: Work, jobs: Sequence[Job]) -> None:
        if self.settings.workers == 1:
            for job in jobs:
                job(work)
            return
        if not isinstance(self.settings.task, str | Path) or not isinstance(self.settings.lm, str | Path):
            raise DasError("several workers need a task and a network that are given by name or path, not as objects")
        give_back()
        folder = work.run.folder
        run_in_processes([partial(_elsewhere, self.settings, folder, job) for job in jobs], work.report, __name__)


def _elsewhere(settings: Settings, folder: Path, job: Job, report: Reporter) -> None:
    """A worker's share, in a process of its own."""
    job(Work(Layout.from_settings(settings), Folder(folder), report))


def _trained(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.trains]


def _at_sites_without(has: Callable[[Cell], bool], cells: Sequence[Cell]) -> list[Cell]:
    """The cells at those sites of which some cell is missing."""
    sites = {cell.site for cell in cells if not has(cell)}
    return [cell for cell in cells if cell.site in sites]


def _dealt(things: Iterable[T], hands: int) -> list[list[T]]:
    """Things dealt out in turn; no empty hands."""
    every = list(things)
    return [every[i::hands] for i in range(min(hands, len(every)))]


def _shards(cells: Sequence[Cell], costs: Sequence[float], parts: int) -> list[list[Cell]]:
    """The cells in so many parts of like cost, some perhaps empty. Cells at one site stay together: they are run at once, and
    come out the same however many parts there are."""
    sites: dict[Site, float] = {}
    for cell, cost in zip(cells, costs, strict=True):
        sites[cell.site] = sites.get(cell.site, 0) + cost
    loads, part = [0.0] * parts, {}
    for site in sorted(sites, key=lambda site: -sites[site]):
        part[site] = int(np.argmin(loads))
        loads[part[site]] += sites[site]
    return [[cell for cell in cells if part[cell.site] == i] for i in range(parts)]
