"""Names: where a task is found that is called by its name. Nothing of it is loaded here."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from das.ground.rows import is_table

ENTRY_POINT = "das.tasks"
"""Packages offer tasks under this entry-point group: name → `module:task`."""

HERE = "tasks"
"""The folder in which tasks are looked for first."""

_PACKAGE = Path(__file__).parents[1]


def shipped() -> Path | None:
    """The folder of the tasks that ship with das: in the package where it was installed, beside it in a checkout."""
    checkout = _PACKAGE.parent / "tasks" if (_PACKAGE.parent / "pyproject.toml").is_file() else None
    return next((place for place in (_PACKAGE / "tasks", checkout) if place and place.is_dir()), None)


def offered() -> dict[str, EntryPoint]:
    """The tasks that installed packages offer."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT)}


def task_file(source: str | Path, folder: str | Path = HERE) -> Path:
    """The file that `load_task` looks for: `source` itself, or of that name in the folder; else of that name among those that
    ship with das, unless a package offers one."""
    path = Path(source) if Path(source).suffix == ".py" or is_table(source) else Path(folder) / f"{source}.py"
    if os.path.isfile(path) or Path(source).name != str(source) or path == Path(source) or str(source) in offered():
        return path
    ours = shipped()
    return ours / path.name if ours and os.path.isfile(ours / path.name) else path


def task_names(*folders: str | Path) -> list[str]:
    """Of the tasks in these folders, in `tasks/`, in packages, and of those that ship with das."""
    files = [path for place in (*folders, HERE, shipped()) if place for path in sorted(Path(place).glob("[!_]*.py"))]
    return list(dict.fromkeys([*(path.stem for path in files), *offered()]))
