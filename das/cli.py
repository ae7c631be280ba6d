"""The command line. A command is a function with typed parameters; heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from das.errors import unknown
from das.use.commands import COMMANDS, WITH_SETTINGS
from das.use.endings import encodable, ended
from das.use.signals import stoppable

USAGE = """das: does this network really compute that?

usage: das COMMAND …            das COMMAND --help says more

  das new NAME                  a task file to start from, in tasks/
  das check TASK                is the task sound? shows a prompt with its positions   (--lm NAME)
  das identify TASK             which hypotheses can pairs tell apart, by the DAGs?    (--families …)
  das fit-lm TASK|YAML          train a small network on a task                        (--out FOLDER)
  das plan TASK|YAML            cells, memory and time of a run, before weights load   (--lm NAME)
  das run TASK|YAML             train and judge alignments over layers × positions     (--lm NAME --out FOLDER)
  das shift RUN                 do its alignments survive another prompt?              (--shifts … --retrain 0.2)
  das paper-table RUN           the Boundless DAS paper's table beside this run's
  das plot RUN                  draw a run's figures anew

A task file is Python and runs as you do. Settings come from the command line, from a YAML file, or both."""


def _print_help() -> None:
    print(USAGE)


def _about(command: str) -> str:
    """What a command's docstring says before its arguments."""
    return (COMMANDS[command].__doc__ or "").partition("Args:")[0]


def _arguments(command: str, words: list[str]) -> tuple[Any, ...] | str:
    """What a command is called with; or its help or its settings, as text, where those were asked for. `das run TASK --lm …` or
    `das run FILE.yaml …`: a YAML file gives settings, the command line overrides them."""
    from das.run import settings
    from das.use.options import CONFIG, Option, help_text, options_of, read

    cls = getattr(settings, WITH_SETTINGS[command]) if command in WITH_SETTINGS else None
    options = options_of(cls or COMMANDS[command])
    if cls and all(o.name != "out" for o in options):
        options.append(Option("out", str | None, None, "Folder to write to; by default runs/<task>."))
    if cls and words and not words[0].startswith("-"):
        words = [CONFIG if Path(words[0]).suffix in (".yaml", ".yml") else "--task", *words]
    usage = f"{command} TASK|YAML" if cls else " ".join([command, *(o.name.upper() for o in options if o.needed)])
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
    COMMANDS[command](*given)
    sys.stdout.flush()


class _Told(Exception):
    """Help was asked for, and is all there is to do."""


@stoppable()
def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `das`; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    encodable()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _print_help()
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
