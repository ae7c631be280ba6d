"""`das ls`: the runs that there are."""

from __future__ import annotations

from das.commands.told import tell
from das.text import aligned


def ls(folder: str = "runs", json: str | None = None) -> None:
    """List runs: task, network, finished cells, verdicts, when.

    Args:
        folder: Where to look: a folder of runs, or a run.
        json: A file to write the table to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.use.around import runs

    found = runs(folder)
    head = "run", "task", "network", "cells", "verdicts", "when"
    rows = [(str(r.folder), r.task, r.lm, str(r.cells), r.outcome, f"{r.when:%Y-%m-%d %H:%M}") for r in found]
    tell(aligned([head, *rows]) if found else f"no runs in {folder}", [run.plain() for run in found], json)
