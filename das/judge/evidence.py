"""Evidence: one scorecard per alignment, beyond its IIA.

Four levels of it: the variable can be read from the subspace (`decoding`); swapping the subspace does what the causal model
says (`natural`, `cause`); resampling it costs accuracy (`ablation`); put back alone, it restores accuracy (`recovery`). Beside
them: what else the swap moves (`isolate`), what it leaves behind (`complete`), and whether it works through what the network
reads (`read_cause`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from das.causal.columns import Column, Columns
from das.find.alignment import Alignment, Curve
from das.find.rank import curves
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.score import Hits, captures_for, score
from das.interchange.vectors import vectors
from das.judge.decoding import decoded
from das.judge.reading import Reading, read
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled, Rows
from das.pairs.pairs import Pairs
from das.pairs.trials import listed_trials, trials
from das.task.task import Task

Values = dict[str, dict[str, Column]]
"""Hypothesis → variable → its values on the base prompts of the hypothesis' pairs."""


def values_of(task: Task, pairs: Mapping[str, Pairs]) -> Values:
    """Of the aligned variables, as far as a causal model says them. pairs: hypothesis → its pairs."""
    models = {name: task.hypotheses[name].model for name in pairs}
    tables = {name: model.run(pairs[name].base) for name, model in models.items() if model.complete}
    return {name: {v: table[v] for v in task.hypotheses[name].variables} for name, table in tables.items()}


def questions(
    task: Task, names: Iterable[str], pool: Columns, seed: int, pairs: Mapping[str, Pairs] | None = None
) -> dict[str, Pairs]:
    """The trials of hypotheses (see `das.pairs.trials`) on a pool of prompts, named by `key`; where there is no causal model,
    those that their own pairs put."""

    def trials_of(name: str) -> dict[str, Pairs]:
        hypothesis = task.hypotheses[name]
        if hypothesis.model.complete:
            return trials(hypothesis, pool, np.random.default_rng(seed))
        return listed_trials(pairs[name]) if pairs else {}

    return {key(name, trial): some for name in names for trial, some in trials_of(name).items()}


@dataclass
class Scorecard:
    """What an alignment's evidence comes to; shares of pairs unless said otherwise. None: could not be asked.

    decoding: variable → (held-out accuracy from the subspace, accuracy of the commonest class).
    natural: IIA on pairs as the prompts come.
    cause: variable → flip IIA of swapping it alone. whole_cause: of the whole vector on the same pairs.
    isolate: variable → other variable → base answer kept where swapping the other one would flip it.
    rest: IIA of swapping everything but the subspace: the base's variable among all else of the source.
    complete: base answer kept when all but the subspace is swapped, where the aligned variables alone decide.
    clean, resampled, expected: accuracy without a swap; with the subspace of another prompt; and what the causal model expects
        of that. wiped, restored: accuracy with the whole vector of another prompt; with the subspace then put back.
        expected_restored: what the causal model expects of that, if all the rest of the other prompt acts through the site.
    read_share: of the subspace, in directions that the rest of the network reads (squared length). read_cause, unread_cause:
        variable → flip IIA of moving what is read, or what is not, no further than base and source differ there. dormancy: see
        `das.judge.reading`.
    curve: the rank curve of a Nested alignment on the test pairs.
    upstream: what the variables are computed from → how often an alignment of that at the same site flips the answer on pairs
        on which the variables stay the same (see `das.pairs.upstream`).
    """

    decoding: dict[str, tuple[float, float]] = field(default_factory=dict)
    natural: float | None = None
    cause: dict[str, float] = field(default_factory=dict)
    whole_cause: dict[str, float] = field(default_factory=dict)
    isolate: dict[str, dict[str, float]] = field(default_factory=dict)
    rest: float | None = None
    complete: float | None = None
    clean: float | None = None
    resampled: float | None = None
    expected: float | None = None
    wiped: float | None = None
    restored: float | None = None
    expected_restored: float | None = None
    read_share: float | None = None
    read_cause: dict[str, float] = field(default_factory=dict)
    unread_cause: dict[str, float] = field(default_factory=dict)
    dormancy: float | None = None
    curve: Curve = field(default_factory=dict)
    upstream: dict[str, float] = field(default_factory=dict)

    @property
    def ablation(self) -> float | None:
        """Accuracy lost when the subspace is resampled."""
        return None if self.clean is None or self.resampled is None else self.clean - self.resampled

    @property
    def recovery(self) -> float | None:
        """Share of the accuracy that wiping the whole vector costs, regained by the subspace alone; None where it costs less
        than .02."""
        if self.clean is None or self.wiped is None or self.restored is None or self.clean - self.wiped < 0.02:
            return None
        return (self.restored - self.wiped) / (self.clean - self.wiped)

    @property
    def disentangle(self) -> float | None:
        """Mean of cause and isolation (RAVEL, arXiv 2402.17700), each a mean over its variables."""
        isolated = [share for row in self.isolate.values() for share in row.values()]
        return float(np.mean([np.mean(list(self.cause.values())), np.mean(isolated)])) if self.cause and isolated else None

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it, with what follows from the figures."""
        return asdict(self) | {name: getattr(self, name) for name in ("ablation", "recovery", "disentangle")}


@dataclass(frozen=True)
class Natural:
    """Hits on the natural pairs, (pairs,), and each pair's base and source prompt, (2, pairs): the same pairs for all
    hypotheses of a task. Of runs that kept no sources the base alone, (1, pairs)."""

    hits: Hits
    prompts: Rows

    @classmethod
    def of(cls, hits: Hits, pairs: Labelled) -> Natural:
        """The source of every variable is the same prompt."""
        return cls(hits, np.stack([pairs.base, pairs.sources[0]]))

    @classmethod
    def none(cls) -> Natural:
        """Where there is no causal model that could answer them."""
        return cls(np.zeros(0, bool), np.zeros((2, 0), np.int64))


def key(hypothesis: str, trial: str) -> str:
    """The name of a hypothesis' trial as a set of pairs."""
    return f"{hypothesis}: {trial}"


