"""`das new`: a task to start from."""

from __future__ import annotations

from das.commands.told import write_text
from das.errors import DasError, shown


def new(name: str, folder: str = "tasks") -> None:
    """Write a small task to start from.

    Args:
        name: The task's name; the file is NAME.py.
        folder: Where to put it.
    """
    from das.ground.checks import folder as check_folder
    from das.ground.checks import named
    from das.use.template import TASK

    if not name.isidentifier():
        raise DasError(f"{shown(name)} is no name for a task: use letters, digits and underscores")
    named("a task", name)
    path = check_folder("folder", folder) / f"{name}.py"
    if path.exists():
        raise DasError(f"{path} exists already: choose another name")
    write_text(path, TASK)
    print(f"{path}\nnext:  das fit-lm {path}   then   das run {path} --lm models/{name}")
