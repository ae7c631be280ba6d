"""Files: a task by its name or file."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from das.errors import DasError, one_line, unknown
from das.ground.checks import NAME_BYTES, fitted, short_text
from das.ground.rows import is_table
from das.task.names import HERE, offered, task_file, task_names
from das.task.own import own_task, with_pairs
from das.task.task import Task


def load_task(
    source: str | Path | Task, folder: str | Path = HERE, pairs: Any = None, columns: Mapping[str, str | None] | None = None,
    hypotheses: Sequence[str] | None = None,
) -> Task:  # fmt: skip
    """A task by path (`my/task.py`), by name (in `tasks/`, offered by an installed package, or shipped: `price_tagging`), or of
    a table of pairs (see `das.own_task`).

    The file is Python that runs as you; it defines `task` or exactly one Task. pairs: those that are brought for it (see
    `das.with_pairs`), if there are any. columns: what the columns of the table of pairs are, where their names do not say it.
    hypotheses: those that are asked for, of which one has the rows that do not say whose they are; by default all.
    """
    if pairs is not None:
        return with_pairs(load_task(source, folder), pairs, columns, hypotheses)
    path = None if isinstance(source, Task) else task_file(short_text("a task", fitted("a task", source, str)), folder)
    if path and is_table(path):
        return own_task(path, name=_plain_name(path), columns=columns)
    if columns:
        raise DasError("columns say what the columns of a table of pairs are, and there is none: neither pairs nor the task")
    return source if isinstance(source, Task) else _named(source, folder)


def _named(source: str | Path, folder: str | Path) -> Task:
    """A task in a file, or offered by an installed package."""
    path = task_file(str(source), folder)
    if os.path.isfile(path):
        return _from_file(path)
    if point := offered().get(str(source)):
        return _from_package(str(source), point)
    raise DasError(f"no task file at {path}: {unknown('task', Path(source).stem, task_names(path.parent, folder))}")


def _plain_name(path: Path) -> str:
    """A file's name as that of a task."""
    return re.sub(r"[^\w-]+", "_", path.stem)[:NAME_BYTES] or "own"


def _from_package(name: str, point: EntryPoint) -> Task:
    try:
        task = point.load()
    except (Exception, SystemExit) as error:
        raise DasError(f"task {name!r} of an installed package cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise DasError(f"{name!r} of an installed package ({point.value}) is no task: expected a das.Task")
    return replace(task, name=name)


def run_file(path: Path) -> ModuleType:
    """What a Python file of the user's defines. DasError where it cannot be run."""
    spec = importlib.util.spec_from_file_location(f"das_task_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        what = f"{type(error).__name__}: {one_line(error)}"
        reason = str(error) if isinstance(error, DasError) else f"cannot be run: {what}"
        raise DasError(f"{path}{':' if isinstance(error, DasError) else ''} {reason}") from error
    return module


def _from_file(path: Path) -> Task:
    module = run_file(path)
    found: list[Any] = [v for v in vars(module).values() if isinstance(v, Task)]
    task = getattr(module, "task", found[0] if len(found) == 1 else None)
    if not isinstance(task, Task):
        raise DasError(f"{path} defines {len(found)} tasks: expected one, or one that is called `task`")
    return replace(task, name=path.stem)
