"""`das plan`: what a run will cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from das.commands.told import tell


def plan(settings: Any, out: str | None = None, json: str | None = None) -> None:
    """What a run will cost: cells, forwards, memory, disk, estimated time. Loads no weights.

    Args:
        out: As of the run, which settings may name; a plan writes nothing there.
        json: A file to write the plan to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.run.plan import plan_of

    made = plan_of(settings)
    tell(made.text(), asdict(made), json)
