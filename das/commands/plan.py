"""`das plan`: what a run will cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from das.commands.told import tell


def plan(
    settings: Any, calibrate: bool = False, machine: str | None = None, out: str | None = None, json: str | None = None
) -> None:
    """What a run will cost: cells, operations, seconds of every stage, memory, disk. Loads no weights, unless it calibrates.

    Args:
        calibrate: Measure first, for about a minute, what the network's runs take on this machine; that is kept, and later
            plans go by it.
        machine: Another machine to plan for, by assumed figures: a100, h100, h200, rtx4090 or laptop.
        out: As of the run, which settings may name; a plan writes nothing there.
        json: A file to write the plan to as well, as JSON; without a file it is printed so, in the text's place.
    """
    from das.progress import console, silent
    from das.run.calibrate import calibrate as measure
    from das.run.machine import check_choice
    from das.run.plan import layout_of, plan_of

    check_choice(calibrate, machine)
    if calibrate:
        measure(layout_of(settings)[0], silent if json else console())
    made = plan_of(settings, machine)
    tell(made.text(), asdict(made), json)
