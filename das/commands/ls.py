"""`das ls`: the runs that there are, and the circuits and edits."""

from __future__ import annotations

from das.commands.told import tell
from das.text import aligned


def ls(folder: str = "runs", verdicts: bool = False, json: str | None = None) -> None:
    """List runs, circuits and edits: task, network, finished cells, verdicts, when.

    Args:
        folder: Where to look: a folder of runs, or a run.
        verdicts: Print each one's verdicts in full, and where a run's page lies, in the table's place.
        json: A file to write the table to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.use.around import Claimed, Found, claimed, runs

    found, beside = runs(folder), claimed(folder)
    head = "run", "task", "network", "cells", "verdicts", "when"
    rows = [(str(r.folder), r.task, r.lm, str(r.cells), r.outcome, f"{r.when:%Y-%m-%d %H:%M}") for r in found]
    rows += [(str(c.folder), c.task, c.lm, c.kind, c.outcome, f"{c.when:%Y-%m-%d %H:%M}") for c in beside]
    every: list[Found | Claimed] = [*found, *beside]
    table = "\n\n".join(each.text() for each in every) if verdicts else aligned([head, *rows])
    tell(table if every else f"no runs in {folder}", [each.plain() for each in every], json)
