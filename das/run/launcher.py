"""Launcher: who does a run's jobs, by the name that a user gives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from das.errors import DasError, unknown
from das.run.processes import Processes
from das.run.settings import Settings
from das.run.workers import Here, Workers

PROCESSES, RAY = "processes", "ray"


def check_launcher(name: str | Workers, settings: Settings) -> None:
    """DasError for what is no launcher, or cannot be given what the settings hold."""
    if not isinstance(name, str):
        return
    if name not in (PROCESSES, RAY) and not name.startswith(f"{RAY}://"):
        raise unknown("launcher", name, [PROCESSES, RAY, f"{RAY}://host:port"])
    if name == PROCESSES and settings.workers == 1:
        return
    if not isinstance(settings.task, str | Path) or not isinstance(settings.lm, str | Path):
        raise DasError("several workers need a task and a network that are given by name or path, not as objects")


def launched(name: str | Workers, settings: Settings) -> AbstractContextManager[Workers]:
    """The workers of a run, for as long as it takes. name: `processes` (of this machine; for one, this process), `ray` (a
    cluster that runs already, or one of this machine for the time), `ray://host:port`, or workers that are there already."""
    check_launcher(name, settings)
    if not isinstance(name, str):
        return nullcontext(name)
    if name == PROCESSES:
        return nullcontext(Here() if settings.workers == 1 else Processes(settings.workers))
    from das.run.on_ray import OnRay  # an extra

    return OnRay(None if name == RAY else name, settings)
