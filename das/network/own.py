"""Own: a network of the user's own by its file. The file is Python that runs as you; it defines `network`, a `das.Net` or a
`das.LM`, or a function that gives one."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from das.errors import DasError, called, shown
from das.network.lm import LM
from das.task.files import run_file


def is_file(source: Any) -> bool:
    """Whether a network is named by a file of the user's own."""
    return isinstance(source, str | Path) and Path(source).suffix == ".py"


def own_network(source: str | Path) -> LM:
    """The network that a file defines, made once in a process. DasError where there is none."""
    path = Path(source)
    if not path.is_file():
        raise DasError(f"no file at {path}: expected one that defines `network`, a das.Net or a function that gives one")
    return _made(path.resolve(), os.stat(path).st_mtime_ns)


@cache
def _made(path: Path, written: int) -> LM:
    found: Any = getattr(run_file(path), "network", None)
    if callable(found) and not isinstance(found, LM):
        found = called(f"{path}: network()", "a das.Net", found)
    if not isinstance(found, LM):
        raise DasError(f"{path}: network is {shown(found)}: expected a das.Net, or a function that gives one")
    found.name = path.stem
    return found
