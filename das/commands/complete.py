"""Complete: what may stand where a command line ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from das.commands.completion import SCRIPTS
from das.commands.registry import COMMANDS, Command
from das.find.kinds import KINDS
from das.network.device import DEVICES, DTYPES
from das.task.names import task_names
from das.use.around import cells, networks, runs
from das.use.options import CONFIG, PRINT, Option

VALUES: dict[str, Callable[[], Sequence[str]]] = {
    "task": task_names,
    "lm": networks,
    "base": networks,
    "run": lambda: [str(found.folder) for found in runs()],
    "shell": lambda: list(SCRIPTS),
    "device": lambda: DEVICES,
    "dtype": lambda: list(DTYPES),
    "subspace": lambda: list(KINDS),
}
"""Option → what it may be, where that can be listed."""


def candidates(words: Sequence[str]) -> list[str]:
    """What the last word may become. Empty where any file may stand there."""
    *before, last = words or [""]
    return [found for found in _possible(before, last) if found.startswith(last)]


def _possible(before: Sequence[str], last: str) -> Sequence[str]:
    if not before:
        return [*COMMANDS, "--help", "--version"]
    if (command := COMMANDS.get(before[0])) is None:
        return []
    options = {option.name: option for option in command.options()}
    if last.startswith("-"):
        return [f"--{name}" for name in options] + ([CONFIG, PRINT] if command.settings else []) + ["--help"]
    if before[-1].startswith("--"):
        return _values(options.get(before[-1].removeprefix("--").replace("-", "_")))
    return _operand(command, before[1:])


def _operand(command: Command, before: Sequence[str]) -> Sequence[str]:
    """What may stand at the next place after the command's name; nothing after its options."""
    if any(word.startswith("-") for word in before):
        return []
    if command.settings:
        return [*task_names(), *map(str, sorted(Path().glob("**/*.yaml")))] if not before else []
    place = "".join(command.places[len(before) : len(before) + 1])
    return cells(before[0]) if place == "cell" else VALUES.get(place, list)()


def _values(option: Option | None) -> Sequence[str]:
    if option is None:
        return []
    return ["true", "false"] if option.hint is bool else VALUES.get(option.name, list)()
