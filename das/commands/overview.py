"""Overview: what `das` alone says: what there is here, and what one could do next."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from das.task.names import task_names
from das.text import aligned
from das.use.around import FINISHED, INTERRUPTED, Found, networks, runs

RECENT = 5
"""Runs that are shown."""


def overview() -> str:
    """Tasks, networks, recent runs, and the next step."""
    found = runs()
    parts = [_list("tasks", task_names()), _list("networks", networks())]
    if found:
        rows = [(str(r.folder), f"{r.task} on {r.lm}", f"{r.cells} cells", r.outcome) for r in found[:RECENT]]
        more = f"\n{' ' * 10}… {len(found) - RECENT} more: das ls" if len(found) > RECENT else ""
        parts.append(textwrap.indent(aligned(rows), " " * 10).replace(" " * 10, f"{'runs':10}", 1) + more)
    return "\n".join([*parts, f"{'next':10}{_next(found)}"])


def _list(name: str, things: Sequence[str]) -> str:
    text = ", ".join(things) or "none here"
    return textwrap.fill(text, 110, initial_indent=f"{name:10}", subsequent_indent=" " * 10, break_on_hyphens=False)


def _next(found: Sequence[Found]) -> str:
    """A command for what is most likely wanted."""
    if found and found[0].state == INTERRUPTED:
        return f"{found[0].go_on}   goes on with what was interrupted"
    if found and found[0].state == FINISHED:
        return f"das shift {found[0].folder}   does what it found survive another prompt?"
    return "das run arithmetic --lm arithmetic-tiny   a first run, on what ships with das"
