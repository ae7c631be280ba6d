"""Commands: what `das` can do; each is a function with typed parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from das.errors import DasError, shown
from das.text import aligned

if TYPE_CHECKING:
    from das.task.task import Task


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
    _check(load_task(task), lm, positions, accuracy, like, dtype, device, threads)


def _check(
    task: Task, lm: str, positions: list[str] | None, accuracy: bool, like: str | None, dtype: str, device: str, threads: int
) -> None:  # fmt: skip
    import numpy as np
    import torch

    from das.network.device import device_of
    from das.network.given import Given
    from das.network.limits import check_limits
    from das.network.named import NAMED
    from das.run.check import check, compared

    device = str(device_of(device)) if accuracy else device
    network = Given(lm, dtype, device)
    tokenizer = network.tokenizer
    task.check(tokenizer, positions)
    print(task.show(tokenizer, positions))
    like = like or (lm if lm in NAMED and task.name in NAMED[lm].known else None)
    if like:
        compared(task, tokenizer, like, None)  # before weights are loaded
    if threads:
        torch.set_num_threads(threads)
    check_limits(network.config, *task.draw("base", tokenizer, np.random.default_rng(0), 200), tokenizer)
    rows, notes, known = check(task, tokenizer, positions, network.lm if accuracy else None)
    print("\n".join(["", aligned(rows), "", *notes]))
    if like:
        print(compared(task, tokenizer, like, known))
    print(f"{task.name}: sound with the tokenizer of {lm}")


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
