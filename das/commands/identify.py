"""`das identify`: which hypotheses pairs can tell apart."""

from __future__ import annotations

from das.commands.told import check_place, tell
from das.use.options import STDOUT


def identify(
    task: str, pairs: int = 100_000, families: dict[str, float] | None = None, seed: int = 0, json: str | None = None
) -> None:
    """Which hypotheses of a task can pairs tell apart? Tables from the causal models alone; needs no network.

    Args:
        task: Task file or name.
        pairs: Pairs per hypothesis; a tenth of them takes a tenth of the time, and the shares differ by a hundredth or so.
        families: Family of pairs and its share: flip, keep, resample, only, natural, separate; by default half flip, half keep.
        seed: Seed of the pairs.
        json: A file to write the tables to as well, as JSON; without a file they are printed so, in the text's place.
    """
    from das.pairs.identify import identify
    from das.progress import console, silent
    from das.task.files import load_task

    check_place(json)
    report = identify(load_task(task), families, pairs, seed, silent if json == STDOUT else console())
    tell(report.text(), report.plain(), json)
