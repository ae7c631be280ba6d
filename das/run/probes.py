"""Probes: pieces of a run, done by the engine itself on a network of the shape that is planned for, and how long they took."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from das.find.alignment import Alignment, Cell
from das.find.kinds import Kind, Nested, Rotation
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.find.unattended import Unattended
from das.interchange.batch import Batch
from das.interchange.captures import Captures
from das.interchange.feature import Whole
from das.interchange.score import captures_for, score
from das.judge.evaluate import evaluate
from das.judge.evidence import questions, scorecards, values_of
from das.judge.nulls import reinitialised
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.run.amounts import Amounts, Meter, together
from das.run.examined import Examining
from das.run.folder import Folder
from das.run.layout import Layout
from das.run.machine import clock, wait

ROOM = 2.0**30
"""Bytes for captures while runs from them are timed."""

LONG = 2.0
"""Seconds that a capture of many pairs should take at most."""


@dataclass(frozen=True)
class Probe:
    """A piece of work: what it amounts to, and the seconds it took."""

    name: str
    amounts: Amounts
    seconds: float


class Watch:
    """Seconds of calls, by `das.run.machine.clock`; of several calls the least."""

    def __init__(self, device: torch.device) -> None:
        self.now = clock(device, torch.get_num_threads())

    def seconds(self, function: Callable[[], object], repeats: int = 1) -> float:
        """Of the fastest of some calls; a call that takes long is not repeated."""
        found: list[float] = []
        while len(found) < repeats and sum(found) < 3.0:
            wait()
            started = self.now()
            function()
            wait()
            found.append(self.now() - started)
        return min(found)


class Bench:
    """A network with some pairs of the task, on which pieces of a run are timed."""

    def __init__(self, e: Layout, watch: Watch, meter: Meter) -> None:
        self.e, self.watch, self.meter, self.m = e, watch, meter, e.material()
        self.names = len(e.hypotheses)
        s = e.settings
        self.kind: Kind = s.kind if isinstance(s.kind, Rotation) else Nested(min(8, e.network.width))
        sites = sorted(e.sites, key=lambda site: (site.entry, -meter.suffix(site)))
        self.deep, self.shallow = sites[0], sites[-1]

    def capturing(self) -> Iterator[Probe]:
        """Few and many pairs, captured for swaps at all sites; how many are many goes by how long the few took, and more are
        not looked at from then on."""
        yield (one := self._capture(1))
        many = max(2, min(self.e.settings.batch, int(LONG / max(1e-9, one.seconds))))
        self._shorten(many)
        yield self._capture(many)

    def _shorten(self, n: int) -> None:
        """From now on there are at most so many pairs of each hypothesis in a split."""
        for split, data in self.m.data.items():
            self.m.data[split] = replace(data, pairs={name: pairs.take(slice(n)) for name, pairs in data.pairs.items()})
            self.m.pairs[split] = {name: p.take(np.arange(min(n, len(p)))) for name, p in self.m.pairs[split].items()}

    def _capture(self, n: int) -> Probe:
        train = self.m.data["train"]
        rows = {name: np.arange(min(n, len(pairs))) for name, pairs in train.pairs.items()}
        new = partial(captures_for, self.m.engine, train, self.e.sites)
        seconds = self.watch.seconds(lambda: Batch.capture(train, new(), rows), 3)
        bases, sources = (np.unique(np.concatenate(r)).size for r in self._prompts(rows))
        return Probe(f"capture of {n} pairs", self.meter.captured(bases, sources), seconds)

    def _prompts(self, rows: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        pairs = [self.m.data["train"].pairs[name].take(some) for name, some in rows.items()]
        return [p.base for p in pairs], [p.sources.ravel() for p in pairs]

    def training(self) -> Iterator[Probe]:
        """Single steps: at the lowest and at the highest site, of one cell and of several, on few pairs and on many."""
        batch = self._pairs("train")
        wanted = [([self.shallow], 1, 1, 2), ([self.shallow], 1, 4, 2), ([self.shallow], 1, 1, batch), ([self.deep], 1, 1, 2)]
        wanted += [([self.deep], 1, 1, batch), ([self.deep, self.shallow], self.names, 1, batch)]
        for sites, names, seeds, pairs in wanted:
            module = self._module(sites, names, seeds, pairs)
            captured = module.capture()
            seconds = self.watch.seconds(lambda m=module, c=captured: m.step_on(c), 3)  # type: ignore[misc]
            amounts = together(self.meter.trained(sites, names, seeds, pairs), {"steps": 1})
            yield Probe(f"step of {len(module.cells)} cells on {pairs} pairs", amounts, seconds)

    def _module(self, sites: Sequence[Site], names: int, seeds: int, pairs: int) -> Unattended:
        cells = [Cell(n, site, self.kind, i) for n in self.e.hypotheses[:names] for site in sites for i in range(seeds)]
        train, val = (self.m.data[split] for split in ("train", "val"))
        return Unattended(cells, self.m.engine, train, val, self.e.variables, Schedule(1000, pairs), ROOM)

    def judging(self) -> Iterator[Probe]:
        """Features scored from captures that are there: at the lowest and the highest site, at both, one and several."""
        name, val = self.e.hypotheses[0], self.m.data["val"]
        low, high = [self.deep], [self.shallow]
        feature = {site: self._module([site], 1, 1, 2).alignments()[0].feature for site in low + high}
        for sites, features, n in (
            (high, 1, 2), (high, 8, 32), (low, 1, 2), (low, 1, 32), (low, 4, 32), (low + high, 1, 2)
        ):  # fmt: skip
            data = replace(val, pairs={name: val.pairs[name].take(slice(n))})
            n, captures = len(data.pairs[name]), captures_for(self.m.engine, data, sites, ROOM)
            asked = {i: (name, site, [feature[site]] * features) for i, site in enumerate(sites)}
            seconds = self.watch.seconds(partial(score, self.m.engine, data, asked, captures=captures), 3)
            amounts = together(self.meter.judged(sites, 1, features, n), {"batches": 1})
            yield Probe(f"{features} features at {len(sites)} sites on {n} pairs", amounts, seconds)

    @cached_property
    def alignments(self) -> list[Alignment]:
        """Cells that were not trained, at the highest site."""
        return self._module([self.shallow], 1, 2, 2).alignments()

    # --- what stands beside the forwards ---

    def records(self, seconds_of: Callable[[Amounts], float]) -> Probe:
        """Cells judged and written. seconds_of: what forwards take."""
        data = {"val": self.m.data["val"], "test": self.m.data["test"]}
        with tempfile.TemporaryDirectory() as at:

            def judged() -> None:
                for record in evaluate(self.alignments, self.m.engine, data, None, ROOM):
                    Folder(at).save(record)

            took = self.watch.seconds(judged)
        cells, soft = len(self.alignments), self.kind.annealed
        looks = [self.meter.judged([self.shallow], 1, (2 + soft) * cells + 1, self._pairs(split)) for split in data]
        pairs = self.names * sum(self._pairs(split) for split in data)
        forwards = together(*looks, self.meter.captured(pairs, pairs, 2))
        return Probe("records", {"records": cells}, max(0.0, took - seconds_of(forwards)))

    def _pairs(self, split: str) -> int:
        return len(self.m.data[split].pairs[self.e.hypotheses[0]])

    def forms(self, seconds_of: Callable[[Amounts], float]) -> Probe | None:
        """Closed forms computed, and their ranks."""
        places = [(name, self.shallow) for name in self.e.hypotheses]
        if not (cells := self.e.closed(places)):
            return None
        took = self.watch.seconds(lambda: align(cells, Search(self.m.engine, self.m.data, room=ROOM)))
        prompts = 2 * self.names * self._pairs("train")
        curves = [self.meter.judged([self.shallow], 1, 1 + np.log2(max(1, c.kind.width)), self._pairs("val")) for c in cells]
        val = self.names * self._pairs("val")
        forwards = together(self.meter.captured(0, prompts), self.meter.captured(val, val), *curves)
        return Probe("forms", {"forms": len(cells)}, max(0.0, took - seconds_of(forwards)))

    def cards(self, seconds_of: Callable[[Amounts], float]) -> Probe | None:
        """A scorecard, with what is asked for it."""
        name, m = self.e.hypotheses[0], self.m
        put = questions(self.e.task, [name], m.pool, 0, m.pairs["test"])
        if not put:
            return None
        asked = Dataset.make(self.e.task, self.e.tokenizer, put, self.e.positions, m.outputs)
        few = replace(asked, pairs={key: pairs.take(slice(self._pairs("val"))) for key, pairs in asked.pairs.items()})
        values = {split: values_of(self.e.task, m.pairs[split]) for split in ("val", "test")}
        one, captures = self.alignments[:1], captures_for(m.engine, few, [self.shallow], ROOM)
        self._warm(few, captures)
        took = self.watch.seconds(lambda: scorecards(one, m.engine, few, m.data, values, room=ROOM))
        asked_for = {key.removeprefix(f"{name}: "): len(pairs) for key, pairs in few.pairs.items()}
        work = Examining(self.meter, [self.shallow])
        forwards = dict(work.scorecards(asked_for, {self.kind: 1}, self._pairs("val"), self._pairs("test")))
        cards = forwards.pop("cards")
        return Probe("cards", {"cards": cards}, max(0.0, took - seconds_of(forwards)))

    def _warm(self, data: Dataset, captures: Captures) -> None:
        """The first pass over a data set finds out how it is asked."""
        name = next(iter(data.pairs))
        score(self.m.engine, data, {0: (name, self.shallow, [Whole(data.pairs[name].sources.shape[0])])}, captures=captures)

    def networks(self) -> Probe:
        """A network of other weights, made and tried."""
        seconds = self.watch.seconds(lambda: self.m.engine_of(reinitialised(self.m.lm, 0)))
        return Probe("networks", {"networks": 1}, seconds)
