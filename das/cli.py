"""The command line. A command is a function with typed parameters; heavy modules are imported when a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from das.errors import DasError, shown, unknown
from das.text import aligned
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


def run(settings: Any, out: str | None) -> None:
    """Train and judge an alignment for every hypothesis × layer × position; a killed run goes on where it was."""
    from das.draw.outcome import outcome
    from das.ground.checks import folder as check_folder
    from das.progress import console
    from das.run.experiment import Experiment
    from das.run.settings import name_of

    report = console()
    folder = f"runs/{Path(name_of(settings.task)).stem}" if out is None else out
    check_folder("out", folder)
    experiment = Experiment.from_settings(settings)
    done = experiment.run(folder, report)
    report.say(outcome(done.summary))
    if settings.shifts:
        report.say(f"\n{done.robustness().text()}")


def plan(settings: Any, out: str | None) -> None:
    """What a run will cost: cells, forwards, memory, disk, estimated time. Loads no weights."""
    from das.run.plan import plan_of

    print(plan_of(settings).text())


def check(
    task: str, lm: str = "price-tagger-tiny", positions: list[str] | None = None, accuracy: bool = True,
    like: str | None = None, dtype: str = "float32", device: str = "cpu", threads: int = 0,
) -> None:  # fmt: skip
    """Check a task with a network: its positions, its shifts, the network's accuracy.

    Shows a prompt with its positions; for it and for every shift, in how many prompts each position exists and how many
    the network answers correctly.

    Args:
        task: Task file or name.
        lm: Whose tokenizer (and, with --accuracy, weights).
        positions: Places to mark; by default the task's.
        accuracy: Also load the weights and measure the network's accuracy.
        like: A named network, such as alpaca-7b, of which this must be a copy: by the tokens of a prompt and the accuracy; by
            default the network itself, if it has a name.
        dtype: The network's: float32, bfloat16 or float16.
        device: Where the network runs: cpu, cuda (cuda:1), mps, or auto, the best that is there.
        threads: Of the processor; 0 leaves it to torch.
    """
    from das.ground.checks import whole
    from das.network.device import check_device, check_dtype
    from das.run.settings import THREADS
    from das.task.files import load_task

    whole("threads", threads, 0, THREADS)
    check_dtype(dtype)
    check_device(device)
    loaded = load_task(task)
    import numpy as np
    import torch

    from das.network.device import device_of
    from das.network.limits import check_limits
    from das.network.lm import LM
    from das.network.named import NAMED
    from das.network.source import load_config, load_tokenizer
    from das.run.check import check, compared

    device = str(device_of(device)) if accuracy else device
    tokenizer = load_tokenizer(lm)
    loaded.check(tokenizer, positions)
    print(loaded.show(tokenizer, positions))
    like = like or (lm if lm in NAMED and loaded.name in NAMED[lm].known else None)
    if like:
        compared(loaded, tokenizer, like, None)  # before weights are loaded
    if threads:
        torch.set_num_threads(threads)
    check_limits(load_config(lm), *loaded.draw("base", tokenizer, np.random.default_rng(0), 200), tokenizer)
    rows, notes, known = check(loaded, tokenizer, positions, LM.load(lm, dtype, device) if accuracy else None)
    print("\n".join(["", aligned(rows), "", *notes]))
    if like:
        print(compared(loaded, tokenizer, like, known))
    print(f"{loaded.name}: sound with the tokenizer of {lm}")


def identify(
    task: str, pairs: int = 100_000, families: dict[str, float] | None = None, seed: int = 0, json: str | None = None
) -> None:
    """Which hypotheses of a task can pairs tell apart? Tables from the causal models alone; needs no network.

    Args:
        task: Task file or name.
        pairs: Pairs per hypothesis.
        families: Family of pairs and its share: flip, keep, resample, only, natural, separate; by default half flip, half keep.
        seed: Of the pairs.
        json: A file to write the tables to as well.
    """
    from json import dumps

    from das.pairs.identify import identify
    from das.task.files import load_task

    report = identify(load_task(task), families, pairs, seed)
    if json is not None:
        _write(Path(json), dumps(report.plain(), indent=1))
    print(report.text())


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:
        raise DasError(f"{str(path)[:200]} cannot be written: {getattr(error, 'strerror', error)}") from error


def shift(run: str, shifts: Any = "all", retrain: float | dict[str, float] = 0.0) -> None:
    """Test every alignment of a finished run, as it is, on the same question put otherwise.

    Prints a table and writes shift.json and shift_*.png into the run's folder; what is there is not done again.

    Args:
        run: The run's folder.
        shifts: `all` that the task declares; names, also joined by + and `few_shot:2`, `chat`, `offset:8`; or a mapping from
            names of your own to shifts, whose keys compose: {frogs: {context: "Frogs sing.", where: inside}, other:
            {of: true_false, replace: {dollars: euros}, answers: {true: "Aye", false: "Nay"}, given: {lower: 2.5}, few_shot: 2,
            chat: true}}.
        retrain: Share of the grid to train anew under each shift, to compare with, or a mapping from shift to share.
    """
    from das.progress import console
    from das.use.run import Run

    print(Run.open(run).shift(shifts, retrain, console()).text())


def paper_table(run: str) -> None:
    """The table of the Boundless DAS paper (arXiv 2305.08809) beside the same rows of a run of price tagging.

    Args:
        run: The run's folder, tested under the paper's shifts.
    """
    from das.draw.paper import paper_table
    from das.transfer.robustness import Robustness
    from das.use.run import Run

    print(paper_table(Robustness(Run.open(run))))


def plot(run: str) -> None:
    """Draw every figure of a finished run anew from its tables.

    Args:
        run: The run's folder.
    """
    from das.use.run import Run

    for path in Run.open(run).figures():
        print(path)


def fit_lm(settings: Any, out: str | None) -> None:
    """Train a small Llama with its own tokenizer on a task; a killed training goes on where it was."""
    from das.progress import console
    from das.run.fit import fit

    for name, share in fit(settings, console()).items():
        print(f"accuracy on {name}: {share:.3f}")


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
    _write(path, TASK)
    print(f"{path}\nnext:  das fit-lm {path}   then   das run {path} --lm models/{name}")


COMMANDS: dict[str, Callable[..., None]] = {
    "new": new, "check": check, "identify": identify, "fit-lm": fit_lm, "plan": plan, "run": run, "shift": shift,
    "paper-table": paper_table, "plot": plot,
}  # fmt: skip
WITH_SETTINGS = {"run": "Settings", "plan": "Settings", "fit-lm": "FitSettings"}


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