def scorecards(
    alignments: Sequence[Alignment], engine: Engine, asked: Dataset, splits: Mapping[str, Dataset],
    values: Mapping[str, Values], progress: Callable[[float], None] | None = None, room: float = 0.0,
) -> list[tuple[Scorecard, Natural]]:  # fmt: skip
    """Each alignment's scorecard, and its hits on the natural pairs.

    asked: the `questions` of each hypothesis. splits, values: `val`, on which decoding is fitted,
    and `test`, on which it is tried. room: bytes for captures.
    """
    wanted, figures = {}, {}
    cards = [Scorecard() for _ in alignments]
    for i, a in enumerate(alignments):
        mine = [name for name in asked.pairs if name.startswith(key(a.cell.hypothesis, ""))]
        reading = read(engine, asked, mine[0], a.cell.site, a.feature) if mine else None
        if reading:
            cards[i].read_share, cards[i].dormancy = reading.parts.share, reading.dormancy
        for name in mine:
            parts = _parts(name.split(": ")[1], a, reading)
            figures[i, name], wanted[i, name] = list(parts), (name, a.cell.site, list(parts.values()))
    captures = captures_for(engine, asked, [site for _, site, _ in wanted.values()], room) if wanted else None
    found = score(engine, asked, wanted, progress=progress, captures=captures)
    for (i, name), hits in found.items():
        _note(cards[i], name.split(": ")[1], dict(zip(figures[i, name], hits.mean(1).tolist(), strict=True)))
    for i, curve in curves(alignments, engine, splits["test"]).items():
        cards[i].curve = curve
    places = dict.fromkeys((a.cell.hypothesis, a.cell.site) for a in alignments)
    seen = {(name, site): [_at(engine, splits[split], name, site) for split in ("val", "test")] for name, site in places}
    for card, a in zip(cards, alignments, strict=True):
        for figure, trial in (("expected", "natural"), ("expected_restored", "rest")):
            if (p := asked.pairs.get(key(a.cell.hypothesis, trial))) and (flips := p.flips) is not None:
                setattr(card, figure, float(1 - flips.mean()))
        fit, test = seen[a.cell.hypothesis, a.cell.site]
        card.decoding = _decoding(a, fit, test, values)
    names = [key(a.cell.hypothesis, "natural") for a in alignments]
    natural_hits = [
        Natural.of(found[i, name][0], asked.pairs[name]) if name in asked.pairs else Natural.none()
        for i, name in enumerate(names)
    ]
    return list(zip(cards, natural_hits, strict=True))


def _parts(trial: str, a: Alignment, reading: Reading | None) -> dict[str, Feature]:
    """What is swapped in a trial: figure of the scorecard → feature."""
    whole = Whole(a.feature.variables)
    match trial.split()[0]:
        case "resampled":
            return {"clean": whole.complement, "resampled": a.feature, "wiped": whole, "restored": a.feature.complement}
        case "complete" | "rest" as asked:
            return {asked: a.feature.complement}
        case "cause":
            read = {"read_cause": reading.parts.inside, "unread_cause": reading.parts.outside} if reading else {}
            return {"cause": a.feature, "whole_cause": whole, **read}
        case asked:
            return {asked: a.feature}


def _note(card: Scorecard, trial: str, figures: Mapping[str, float]) -> None:
    """Enters a trial's figures."""
    asked, *variables = trial.split()
    if asked == "isolate":
        variable, _, other = variables
        card.isolate.setdefault(variable, {})[other] = figures[asked]
    elif asked == "cause":
        for name, share in figures.items():
            getattr(card, name)[variables[0]] = share
    else:
        vars(card).update(figures)


def _decoding(a: Alignment, fit: Tensor, test: Tensor, values: Mapping[str, Values]) -> dict[str, tuple[float, float]]:
    """Variable → held-out accuracy from its part of the subspace, and that of the commonest class. fit, test: what the base
    prompts of the validation and the test pairs have at the site, (pairs, n·size)."""
    name, done = a.cell.hypothesis, {}
    for i, variable in enumerate(values["val"].get(name, ())):
        own, held = (values[split][name][variable] for split in ("val", "test"))
        if found := decoded(a.feature.read(fit, i), a.feature.read(test, i), own, held):
            done[variable] = found
    return done


def _at(engine: Engine, data: Dataset, name: str, site: Site) -> Tensor:
    """What the base prompts of a hypothesis' pairs have at a site, (pairs, n·size)."""
    return next(rows for _, rows in vectors(engine, data, data.pairs[name].base, [site]))
