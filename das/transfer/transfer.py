"""Transfer: alignments of one run tested under shifts, as they are; and runs under the shifts, to compare them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from das.errors import DasError
from das.find.alignment import Alignment
from das.interchange.accuracy import accuracy
from das.judge.evaluate import examine
from das.network.given import Given
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Rows
from das.pairs.pairs import Pairs
from das.progress import Reporter
from das.run.check import askable, retrained
from das.run.experiment import Experiment
from das.run.folder import Folder
from das.run.launcher import PROCESSES, launched
from das.run.material import Material
from das.run.provenance import asked_print, provenance
from das.run.settings import Settings, plain_data
from das.run.table import pair_table, prompt_codes
from das.run.workers import Job, Workers, dealt
from das.task.positions import expand_positions
from das.task.task import Task
from das.task.variant import BASE
from das.transfer.robustness import Robustness
from das.transfer.scored import ShiftFolder

FEW = 30
"""Pairs without a prompt that was trained on, of which there must be so many for a score."""

NO_SHIFTS = (
    "the task declares no shifts: give some, as in --shifts \"{frogs: {context: 'Frogs sing.', where: before}}\" "
    "(see das shift --help)"
)


def transfer(
    run: Folder,
    shifts: Any,
    retrain: float | Mapping[str, float],
    report: Reporter,
    task: Any,
    lm: Any,
    launcher: str | Workers,
) -> Robustness:
    """See `das.use.run.Run.shift`."""
    share = dict(retrain) if isinstance(retrain, Mapping) else retrain
    settings = replace(run.settings(task, lm), logger="none", retrain=share)
    specs = _specs(run, settings, shifts, report)
    shares = retrained(share, shifts, specs)
    if not _handed_on(settings, specs):
        settings, launcher = replace(settings, workers=1), PROCESSES
    every, trained, lenient = {BASE: settings.under} | specs, {BASE: run.folder}, shifts == "all"
    with launched(launcher, settings) as workers, run.timed("shifts"):
        _test(run, settings, trained, every, report, lenient, workers)
        for name in (name for name in shares if shares[name] and ShiftFolder(run.folder, name).about.get("solved")):
            trained[name] = _retrain(run, settings, name, specs[name], shares[name], report, workers)
        _test(run, settings, trained, every, report, lenient, workers)
    robustness = Robustness(run)
    robustness.write()
    return robustness


def _specs(run: Folder, settings: Settings, shifts: Any, report: Reporter) -> dict[str, Any]:
    """Name → what was given for it, of the shifts that can be asked; DasError where the run's folder has others so called."""
    task, network = settings.asked(), Given(settings.lm)
    tokenizer = network.tokenizer
    run.same_as(provenance(task.under(settings.under, tokenizer), tokenizer, network.printed))
    specs, notes = askable(task, tokenizer, shifts)
    for note in notes or ([] if specs else [NO_SHIFTS]):
        report.say(note)
    for name, spec in specs.items():
        asked = task.variant(spec, tokenizer)
        ShiftFolder(run.folder, name).begin(spec, asked.prompt.written, asked_print(asked))
    return specs


def _handed_on(settings: Settings, specs: Mapping[str, Any]) -> bool:
    """Whether other processes can be given all of it: names and plain data, no objects."""
    return plain_data(specs) == specs and all(isinstance(thing, str | Path) for thing in (settings.task, settings.lm))


def _retrain(
    run: Folder, settings: Settings, name: str, spec: Any, share: float, report: Reporter, workers: Workers
) -> Path:  # fmt: skip
    """A run of the same settings under the shift, on a share of the grid and where positions exist; its folder."""
    folder = ShiftFolder(run.folder, name)
    reached = [position for position, found in folder.about["coverage"].items() if found == 1]
    report.say(f"training under {name}")
    budget = share if share < 1 else settings.budget
    anew = replace(
        settings, under=spec, positions=reached, shifts=[], retrain=0.0, nulls=0, beside=[], budget=budget, trace=None
    )
    Experiment.from_settings(anew).run(folder.run(share), report, launcher=workers)
    return folder.run(share)


# --- testing, shared out among the workers ---


@dataclass(frozen=True)
class _Wanted:
    """A shift to be tested under: its place among the shifts, what it is, and the runs to be tested: the shift that each was
    trained under and its folder, within that of the run."""

    name: str
    order: int
    spec: Any
    trained: Mapping[str, tuple[Any, Path]]


def _test(
    run: Folder, settings: Settings, trained: Mapping[str, Path], specs: Mapping[str, Any], report: Reporter, lenient: bool,
    workers: Workers,
) -> None:  # fmt: skip
    """Tests the alignments of every run under every shift but its own, where that is not done yet."""
    missing, before = [], len(ShiftFolder.all(run.folder))
    for order, (name, spec) in enumerate(specs.items(), before):
        folder = ShiftFolder(run.folder, name)
        froms = {t: (specs[t], path.relative_to(run.folder)) for t, path in trained.items() if t != name and not folder.has(t)}
        if froms or not folder.about:
            missing.append(_Wanted(name, order, spec, froms))
    named = [(", ".join(each.name for each in shard), shard) for shard in dealt(missing, workers.parts)]
    jobs = [Job(f"shifts, {names}", run.folder, partial(_share, settings, shard, lenient)) for names, shard in named]
    workers.do(jobs, report)


