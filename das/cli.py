"""The command line. A command is a function with typed parameters; heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from das.commands.registry import COMMANDS, listing
from das.errors import unknown
from das.use.endings import encodable, ended
from das.use.signals import stoppable

USAGE = f"""das: does this network really compute that?

usage: das COMMAND …            das COMMAND --help says more

{listing()}

A task file is Python and runs as you do. Settings come from the command line, from a YAML file, or both."""


def _about(command: str) -> str:
    """What a command's docstring says before its arguments."""
    return (COMMANDS[command].function.__doc__ or "").partition("Args:")[0]


def _arguments(command: str, words: list[str]) -> tuple[Any, ...] | str:
    """What a command is called with; or its help or its settings, as text, where those were asked for. `das run TASK --lm …` or
    `das run FILE.yaml …`: a YAML file gives settings, the command line overrides them."""
    from das.run import settings
    from das.use.options import CONFIG, Option, help_text, options_of, read

    named = COMMANDS[command].settings
    cls = getattr(settings, named) if named else None
    options = options_of(cls or COMMANDS[command].function)
    if cls and all(o.name != "out" for o in options):
        options.append(Option("out", str | None, None, "Folder to write to; by default runs/<task>."))
    if cls and words and not words[0].startswith("-"):
        words = [CONFIG if Path(words[0]).suffix in (".yaml", ".yml") else "--task", *words]
    usage = f"{command} {COMMANDS[command].operands}"
    given = read(words, options, usage if cls else command, cls is not None)
    if given.help or given.printing:
        return help_text(f"{usage} [options]", _about(command), options) if given.help else _yaml(given.values)
    values, out = given.values, given.values.get("out")
    if cls is None:
        return tuple(values[o.name] for o in options)
    return cls(**{name: value for name, value in values.items() if name in {f.name for f in fields(cls)}}), out


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
    COMMANDS[command].function(*given)
    sys.stdout.flush()


class _Told(Exception):
    """Help was asked for, and is all there is to do."""


@stoppable()
def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `das`; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    encodable()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
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
        _do(command, rest)
    except _Told:
        sys.exit(0)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return ended(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
