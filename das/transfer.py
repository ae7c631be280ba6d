"""Transfer: alignments of one run tested under shifts, as they are; and runs under the shifts, to compare them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from das.alignment import Alignment
from das.dataset import Dataset, Rows
from das.errors import DasError
from das.evaluate import accuracy, examine
from das.experiment import Experiment
from das.lm import LM
from das.material import Material, load_network, tokenizer_of
from das.plot_shift import figures
from das.progress import Reporter
from das.prompt import expand_positions
from das.robustness import Robustness
from das.run import Run, pair_table, prompt_codes
from das.scored import ShiftFolder
from das.settings import Settings
from das.shifts import Shift, named_shifts, parse_shift
from das.site import Site
from das.task import load_task
from das.workers import run_in_processes

BASE = "base"


def transfer(run: Run, shifts: Any, retrain: float | Mapping[str, float], report: Reporter, task: Any, lm: Any) -> Robustness:
    """See `das.run.Run.shift`."""
    shares = dict(retrain) if isinstance(retrain, Mapping) else retrain
    settings = replace(run.settings(task, lm), logger="none", retrain=shares)
    if not all(isinstance(thing, str | Path) for thing in (settings.task, settings.lm)):
        settings = replace(settings, workers=1)  # an object cannot be handed to other processes
    specs = _sound(settings, shifts, report)
    for name, spec in specs.items():
        ShiftFolder(run.folder, name).begin(spec)
    _test(run, settings, {BASE: run.folder}, specs, report)
    trained = {BASE: run.folder}
    for name, share in _shares(retrain, specs).items():
        if share and ShiftFolder(run.folder, name).about["solved"]:
            trained[name] = _retrain(run, settings, name, specs[name], share, report)
    _test(run, settings, trained, specs | ({BASE: BASE} if len(trained) > 1 else {}), report)
    robustness = Robustness(run)
    robustness.write()
    for path in figures(robustness):
        report.say(str(path))
    return robustness


def _shares(retrain: float | Mapping[str, float], specs: Mapping[str, Any]) -> dict[str, float]:
    """Shift → share of the grid to be trained under it."""
    if not isinstance(retrain, Mapping):
        return dict.fromkeys(specs, retrain)
    for name in retrain:
        if name not in specs:
            raise DasError(f"retrain names {name!r}, which is not among the shifts: {', '.join(specs)}")
    return dict(retrain)


def _sound(settings: Settings, shifts: Any, report: Reporter) -> dict[str, Any]:
    """Name → what was given for it, of the shifts under which the question can be put to this network: with words that it
    knows, and answers that differ in their first token. Where all of the task's were asked for, the others are left out."""
    task, tokenizer = load_task(settings.task), tokenizer_of(settings)
    found = {}
    for name, change in named_shifts(shifts, task.shifts).items():
        try:
            task.under(change, tokenizer)
            task.check_shift(change, tokenizer)
        except DasError as error:
            if shifts != "all":
                raise DasError(f"shift {name!r}: {error}") from error
            report.say(f"shift {name!r} is left out: {error}")
            continue
        found[name] = shifts[name] if isinstance(shifts, Mapping) else name
    return found


def _retrain(run: Run, settings: Settings, name: str, spec: Any, share: float, report: Reporter) -> Path:
    """A run of the same settings under the shift, on a share of the grid; its folder."""
    out = ShiftFolder(run.folder, name).run
    report.say(f"training under {name}")
    anew = replace(
        settings, under=spec, shifts=[], retrain=0.0, nulls=0, beside=[], budget=share if share < 1 else settings.budget
    )
    Experiment.from_settings(anew).run(out, report)
    return out


# --- testing, in as many processes as the run had ---