def _share(settings: Settings, wanted: list[_Wanted], lenient: bool, folder: Path, report: Reporter) -> None:
    """Tests under some shifts in this process. lenient: what cannot be tested under is said and passed over."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    network = Given(settings.lm, settings.dtype, settings.device)
    for each in wanted:
        try:
            _Under(settings, network, each).test(folder, report)
        except DasError as error:
            if not lenient:
                raise DasError(f"shift {each.name!r}: {error}") from error
            report.say(f"shift {each.name!r} is left out: {error}")


class _Under:
    """A network and a task under one shift."""

    def __init__(self, settings: Settings, network: Given, wanted: _Wanted) -> None:
        self.settings, self.network, self.wanted = settings, network, wanted
        self.plain = settings.asked()
        self.task: Task = self.plain.under(wanted.spec, network.tokenizer)
        self.hypotheses = self.plain.short_names(settings.hypotheses)

    def test(self, run: Path, report: Reporter) -> None:
        """Tests the alignments of the runs that are wanted and writes what comes out. run: the folder of the run."""
        w, tokenizer, folder = self.wanted, self.network.tokenizer, ShiftFolder(run, self.wanted.name)
        found = self.task.coverage(BASE, tokenizer, expand_positions(self.settings.positions or self.task.positions))
        reached = [position for position, share in found.items() if share == 1]
        if not reached:
            raise DasError(f"none of the run's positions exists in every prompt: {', '.join(found)}")
        if w.trained:
            m = Material.make(self.settings, self.network, self.task, self.hypotheses, reached, ["test"])
            for name, (spec, path) in w.trained.items():
                self._test_one(m, folder, name, spec, Folder(run / path), report)
        if not folder.about:
            asked = self.task.variant(BASE)
            folder.describe(w.spec, asked.prompt.written, asked_print(asked), w.order, accuracy(asked, self.network.lm), found)

    def _test_one(self, m: Material, folder: ShiftFolder, trained: str, spec: Any, source: Folder, report: Reporter) -> None:
        """The alignments of one run, on the pairs of which it has seen no prompt in training or validation: neither the words
        that are tested here nor those that its own prompt has for the same settings."""
        prompts = {h: self._as_trained(spec, source, pairs) for h, pairs in m.pairs["test"].items()}
        here = {h: m.data["test"].roles(h, pairs.sources) if source.by_text else {} for h, pairs in m.pairs["test"].items()}
        left = {h: _unseen(source, h, [*each.values(), *here[h].values()]) for h, each in prompts.items()}
        unseen = {h: rows for h, rows in left.items() if len(rows) >= FEW}
        for name in sorted(set(prompts) - set(unseen)):
            report.say(
                f"{name} is not tested under {folder.name}: fewer than {FEW} pairs of prompts that {trained} has not seen"
            )
        pairs = {h: m.data["test"].pairs[h].take(rows) for h, rows in unseen.items()}
        data = replace(m.data["test"], pairs=pairs)
        alignments = [a for a in _alignments(source) if _fits(a, data, m.lm)]
        with report.task(f"{len(alignments)} alignments of {trained} under {folder.name}", 1) as step:
            records = examine(alignments, m.engine, data, lambda share: step(share, "")) if alignments else []
        ways = {h: np.stack([each[role] for role in sorted(each)]) for h, each in prompts.items()}
        folder.save(trained, records, unseen, ways)

    def _as_trained(self, spec: Any, source: Folder, pairs: Pairs) -> dict[str, Rows]:
        """`base` and `source.<variable>` → each prompt, numbered as the run that trained numbers those of its own."""
        if not source.by_text:
            return prompt_codes(pair_table(pairs))
        tokenizer = self.network.tokenizer
        asked = replace(self.task, prompt=self.plain.under(spec, tokenizer).prompt)
        tables = {"base": pairs.base} | {f"source.{v}": table for v, table in pairs.sources.items()}
        return {role: asked.render(table).identities(tokenizer) for role, table in tables.items()}


def _alignments(run: Folder) -> Iterator[Alignment]:
    for cell in run.found()["cell"]:
        yield run.alignment(cell)


def _fits(a: Alignment, data: Dataset, lm: LM) -> bool:
    """Whether there are pairs for the alignment, and its positions, with as many tokens as it was trained on."""
    here: Site = a.cell.site
    if a.cell.hypothesis not in data.pairs or not set(here.positions) <= data.prompts.positions.keys():
        return False
    return a.feature.fits(data.size(lm, here))


def _unseen(run: Folder, hypothesis: str, prompts: Sequence[Rows]) -> Rows:
    """The pairs none of whose prompts the run has trained or chosen on. prompts: of every role, (pairs,)"""
    seen = np.concatenate(list(run.prompts(hypothesis, ("train", "val")).values()))
    return np.flatnonzero(~np.any([np.isin(each, seen) for each in prompts], axis=0))
