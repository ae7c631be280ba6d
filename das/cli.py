"""The command line. A command is a function with typed parameters; heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from das.commands.complete import candidates
from das.commands.completion import COMPLETE
from das.commands.groups import grouped
from das.commands.overview import overview
from das.commands.registry import COMMANDS, Command, listing
from das.errors import unknown
from das.use.endings import encodable, ended
from das.use.options import CONFIG, help_text, options_of, read
from das.use.signals import STOPPED, stoppable

ABOUT = "das: does this network really compute that?"
USAGE = f"""usage: das COMMAND …            das COMMAND --help says more

{listing()}

A task file is Python and runs as you do. Settings come from the command line, from a YAML file, or both."""


def _about(command: Command) -> str:
    """What a command's docstring says before its arguments."""
    return (command.function.__doc__ or "").partition("Args:")[0]


def _arguments(name: str, words: list[str]) -> dict[str, Any] | str:
    """What a command is called with; or its help or its settings, as text, where those were asked for. `das run TASK --lm …` or
    `das run FILE.yaml …`: a YAML file gives settings, the command line overrides them."""

    command = COMMANDS[name]
    cls, options = command.settings_class, command.options()
    if cls and words and not words[0].startswith("-"):
        words = [CONFIG if Path(words[0]).suffix in (".yaml", ".yml") else "--task", *words]
    usage = f"{command.name} {command.operands}".strip()
    given = read(words, options, usage if cls else command.name, cls is not None, () if cls else command.places)
    if given.help:
        return help_text(f"{usage} [options]", _about(command), grouped(options, command.settings), cls is not None)
    if given.printing:
        return _yaml(given.values)
    if cls is None:
        return given.values
    mine = {f.name for f in fields(cls)}
    own = {o.name for o in options_of(command.function)} - {"settings"}
    settings = cls(**{name: value for name, value in given.values.items() if name in mine})
    return {"settings": settings} | {name: value for name, value in given.values.items() if name in own}


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).rstrip()


def _do(command: str, words: list[str]) -> None:
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    given = _arguments(command, words)
    if isinstance(given, str):
        print(given, flush=True)
        raise _Told
    COMMANDS[command].function(**given)
    sys.stdout.flush()


class _Told(Exception):
    """Help was asked for, and is all there is to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `das`; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    encodable()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("\n\n".join([ABOUT, *([] if arguments else [overview()]), USAGE]))
        return 0
    if arguments[0] == COMPLETE:
        print("\n".join(candidates(arguments[1:])))
        return 0
    if arguments[0] == "--version":
        from das import __version__

        print(__version__)
        return 0
    command, rest = arguments[0], arguments[1:]
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        with stoppable(f"{STOPPED}: das {shlex.join(arguments)}"):
            _do(command, rest)
    except _Told:
        sys.exit(0)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return ended(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
