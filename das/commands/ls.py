"""`das ls`: the runs that there are."""

from __future__ import annotations

from das.commands.told import tell
from das.text import aligned


def ls(folder: str = "runs", verdicts: bool = False, json: str | None = None) -> None:
    """List runs: task, network, finished cells, verdicts, when.

    Args:
        folder: Where to look: a folder of runs, or a run.
        verdicts: Print each run's page and its verdicts in full, in the table's place.
        json: A file to write the table to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.use.around import runs

    found = runs(folder)
    head = "run", "task", "network", "cells", "verdicts", "when"
    rows = [(str(r.folder), r.task, r.lm, str(r.cells), r.outcome, f"{r.when:%Y-%m-%d %H:%M}") for r in found]
    table = "\n\n".join(run.text() for run in found) if verdicts else aligned([head, *rows])
    tell(table if found else f"no runs in {folder}", [run.plain() for run in found], json)
