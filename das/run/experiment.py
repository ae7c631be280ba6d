"""Experiment: from a task and a network to a run folder with every cell trained, judged and tabled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from das.errors import DasError
from das.ground.checks import folder
from das.progress import Reporter, silent
from das.run.course import After, Course, Look
from das.run.launcher import PROCESSES, launched
from das.run.layout import Layout
from das.run.lock import Taken, alone, sharing
from das.run.mend import SCREEN, mend
from das.run.part import Part
from das.run.processes import refuse_at_start
from das.run.stages import DONE
from das.run.workers import Workers
from das.text import count

if TYPE_CHECKING:
    from das.use.run import Run

WAIT = 2.0
"""Seconds between two looks at a folder that is in somebody else's hands."""

LOOKS = 5

T = TypeVar("T")


class Experiment(Layout):
    """Everything that `Settings` says, checked before weights are loaded, and the run of it.

    >>> run = Experiment("price_tagging", "price-tagger-tiny", layers=[2], positions=["last"]).run("runs/x")  # doctest: +SKIP
    """

    def run(
        self, out: str | Path, report: Reporter = silent, after: Sequence[After] = (), look: Look | None = None,
        launcher: str | Workers = PROCESSES, shard: str | None = None,
    ) -> Run:  # fmt: skip
        """Trains and judges every cell that `out` does not hold yet, and writes tables, summary and figures there. DasError
        where another process is at it.

        after: called in turn after every stage that did something, and at the end. look: called with the folder and what can be
        seen of the grid before it is trained and while it is. launcher: where it is done, see `das.run.launcher.launched`.
        shard: i/n, to do the i-th of n parts of the grid, beside others who do theirs in the same folder; the last of them
        judges, and for the others the run that is given back has not finished.
        """
        from das.use.run import Run

        refuse_at_start()
        part, started, run, s = shard and Part.parse(shard), time.time(), Run(folder("out", out)), self.settings
        if part and s.race:
            raise DasError("shard is given with race, and a race decides over all cells of the grid: leave out one of them")
        self.ready()
        if not (run.folder / SCREEN).exists():
            self.check_trace()
        with launched(launcher, s) as workers:
            course = Course(self, run, workers, report, after, look)
            if part and not self._part(course, part):
                return run
            with self._held(run, report):
                course.whole()
                run.figures()
                if s.shifts:
                    run.shift(s.shifts, s.retrain, report, s.task, s.lm, workers)
        for each in after:
            each(run, DONE)
        report.say(f"done in {time.time() - started:.0f} s: {run.folder}")
        return run

    @contextmanager
    def _held(self, run: Run, report: Reporter) -> Iterator[None]:
        """Holds the run's folder, and makes it ready to go on."""
        with alone(run.folder):
            run.prepare(self.settings, self.made)
            mend(run.folder, report)
            self.tell_device(report)
            yield

    # --- one part of several ---

    def _part(self, course: Course, part: Part) -> bool:
        """Does a part of the grid; whether it was the last, and nobody else is about to judge."""
        run, report = course.run, course.work.report
        _once_free(partial(self._begin, course), report)
        left = _once_free(partial(self._do_part, course, part), report)
        if left:
            report.say(f"shard {part} is done; {count(left, 'cells')} are left to others, and whoever is last judges")
        return not left and not _judged_by_another(run.folder, report)

    def _begin(self, course: Course) -> None:
        """Does what comes before the grid, unless somebody has."""
        if not course.has_begun:
            with self._held(course.run, course.work.report):
                course.begin()

    def _do_part(self, course: Course, part: Part) -> int:
        with sharing(course.run.folder, part.name):
            course.run.check(self.settings, self.made)
            return course.part(part)


def _once_free(does: Callable[[], T], report: Reporter) -> T:
    """What `does` gives, once nobody else holds the folder that it asks for."""
    told = ""
    while True:
        try:
            return does()
        except Taken as error:
            if str(error) != told:
                report.say(f"waiting: {error}")
            told = str(error)
            time.sleep(WAIT)


def _judged_by_another(folder: Path, report: Reporter) -> bool:
    """Whether somebody else holds the folder and goes on holding it: one who has found all parts done as well."""
    for _ in range(LOOKS):
        with suppress(Taken), alone(folder):
            return False
        time.sleep(WAIT)
    report.say("all parts are done, and another process judges")
    return True
