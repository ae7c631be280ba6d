"""Circuit search: edges are scored on training pairs, a circuit is chosen on validation pairs, and looked at once on test
pairs, beside random circuits of its size and those of an untrained network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from das.circuits.attribution import Attributed, attributed
from das.circuits.choosing import Chosen, Floats, Progress, Trial, chosen, losses, sizes_of
from das.circuits.contrasts import Contrasts, own_contrasts
from das.circuits.cutting import cut
from das.circuits.graph import Edges
from das.circuits.replaced import replacement
from das.circuits.streams import Streams
from das.interchange.engine import ResumeEngine
from das.judge.nulls import reinitialised
from das.progress import Reporter

NETWORK, RANDOM, UNTRAINED = "network", "random", "untrained"
"""Whose circuits: the network's best edges, random ways of the same size, an untrained network's best edges."""
SPARSE = 3
"""Nulls have a point in the curve at every so many sizes."""
CHECKED = 4
"""Pairs on which it is tried that runs are exact."""
WEIGHED, WEIGHED_ON = 300, 32
"""The largest circuit whose edges are cut one by one, and the pairs on which they are."""

LEAST = 8
"""Pairs of each split that an untrained network must tell apart at all to be a null."""

Splits = Mapping[str, Contrasts]


@dataclass(frozen=True)
class Method:
    """How edges are scored. name: `eap-ig`, `eap` or `acdc`; steps: of the integral; swap: see `das.circuits.replaced.SWAPS`;
    cut_below: of acdc. positions: where scores are wanted by themselves."""

    name: str
    steps: int
    swap: str
    cut_below: float
    positions: Sequence[str]

    def trial(self, streams: Streams, found: Contrasts) -> Trial:
        """Of circuits on some pairs."""
        return Trial(streams, found, replacement(streams, self.swap, found), self.swap)

    def scored(self, trial: Trial, progress: Progress = None) -> Scored:
        """The edges of a network on some pairs."""
        network = trial.streams, trial.found, trial.replaced
        if self.name == "acdc":
            done = cut(*network, self.cut_below, progress)
            first = float(np.abs(done.losses).max()) + 1  # what was kept comes before what was cut
            return Scored(Attributed(done.losses, {}), done.losses + first * done.kept, [int(done.kept.sum())])
        seen = attributed(*network, self.steps if self.name == "eap-ig" else 1, self.positions, progress)
        return Scored(seen, np.abs(seen.scores), [])


@dataclass(frozen=True)
class Scored:
    """seen: the scores; rank: what the best edges are the highest of, (ends, nodes); counts: how many a method keeps by
    itself."""

    seen: Attributed
    rank: Floats
    counts: list[int]


class Subject:
    """A network whose circuits are looked for, with its pairs by split and its scored edges."""

    def __init__(self, method: Method, engine: ResumeEngine, splits: Splits, progress: Progress = None) -> None:
        few = splits["train"].take(np.arange(min(CHECKED, len(splits["train"]))))
        self.streams = Streams(engine, few.prompts)
        self.streams.check(few.prompts, few.others)
        self.trials = {split: method.trial(self.streams, some) for split, some in splits.items()}
        self.scored = method.scored(self.trials["train"], progress)

    def best(self, count: int) -> Edges:
        """The circuit of so many best edges."""
        return self.streams.graph.best(self.scored.rank, count)


@dataclass(frozen=True)
class Searched:
    """curve, test: see `das.use.circuit.Circuit`; losses: (ends, nodes), None where the circuit is too large to cut its edges
    one by one."""

    subject: Subject
    chosen: Chosen
    losses: Floats | None
    curve: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True)
class CircuitSearch:
    """threshold: of faithfulness; draws: of random circuits; seed: of nulls."""

    method: Method
    threshold: float
    draws: int
    seed: int
    report: Reporter

    def searched(self, engine: ResumeEngine, splits: Splits) -> Searched:
        """Scores, chooses, weighs and tests."""
        subject = self._subject("score edges", engine, splits)
        sizes = sorted({*sizes_of(subject.streams.graph), *subject.scored.counts})
        with self._progress("choose") as told:
            best = chosen(subject.trials["val"], subject.scored.rank, sizes, self.threshold, told)
        other = self._untrained(engine, splits)
        curve = [best.curve.assign(kind=NETWORK), *self._nulls(subject, other, "val", sizes[::SPARSE], sizes[::SPARSE])]
        weighed = self._weighed(subject, best.kept)
        with self._progress("test") as told:
            rows = subject.trials["test"].rows([best.kept], told)
        size = int(best.kept.sum())
        test = [
            pd.DataFrame(rows).assign(kind=NETWORK),
            *self._nulls(subject, other, "test", [size] * self.draws, [best.asked]),
        ]
        return Searched(subject, best, weighed, pd.concat(curve, ignore_index=True), pd.concat(test, ignore_index=True))

    def _nulls(
        self, subject: Subject, other: Subject | None, split: str, random: Sequence[int], untrained: Sequence[int]
    ) -> Iterator[pd.DataFrame]:  # fmt: skip
        """Random circuits of some sizes, and an untrained network's of so many best edges."""
        rng = np.random.default_rng([self.seed, 13])
        circuits = [subject.streams.graph.random(size, rng) for size in random]
        for kind, mine, some in (
            (RANDOM, subject, circuits),
            (UNTRAINED, other, [other.best(n) for n in untrained] if other else []),
        ):
            if mine and some:
                with self._progress(f"nulls: {kind}, {split}") as told:
                    yield pd.DataFrame(mine.trials[split].rows(some, told)).assign(kind=kind)

    def _untrained(self, engine: ResumeEngine, splits: Splits) -> Subject | None:
        """An untrained network, which is held to its own leanings; None where it has hardly any."""
        twin = ResumeEngine(reinitialised(engine.lm, self.seed), engine.prefix)
        own = {split: own_contrasts(twin, some) for split, some in splits.items()}
        if min(map(len, own.values())) < LEAST:
            return None
        return self._subject("score edges of an untrained network", twin, own)

    def _subject(self, what: str, engine: ResumeEngine, splits: Splits) -> Subject:
        with self._progress(what) as told:
            return Subject(self.method, engine, splits, told)

    def _weighed(self, subject: Subject, kept: Edges) -> Floats | None:
        if kept.sum() > WEIGHED:
            return None
        some = subject.trials["val"].found
        few = some.take(np.arange(min(WEIGHED_ON, len(some))))
        with self._progress("cut edges one by one") as told:
            return losses(self.method.trial(subject.streams, few), kept, told)

    @contextmanager
    def _progress(self, what: str) -> Iterator[Progress]:
        with self.report.task(what, 1.0) as step:
            yield lambda done: step(done, "")
