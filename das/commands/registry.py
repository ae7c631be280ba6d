"""Registry: the commands in the order of the story, a line each. A command's module is loaded when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from das.text import aligned
from das.use.options import Option, options_of


@dataclass(frozen=True)
class Command:
    """A command `name`: the function of that name (`-` is `_`) in the module of that name in `das.commands`.

    operands: what stands after its name, in brackets what may be left out. does: in a phrase, for the list of commands.
    often: options to show beside that. settings: the class in `das.run` that its options fill in, beside its
    function's parameters.
    """

    name: str
    operands: str
    does: str
    often: str = ""
    settings: str | None = None

    @property
    def function(self) -> Callable[..., None]:
        """What does it."""
        name = self.name.replace("-", "_")
        found: Callable[..., None] = getattr(importlib.import_module(f"das.commands.{name}"), name)
        return found

    @property
    def settings_class(self) -> Any:
        """The class that its options fill in, if there is one."""
        return getattr(importlib.import_module("das.run"), self.settings) if self.settings else None

    @property
    def places(self) -> list[str]:
        """The names of the parameters whose values stand after its name."""
        return [word.strip("[]").lower() for word in self.operands.split()]

    def options(self) -> list[Option]:
        """Its settings, and the parameters of its function beside them."""
        mine = {o.name: o for o in options_of(self.function)}
        if self.settings is None:
            return list(mine.values())
        del mine["settings"]
        return list((mine | {o.name: o for o in options_of(self.settings_class)}).values())


GROUPS = {
    "ask": [
        Command("new", "NAME", "a task file to start from, in tasks/"),
        Command("check", "TASK", "is the task sound? shows a prompt with its positions", "--lm NAME"),
        Command("identify", "TASK", "which hypotheses can pairs tell apart, by the DAGs?", "--families …"),
        Command("fit-lm", "TASK|YAML", "train a small network on a task", "--out FOLDER", "FitSettings"),
        Command("fit-sae", "SITE", "train a sparse autoencoder on a network's activations", "--lm NAME --text FILE|TASK"),
    ],
    "run": [
        Command("plan", "TASK|YAML", "cells, memory and time of a run, before weights load", "--lm NAME", "Settings"),
        Command("run", "TASK|YAML", "train and judge alignments over layers × positions", "--lm NAME --out FOLDER", "Settings"),
        Command("trace", "TASK", "which states bring an answer back? over layers × positions", "--lm NAME --corrupt noise"),
        Command("circuit", "TASK", "along which edges does a variable reach the answer?", "--lm NAME --method acdc"),
        Command("trajectory", "TASK", "how likely is the answer in each layer's state?", "--lm NAME"),
        Command("edit", "TASK", "write a fact into one MLP's weights (ROME): what is answered?", "--lm NAME --text FILE|TASK"),
        Command("shift", "RUN", "do its alignments survive another prompt?", "--shifts … --retrain 0.2"),
    ],
    "use": [
        Command("apply", "RUN CELL BASE", "swap what was found between prompts of your own", "--source … --generate 20"),
        Command("patch", "LM", "edits put into a saved network's files, and taken out again", "--patches … | --undo -1"),
        Command("steer", "RUN CELL PROMPT", "control what a network writes by what was found", "--spreads 2 --operator …"),
    ],
    "see": [
        Command("ls", "[FOLDER]", "runs: task, network, cells done, verdicts, when", "--json"),
        Command(
            "monitor", "RUN CELL [TEXT]", "a text whose tokens are coloured by what was found", "--file FILE --layers 3..6"
        ),
        Command("look", "RUN CELL", "inside an alignment: prompts in its columns, entries, heads, tokens, angles"),
        Command("report", "RUN", "a run as one HTML page, to look into and to show", "--out FILE"),
        Command("push", "RUN CELL", "share an alignment, with a card", "--folder … | --repo …"),
        Command("plot", "RUN", "draw a run's figures anew"),
        Command("paper-table", "RUN", "the Boundless DAS paper's table beside this run's"),
    ],
    "set up": [
        Command("completion", "SHELL", "Tab completes commands, options and values: bash, zsh or fish"),
    ],
}
"""What one does → the commands for it."""

COMMANDS = {command.name: command for group in GROUPS.values() for command in group}


def listing() -> str:
    """The commands as `das` lists them, a block for each group."""
    rows = [(f"das {c.name} {c.operands}", c.does, f"({c.often})" if c.often else "") for c in COMMANDS.values()]
    lines = iter(aligned(rows).splitlines())
    return "\n\n".join("\n".join(f"  {next(lines)}" for _ in group) for group in GROUPS.values())
