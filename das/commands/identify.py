"""`das identify`: which hypotheses pairs can tell apart."""

from __future__ import annotations

from das.commands.told import tell


def identify(
    task: str, pairs: int = 100_000, families: dict[str, float] | None = None, seed: int = 0, json: str | None = None
) -> None:
    """Which hypotheses of a task can pairs tell apart? Tables from the causal models alone; needs no network.

    Args:
        task: Task file or name.
        pairs: Pairs per hypothesis.
        families: Family of pairs and its share: flip, keep, resample, only, natural, separate; by default half flip, half keep.
        seed: Seed of the pairs.
        json: A file to write the tables to as well, as JSON; without a file they are printed so, in the text's place.
    """
    from das.pairs.identify import identify
    from das.task.files import load_task

    report = identify(load_task(task), families, pairs, seed)
    tell(report.text(), report.plain(), json)