def _test(run: Run, settings: Settings, trained: Mapping[str, Path], specs: Mapping[str, Any], report: Reporter) -> None:
    """Tests the alignments of every run under every shift but its own, where that is not done yet."""
    missing = {}
    for tested, spec in specs.items():
        froms = [t for t in trained if t != tested and not ShiftFolder(run.folder, tested).has(t)]
        if froms:
            missing[tested] = spec, {t: trained[t] for t in froms}
    names = list(missing)
    shards = [{name: missing[name] for name in names[i :: settings.workers]} for i in range(settings.workers)]
    jobs = [partial(_share, settings, run.folder, shard) for shard in shards if shard]
    if settings.workers == 1:
        for job in jobs:
            job(report)
    elif jobs:
        run_in_processes(jobs, report, __name__)


def _share(settings: Settings, folder: Path, wanted: Mapping[str, tuple[Any, Mapping[str, Path]]], report: Reporter) -> None:
    """Does some shifts in this process: tested → what it is, and the folders of the runs whose alignments are tested."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    lm = load_network(settings)
    for name, (spec, trained) in wanted.items():
        _Under(settings, lm, name, spec).test(ShiftFolder(folder, name), trained, report)


class _Under:
    """A network and a task under one shift."""

    def __init__(self, settings: Settings, lm: LM, name: str, spec: Any) -> None:
        self.settings, self.lm, self.name, self.spec = settings, lm, name, spec
        task = load_task(settings.task)
        self.task = task.under(Shift() if spec == BASE else parse_shift(spec, task.shifts), lm.tokenizer)
        self.hypotheses = [n.split(".")[0] for n in settings.hypotheses or task.hypotheses]

    def test(self, folder: ShiftFolder, trained: Mapping[str, Path], report: Reporter) -> None:
        """Tests the alignments of some runs and writes what comes out."""
        positions = expand_positions(self.settings.positions or self.task.positions)
        found = self.task.coverage(Shift(), self.lm.tokenizer, positions)
        reached = [p for p in positions if found[p] == 1]
        if not folder.about and folder.name != BASE:
            folder.describe(self.spec, accuracy(self.task.variant(BASE), self.lm), found)
        if not reached:
            raise DasError(f"shift {self.name!r}: none of the run's positions exists in every prompt")
        m = Material.make(self.settings, self.task, self.lm.tokenizer, self.hypotheses, reached, ["test"], self.lm)
        for name, path in trained.items():
            self._test_one(m, folder, name, Run(path), report)

    def _test_one(self, m: Material, folder: ShiftFolder, name: str, source: Run, report: Reporter) -> None:
        """The alignments of one run, on the pairs of which it has seen neither prompt in training or validation."""
        prompts = {h: prompt_codes(pair_table(pairs)) for h, pairs in m.pairs["test"].items()}
        unseen = {h: _unseen(source, h, each) for h, each in prompts.items()}
        pairs = {h: m.data["test"].pairs[h].take(rows) for h, rows in unseen.items()}
        data = Dataset(m.data["test"].prompts, pairs)
        alignments = [a for a in _alignments(source) if _fits(a, data, m.lm)]
        with report.task(f"{len(alignments)} alignments of {name} under {self.name}", 1) as step:
            records = examine(alignments, m.engine, data, lambda share: step(share, ""))
        folder.save(name, records, unseen, {h: each["base"] for h, each in prompts.items()})


def _alignments(run: Run) -> Iterator[Alignment]:
    for cell in run.table()["cell"]:
        yield run.alignment(cell)


def _fits(a: Alignment, data: Dataset, lm: LM) -> bool:
    """Whether the alignment's position exists in the data, with as many tokens as it was trained on."""
    here: Site = a.cell.site
    return here.position in data.prompts.positions and (a.hard.basis is None or len(a.hard.basis) == data.size(lm, here))


def _unseen(run: Run, hypothesis: str, prompts: Mapping[str, Rows]) -> Rows:
    """The pairs none of whose prompts the run has trained or chosen on."""
    seen = np.concatenate(list(run.prompts(hypothesis, ("train", "val")).values()))
    return np.flatnonzero(~np.any([np.isin(each, seen) for each in prompts.values()], axis=0))
