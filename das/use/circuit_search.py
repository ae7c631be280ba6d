"""Circuit search: edges are scored on training pairs, a circuit is chosen on validation pairs, and looked at once on test
pairs, beside random circuits of its size and those of an untrained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd

from das.circuits.attribution import Attributed, attributed
from das.circuits.choosing import Chosen, Floats, Progress, Trial, losses, sizes_of, tried
from das.circuits.contrasts import Contrasts, own_contrasts
from das.circuits.cutting import cut
from das.circuits.graph import Edges
from das.circuits.replaced import replacement
from das.circuits.streams import Streams
from das.interchange.engine import ResumeEngine
from das.judge.nulls import reinitialised
from das.progress import Reporter
from das.run.begun import Arrays, Parts

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
T = TypeVar("T")


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

    def arrays(self) -> Arrays:
        """As they are kept."""
        scores = self.seen.scores
        at = np.array([*self.seen.at.values()], scores.dtype).reshape(-1, *scores.shape)
        return {"scores": scores, "at": at, "rank": self.rank, "counts": np.array(self.counts, np.int64)}

    @classmethod
    def of(cls, kept: Arrays, positions: Sequence[str]) -> Scored:
        """From what was kept. positions: where scores were wanted by themselves."""
        at = dict(zip(positions, kept["at"], strict=False))  # acdc has none
        return cls(Attributed(kept["scores"], at), kept["rank"], kept["counts"].tolist())


class Subject:
    """A network whose circuits are looked for, with its pairs by split and its edges, scored on training pairs."""

    def __init__(self, method: Method, engine: ResumeEngine, splits: Splits, scored: Callable[[Trial], Scored]) -> None:
        few = splits["train"].take(np.arange(min(CHECKED, len(splits["train"]))))
        self.streams = Streams(engine, few.prompts)
        self.streams.check(few.prompts, few.others)
        self.trials = {split: method.trial(self.streams, some) for split, some in splits.items()}
        self.scored = scored(self.trials["train"])

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
    """threshold: of faithfulness; draws: of random circuits; seed: of nulls; parts: where what is finished is kept."""

    method: Method
    threshold: float
    draws: int
    seed: int
    report: Reporter
    parts: Parts

    def searched(self, engine: ResumeEngine, splits: Splits) -> Searched:
        """Scores, chooses, weighs and tests."""
        if self.parts.there:
            self.report.say(f"going on with what is in {self.parts.work}: {', '.join(self.parts.there)}")
        subject = self._subject("scores", "score edges", engine, splits)
        graph, rank = subject.streams.graph, subject.scored.rank
        sizes = sorted({*sizes_of(graph), *subject.scored.counts})
        curve_of = partial(tried, subject.trials["val"], rank, sizes, self.threshold)
        best = Chosen.of(self._table("curve", "choose", curve_of), graph, rank, self.threshold)
        other = self._untrained(engine, splits)
        curve = [best.curve.assign(kind=NETWORK), *self._nulls(subject, other, "val", sizes[::SPARSE], sizes[::SPARSE])]
        weighed = self._weighed(subject, best.kept)
        size = int(best.kept.sum())
        test = [
            self._table("test", "test", lambda told: _rows(subject.trials["test"], [best.kept], NETWORK, told)),
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
                rows = partial(_rows, mine.trials[split], some, kind)
                yield self._table(f"{kind}-{split}", f"nulls: {kind}, {split}", rows)

    def _untrained(self, engine: ResumeEngine, splits: Splits) -> Subject | None:
        """An untrained network, which is held to its own leanings; None where it has hardly any."""
        twin = ResumeEngine(reinitialised(engine.lm, self.seed), engine.prefix)
        own = {split: own_contrasts(twin, some) for split, some in splits.items()}
        if min(map(len, own.values())) < LEAST:
            return None
        return self._subject("untrained-scores", "score edges of an untrained network", twin, own)

    def _subject(self, part: str, what: str, engine: ResumeEngine, splits: Splits) -> Subject:
        def scored(trial: Trial) -> Scored:
            kept = self._arrays(part, what, lambda told: self.method.scored(trial, told).arrays())
            return Scored.of(kept, self.method.positions)

        return Subject(self.method, engine, splits, scored)

    def _weighed(self, subject: Subject, kept: Edges) -> Floats | None:
        if kept.sum() > WEIGHED:
            return None
        some = subject.trials["val"].found
        few = some.take(np.arange(min(WEIGHED_ON, len(some))))
        found = partial(losses, self.method.trial(subject.streams, few), kept)
        return self._arrays("losses", "cut edges one by one", lambda told: {"losses": found(told)})["losses"]

    # --- parts, made or taken up ---

    def _arrays(self, part: str, what: str, make: Callable[[Progress], Arrays]) -> Arrays:
        return self.parts.arrays(part, lambda: self._told(what, make))

    def _table(self, part: str, what: str, make: Callable[[Progress], pd.DataFrame]) -> pd.DataFrame:
        return self.parts.table(part, lambda: self._told(what, make))

    def _told(self, what: str, make: Callable[[Progress], T]) -> T:
        with self._progress(what) as told:
            return make(told)

    @contextmanager
    def _progress(self, what: str) -> Iterator[Progress]:
        with self.report.task(what, 1.0) as step:
            yield lambda done: step(done, "")


def _rows(trial: Trial, circuits: Sequence[Edges], kind: str, progress: Progress) -> pd.DataFrame:
    """What `Trial.rows` says of circuits of a kind."""
    return pd.DataFrame(trial.rows(circuits, progress)).assign(kind=kind)
