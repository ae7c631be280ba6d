"""`das plan`: what a run will cost."""

from __future__ import annotations

from typing import Any


def plan(settings: Any, out: str | None) -> None:
    """What a run will cost: cells, forwards, memory, disk, estimated time. Loads no weights."""
    from das.run.plan import plan_of

    print(plan_of(settings).text())
