"""`das run`: a run, whole or what is left of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any


def run(settings: Any, out: str | None = None, launcher: str = "processes", shard: str | None = None) -> None:
    """Train and judge an alignment for every hypothesis × layer × position; a killed run goes on where it was.

    Args:
        out: Folder to write to; by default runs/<task>.
        launcher: Where the work is done: processes of this machine, as many as workers says; ray, actors of a Ray cluster (one
            that runs already, else one of this machine), as many as workers says or, for 1, as find room; or ray://host:port.
        shard: i/n: the i-th of n parts of the grid alone, beside others who do theirs in the same folder, whenever and wherever
            they run. Whoever is last judges; so does the same command without it.
    """
    from das.draw.early import draw_early
    from das.draw.gallery import pictures
    from das.draw.outcome import outcome
    from das.ground.checks import folder as check_folder
    from das.progress import console
    from das.run.about import onward
    from das.run.experiment import Experiment
    from das.run.settings import name_of
    from das.use.report import refresh

    report = console()
    folder = f"runs/{Path(name_of(settings.task)).stem}" if out is None else out
    check_folder("out", folder)
    look = partial(draw_early, report=report)
    done = Experiment.from_settings(settings).run(folder, report, [pictures, refresh], look, launcher, shard)
    if shard and not done.judged:
        return
    report.say(outcome(done.summary))
    if settings.shifts:
        report.say(f"\n{done.robustness().text()}")
    report.say(f"\n{onward(done.folder, name_of(settings.task), done.summary)}")
