"""Layout: what an experiment's settings come to: its task, hypotheses, positions, and the cells of its grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from das.causal.columns import Columns, codes
from das.errors import DasError, shown
from das.find.alignment import Cell
from das.find.directions import MANY
from das.find.kinds import Kind, kind_name
from das.find.race import rungs
from das.find.schedule import Schedule
from das.find.train import check_logger
from das.interchange.measures import LOSSES, MEASURES, Measure, loss_of, measures_of
from das.network.columns import check_apart
from das.network.device import device_of
from das.network.given import Given
from das.network.limits import check_limits
from das.network.lm import LM
from das.network.site import Site, parse_component, single_components, single_layers
from das.pairs.families import check_families
from das.pairs.written import pair_rows
from das.progress import Reporter
from das.run.by_trace import Trace
from das.run.check import askable, retrained
from das.run.material import Material, origins_of
from das.run.provenance import Print, provenance
from das.run.settings import SKIP, Settings, check_keys, name_of
from das.task.answers import Answers, Real
from das.task.positions import expand_positions
from das.task.rendered import Prompts
from das.task.task import Task
from das.task.tokenizer import Tokenizer


class Layout:
    """Everything that `Settings` says, checked before weights are loaded."""

    def __init__(self, task: str | Path | Task, lm: str | Path | LM, **settings: Any) -> None:
        check_keys(settings, Settings, "Experiment")
        for name, given, kind in (("task", task, Task), ("lm", lm, LM)):
            if not isinstance(given, str | Path | kind):
                raise DasError(f"{name} is {shown(given)}: expected a name, a path, or a das.{kind.__name__}")
        self.settings = Settings(task, lm, **settings)
        s, base = self.settings, self.settings.asked()
        self.network = Given(lm, s.dtype, s.device)
        self.tokenizer = self.network.tokenizer
        self.network.check_form(base.prompt)
        self.task = _under(s.under, base, self.tokenizer)
        if s.shifts:
            retrained(s.retrain, s.shifts, askable(base, self.tokenizer, s.shifts)[0])
        depth = self.network.layers
        self.layers: list[int | str] = list(range(depth)) if isinstance(s.layers, str) else list(s.layers)
        for layer in single_layers(self.layers):
            if not 0 <= layer < depth:
                raise DasError(f"layer {layer} does not exist: {name_of(lm)} has layers 0 to {depth - 1}")
        self.positions = expand_positions(s.positions or self.task.positions)
        self.hypotheses = self.task.short_names(s.hypotheses)
        check_families(s.families)
        self.schedule, self.measures  # noqa: B018  (a wrong loss or measure is reported here)
        self._check_known()
        self._check_race()
        self._check_components()
        self.task.check(self.tokenizer, self.positions)
        self._check_limits()
        self._check_sites()

    def _check_limits(self) -> None:
        drawn = self.task.some(200)
        answers, numbers = self.task.spelled(self.task.outputs(drawn), drawn, self.tokenizer)
        self._check_readable(answers)
        if self.network.net:
            self.network.net.check_answers(self.sample, answers, numbers)
        else:
            prompts = self.sample.forced(answers.beginnings(np.resize(numbers, len(self.sample)))[:, 0])
            tokens = np.unique(np.concatenate(answers.tokens_of(numbers)))
            check_limits(self.network.config, prompts, tokens, self.tokenizer)

    def _check_readable(self, answers: Answers) -> None:
        """DasError where a measure or the loss goes by tokens or classes, and answers are numbers."""
        named = {f"measure {name!r}": measure for name, measure in self.measures.items()}
        for what, about in (named | {f"loss {self.settings.loss!r}": self.schedule.loss}).items():
            if isinstance(answers, Real) and not about.numbers:
                raise DasError(
                    f"{what} goes by the scores of classes, and the answers are numbers: take functions of your own, and "
                    "loss: cross_entropy, which is the squared error then"
                )

    def _check_known(self) -> None:
        """DasError where the settings ask for what nobody says of pairs that were brought."""
        s = self.settings
        against = [name for name, measure in self.measures.items() if measure.against]
        against += [s.loss] if self.schedule.loss.against else []
        unknown_to = ["a budget"] * s.screens + ["only_correct"] * s.only_correct + against
        for what in unknown_to if not self.task.answered else ():
            raise DasError(f"{what} goes by how the prompts are answered: add the columns base_label and source_label")
        for kind in (s.kind, *s.kinds_beside):
            if kind.by_value and not self.task.model.complete:
                raise DasError(
                    f"{kind_name(kind)} goes by the values of a variable, which takes a causal model: name another kind"
                )

    def _check_race(self) -> None:
        """DasError where a race could decide nothing."""
        s = self.settings
        if s.race and not s.kind.trains:
            raise DasError(f"race: {kind_name(s.kind)} trains nothing that could be stopped: leave out race")
        if s.race and not rungs(self.schedule):
            raise DasError(
                f"race decides at checks after a quarter and after half of the steps, and there is none before the last of "
                f"{s.steps} with check_every {s.check_every}: give a smaller check_every"
            )

    def _check_components(self) -> None:
        for component in single_components(self.settings.components):
            if "." in component and parse_component(component) is None and "{layer}" not in component and len(self.layers) > 1:
                raise DasError(
                    f"component {component!r} is the same module in every layer: put {{layer}} in it, or give one layer"
                )
        for spot in {spot for site in self.sites for spot in site.spots if spot[0] != "block_output"}:
            self.network.skeleton.tap(*spot)

    def _check_sites(self) -> None:
        """DasError where the places of a site overlap, a base's place has another number of tokens than the source's, or a
        variable that keeps its value would take what the base has elsewhere."""
        several = [name for name, count in self.variables.items() if count > 1]
        for kind in self.settings.kinds_beside:
            if all(_why_not(kind, site) for site in self.sites):
                kind.check_site(self.sites[0])
        for site in self.sites:
            self.settings.kind.check_site(site)
            if several and any(base != source for base, source in site.pairs):
                raise DasError(
                    f"{site} takes what the source has elsewhere, and {several[0]} aligns several variables, some of which "
                    "keep their value in a pair: a base has no such place to keep it by; give hypotheses of one variable"
                )
            for base, source in site.pairs:
                counts = [self.sample.positions[place.position].shape[1] for place in (base, source)]
                if counts[0] != counts[1]:
                    raise DasError(
                        f"{base.position}<-{source.position}: {counts[0]} token(s) of the base cannot take the vectors of "
                        f"{counts[1]} of the source"
                    )
            if len(site.places) > 1:
                check_apart(self.network.skeleton, self.sample, site)

    def _check_widths(self) -> None:
        """DasError where a kind of subspace has more columns than there are entries in a position's vectors."""
        several = max(self.variables.values())
        for kind in (self.settings.kind, *self.settings.kinds_beside):
            for site, sizes in ((site, sizes) for site in self.sites if (sizes := self._entries(site))):
                size = min(sizes) if kind.by_place else sum(sizes)
                if (columns := several * kind.width) > size:
                    layers = [self.network.net.names[place.layer] for place in site.places] if self.network.net else []
                    where = ", ".join([*dict.fromkeys(layers), site.position])
                    raise DasError(
                        f"{kind_name(kind)} for {several} variable(s) needs {columns} columns, and the vectors at "
                        f"{where} have {size}: give k up to {size // several}"
                    )

    def _entries(self, site: Site) -> list[int]:
        """Of the vectors of each place of a site; none for components other than a block's output, of which the engine says it,
        with the size that it has found."""
        if self.settings.components != ["block_output"]:
            return []
        return [self.network.size(p.layer, self.sample) * self.sample.positions[p.position].shape[1] for p in site.places]

    def ready(self) -> None:
        """DasError where this machine lacks the device or the logger that the settings name, or a subspace is wider than its
        site. Before weights are loaded and anything is written."""
        self._check_widths()
        device_of(self.settings.device)
        check_logger(self.settings.logger)

    def check_trace(self) -> None:
        """DasError where the trace that is to rank the sites is of something else, or lacks one of them."""
        if self.trace:
            self.trace.check(self.made, name_of(self.settings.lm), self.names, self.sites)

    @cached_property
    def trace(self) -> Trace | None:
        """What ranks the sites in a screen's place, if something does."""
        return None if self.settings.trace is None else Trace.read(self.settings.trace)

    @cached_property
    def made(self) -> Print:
        """The prints of the task and the network."""
        return provenance(self.task, self.tokenizer, self.network.printed, self.own_measures)

    def tell_device(self, report: Reporter) -> None:
        """Says what `auto` comes to."""
        s = self.settings
        if s.device == "auto" and not isinstance(s.lm, LM):
            report.say(f"device auto: the network runs on {device_of(s.device)}")

    @property
    def measures(self) -> dict[str, Measure]:
        """What is measured beside IIA."""
        return measures_of(self.settings.measures, self.task.measures)

    @property
    def own_measures(self) -> list[str]:
        """The task's functions that are measured or minimised."""
        named = [name for name in self.settings.measures if name not in MEASURES]
        return sorted({*named, *({self.settings.loss} - LOSSES.keys())})

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(**vars(settings))

    @property
    def variables(self) -> dict[str, int]:
        """Hypothesis → how many variables it aligns."""
        return {name: len(self.task.hypotheses[name].variables) for name in self.hypotheses}

    @cached_property
    def sample(self) -> Prompts:
        """Some prompts of the task, as tokens with their positions."""
        return self.task.encode(self.task.some(200), self.tokenizer, self.positions)

    @cached_property
    def sites(self) -> list[Site]:
        """Of the whole grid."""
        spots = [(layer, component) for layer in self.layers for component in self.settings.components]
        return [Site(layer, position, component) for layer, component in spots for position in self.positions]

    def grid(self) -> list[Cell]:
        """The cells of the whole grid."""
        s = self.settings
        return [Cell(h, site, s.kind, seed) for site in self.sites for h in self.hypotheses for seed in range(s.seeds)]

    @property
    def skips_dead(self) -> bool:
        """Whether dead sites are looked for: where there is a training to be saved, of what they are known to be dead for."""
        return self.settings.dead == SKIP and self.settings.kind.trains and self.settings.kind.projects

    def refinement(self, chosen: Mapping[str, Site]) -> list[Cell]:
        """The cells that are added where each hypothesis was found: more seeds, and the kinds beside that can stand there."""
        s = self.settings
        kinds = {h: [k for k in s.kinds_beside if k != s.kind and not self.unfit(k, h, site)] for h, site in chosen.items()}
        cells = [Cell(h, site, kind) for h, site in chosen.items() for kind in dict.fromkeys([s.kind, *kinds[h]])]
        return [replace(cell, seed=seed) for cell in cells for seed in range(s.chosen_seeds)]

    def unfit(self, kind: Kind, name: str, site: Site) -> str:
        """Why a kind cannot stand beside others at a hypothesis' site; empty where it can."""
        if kind.by_value and name not in self._few:
            return f"the values of {name}'s variables, by which it goes, are not known or too many"
        if kind.finder == "directions" and any(base != source for base, source in site.pairs):
            return f"it reads base and source at one place, and {site} takes what the source has elsewhere"
        return _why_not(kind, site, sum(self._entries(site)))

    def left_out(self, chosen: Mapping[str, Site]) -> list[str]:
        """Which kinds beside cannot stand where a hypothesis was found, and why, a line each."""
        kinds = dict.fromkeys(kind for kind in self.settings.kinds_beside if kind != self.settings.kind)
        reasons = {(kind, h): self.unfit(kind, h, site) for h, site in chosen.items() for kind in kinds}
        return [f"{kind.label} is left out beside {h}: {why}" for (kind, h), why in reasons.items() if why]

    def examined(self, chosen: Mapping[str, Site]) -> list[Cell]:
        """The cells that are examined: all where each hypothesis was found."""
        return list(dict.fromkeys([*self.refinement(chosen), *self.closed(chosen.items())]))

    def closed(self, places: Iterable[tuple[str, Site]]) -> list[Cell]:
        """The cells of closed forms beside those of a kind that trains, at the hypotheses' sites; they have no seed. None at
        sites whose source's vector lies elsewhere: closed forms read base and source at one place."""
        s = self.settings
        kinds = [kind for kind in dict.fromkeys(s.kinds_closed) if kind != s.kind and s.kind.trains]
        every = [Cell(name, site, kind) for name, site in dict.fromkeys(places) for kind in kinds]
        return [cell for cell in every if not self.unfit(cell.kind, cell.hypothesis, cell.site)]

    @cached_property
    def _few(self) -> set[str]:
        """The hypotheses whose variables' values are known and few."""
        drawn = self.task.some(MANY)
        return {name for name in self.hypotheses if self._few_values(name, drawn)}

    def _few_values(self, name: str, drawn: Columns) -> bool:
        """Whether a hypothesis' variables have values that are known, and on drawn settings few enough to go by."""
        hypothesis = self.task.hypotheses[name]
        if not hypothesis.model.complete:
            return False
        values = hypothesis.model.run(drawn)
        return all(int(codes(values[v]).max()) < MANY // 2 for v in hypothesis.variables)

    @property
    def schedule(self) -> Schedule:
        s = self.settings
        return Schedule(s.steps, s.batch, s.check_every, s.patience, seed=s.seed, loss=loss_of(s.loss, self.task.measures))

    @property
    def names(self) -> dict[str, str]:
        """Hypothesis → its full name."""
        return {name: self.task.full_name(name) for name in self.hypotheses}

    def labels(self, trained: Sequence[Cell], dead: Sequence[Cell] = ()) -> dict[str, Any]:
        """What the run's summary and figures need to be told: hypotheses' full names, the tokens of an example prompt, layers'
        names where they have some, how many cells of the grid were trained, are dead, and were skipped by a budget."""
        cells, done, off = (Counter(cell.hypothesis for cell in some) for some in (self.grid(), trained, dead))
        counts = {
            name: {"trained": done[name], "skipped": cells[name] - done[name] - off[name], "dead": off[name]}
            for name in self.hypotheses
        }
        tokens = self.task.tokens_at(self.tokenizer, self.positions)
        return {"names": self.names, "tokens": tokens, "layers": self.network.modules, "grid": counts}

    def pairs(self) -> pd.DataFrame:
        """The pairs of all splits as a table that can be written, and read again by `das.own_task` and `das.with_pairs`."""
        origin = origins_of(self.settings, self.network, self.task, self.hypotheses)
        named = {split: {name: some.pairs(name) for name in self.hypotheses} for split, some in origin.items()}
        return pair_rows(self.task, named)

    def material(self) -> Material:
        """Loads the network, draws and labels the pairs, tokenizes them."""
        return Material.make(self.settings, self.network, self.task, self.hypotheses, self.positions)


def _why_not(kind: Kind, site: Site, entries: int = 0) -> str:
    """Why a kind is not for a site, or not for vectors of so many entries, if that is known; empty where it is."""
    try:
        kind.check_site(site)
        if entries:
            kind.check_vectors(entries)
    except DasError as error:
        return str(error)
    return ""


def _under(shift: Any, task: Task, tokenizer: Tokenizer) -> Task:
    """The task under a shift that the settings name."""
    try:
        return task.under(shift, tokenizer)
    except DasError as error:
        raise DasError(f"under {shift!r}: {error}") from error
