"""Evidence: one scorecard per alignment, beyond its IIA.

Four levels of it: the variable can be read from the subspace (`decoding`); swapping the subspace does what the causal model
says (`natural`, `cause`), and so does adding a direction of it (`dose`); resampling it costs accuracy (`ablation`); put back
alone, it restores accuracy (`recovery`). Beside them: what else the swap moves (`isolate`), what it leaves behind (`complete`),
and whether it works through what the network reads (`read_cause`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from das.causal.columns import Column, Columns
from das.find.alignment import Alignment, Curve
from das.find.rank import Scores, curves
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.feature import Feature, Whole
from das.interchange.operators import mean_ablation, zero_ablation
from das.interchange.score import Hits, captures_for, score
from das.interchange.vectors import vectors
from das.judge.decoding import arbitrary, decoded
from das.judge.dose import LEVEL, Dose, dose_questions, doses
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
    """The trials of hypotheses (see `das.pairs.trials`) on a pool of prompts, and what is asked of directions (see
    `das.judge.dose`), named by `key`; where there is no causal model, those that their own pairs put."""

    def trials_of(name: str) -> dict[str, Pairs]:
        hypothesis = task.hypotheses[name]
        if hypothesis.model.complete:
            own, other = np.random.default_rng(seed), np.random.default_rng([seed, 1])
            return trials(hypothesis, pool, own) | dose_questions(hypothesis, pool, other)
        return listed_trials(pairs[name]) if pairs else {}

    return {key(name, trial): some for name in names for trial, some in trials_of(name).items()}


FOLLOWING = ("ablation", "mean_ablation", "zero_ablation", "recovery", "disentangle", "selectivity")
"""Figures that follow from others."""


@dataclass
class Scorecard:
    """What an alignment's evidence comes to; shares of pairs unless said otherwise. None: could not be asked.

    decoding: variable → (held-out accuracy from the subspace, accuracy of the commonest class). arbitrary: variable → the same
        accuracy where every prompt has been dealt some prompt's value (a control task, Hewitt & Liang 2019, arXiv 1909.03368).
    natural: IIA on pairs as the prompts come.
    cause: variable → flip IIA of swapping it alone. whole_cause: of the whole vector on the same pairs.
    isolate: variable → other variable → base answer kept where swapping the other one would flip it.
    rest: IIA of swapping everything but the subspace: the base's variable among all else of the source.
    complete: base answer kept when all but the subspace is swapped, where the aligned variables alone decide.
    clean, resampled, expected: accuracy without a swap; with the subspace of another prompt; and what the causal model expects
        of that. averaged, zeroed: with the subspace of the mean vector, and of a vector of zeros. wiped, restored: with the
        whole vector of another prompt; with the subspace then put back.
        expected_restored: what the causal model expects of that, if all the rest of the other prompt acts through the site.
    read_share: of the subspace, in directions that the rest of the network reads (squared length). read_cause, unread_cause:
        variable → flip IIA of moving what is read, or what is not, no further than base and source differ there. dormancy: see
        `das.judge.reading`.
    dose: variable → what adding its first direction does, see `das.judge.dose`.
    curve: the rank curve of a Nested alignment on the test pairs.
    upstream: what the variables are computed from → how often an alignment of that at the same site flips the answer on pairs
        on which the variables stay the same (see `das.pairs.upstream`).
    """

    decoding: dict[str, tuple[float, float]] = field(default_factory=dict)
    arbitrary: dict[str, float] = field(default_factory=dict)
    natural: float | None = None
    cause: dict[str, float] = field(default_factory=dict)
    whole_cause: dict[str, float] = field(default_factory=dict)
    isolate: dict[str, dict[str, float]] = field(default_factory=dict)
    rest: float | None = None
    complete: float | None = None
    clean: float | None = None
    resampled: float | None = None
    expected: float | None = None
    averaged: float | None = None
    zeroed: float | None = None
    wiped: float | None = None
    restored: float | None = None
    expected_restored: float | None = None
    read_share: float | None = None
    read_cause: dict[str, float] = field(default_factory=dict)
    unread_cause: dict[str, float] = field(default_factory=dict)
    dormancy: float | None = None
    dose: dict[str, Dose] = field(default_factory=dict)
    curve: Curve = field(default_factory=dict)
    upstream: dict[str, float] = field(default_factory=dict)

    @property
    def ablation(self) -> float | None:
        """Accuracy lost when the subspace is resampled."""
        return None if self.clean is None or self.resampled is None else self.clean - self.resampled

    @property
    def mean_ablation(self) -> float | None:
        """Accuracy lost when the subspace is set to its mean. Where the values of a variable are not as common as each other,
        the mean is nearer to some of them, and less is lost."""
        return None if self.clean is None or self.averaged is None else self.clean - self.averaged

    @property
    def zero_ablation(self) -> float | None:
        """Accuracy lost when the subspace is projected out."""
        return None if self.clean is None or self.zeroed is None else self.clean - self.zeroed

    @property
    def selectivity(self) -> dict[str, float]:
        """Variable → held-out decoding less that of arbitrary values."""
        return {v: self.decoding[v][0] - arbitrary for v, arbitrary in self.arbitrary.items()}

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
        return asdict(self) | {name: getattr(self, name) for name in FOLLOWING}


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
    cards, test = [Scorecard() for _ in alignments], splits["test"]
    captures = captures_for(engine, asked, [a.cell.site for a in alignments], room) if asked.pairs else None
    places = dict.fromkeys((a.cell.hypothesis, a.cell.site) for a in alignments)
    seen = {place: tuple(_at(engine, splits[split], *place) for split in ("val", "test")) for place in places}
    hits = _tried(cards, alignments, engine, asked, {place: rows[0] for place, rows in seen.items()}, captures, progress)
    for i, curve in curves(alignments, Scores.of(alignments, engine, test)).items():
        cards[i].curve = curve
    variables = {name: list(own) for name, own in values["val"].items()}
    found = doses(alignments, variables, engine, asked, {place: rows[0] for place, rows in seen.items()}, captures)
    for card, a, dose in zip(cards, alignments, found, strict=True):
        place = a.cell.hypothesis, a.cell.site
        prompts = [splits[split].pairs[place[0]].base for split in ("val", "test")]
        card.decoding, card.arbitrary = _decoding(a, seen[place], values, prompts)
        card.dose = dose
    return list(zip(cards, hits, strict=True))


def _tried(
    cards: Sequence[Scorecard], alignments: Sequence[Alignment], engine: Engine, asked: Dataset,
    natural: Mapping[tuple[str, Site], Tensor], captures: Captures | None, progress: Callable[[float], None] | None,
) -> list[Natural]:  # fmt: skip
    """Puts the trials to alignments, enters what they come to, and gives the hits on the natural pairs."""
    wanted, figures = {}, {}
    for i, a in enumerate(alignments):
        mine = [trial for name in asked.pairs if (trial := _trial(name, a.cell.hypothesis))]
        reading = read(engine, asked, key(a.cell.hypothesis, mine[0]), a.cell.site, a.feature) if mine else None
        if reading:
            cards[i].read_share, cards[i].dormancy = reading.parts.share, reading.dormancy
        for trial in mine:
            parts = _parts(trial, a, reading, natural[a.cell.hypothesis, a.cell.site])
            name = key(a.cell.hypothesis, trial)
            figures[i, trial], wanted[i, trial] = list(parts), (name, a.cell.site, list(parts.values()))
    found = score(engine, asked, wanted, progress=progress, captures=captures)
    for (i, trial), hits in found.items():
        _note(cards[i], trial, dict(zip(figures[i, trial], hits.mean(1).tolist(), strict=True)))
    return [_natural(cards[i], asked, a.cell.hypothesis, found.get((i, "natural"))) for i, a in enumerate(alignments)]


def _trial(name: str, hypothesis: str) -> str | None:
    """The trial of a hypothesis that goes by a name in the data; None where it is another's, or one for directions."""
    trial = name.removeprefix(key(hypothesis, ""))
    return None if trial == name or trial.split()[0] == LEVEL else trial


def _natural(card: Scorecard, asked: Dataset, hypothesis: str, hits: Hits | None) -> Natural:
    """The hits on the natural pairs; enters what the causal model expects of accuracies."""
    for figure, trial in (("expected", "natural"), ("expected_restored", "rest")):
        if (p := asked.pairs.get(key(hypothesis, trial))) and (flips := p.flips) is not None:
            setattr(card, figure, float(1 - flips.mean()))
    return Natural.none() if hits is None else Natural.of(hits[0], asked.pairs[key(hypothesis, "natural")])


def _parts(trial: str, a: Alignment, reading: Reading | None, natural: Tensor) -> dict[str, Feature]:
    """What is swapped in a trial: figure of the scorecard → feature. natural: what natural prompts have, (prompts, d)."""
    whole = Whole(a.feature.variables)
    match trial.split()[0]:
        case "resampled":
            set_to = {"averaged": mean_ablation(a.feature, natural), "zeroed": zero_ablation(a.feature, natural.shape[1])}
            swapped = {"resampled": a.feature, "wiped": whole, "restored": a.feature.complement}
            return {"clean": whole.complement, **swapped, **set_to}
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


def _decoding(
    a: Alignment, seen: Sequence[Tensor], values: Mapping[str, Values], prompts: Sequence[Rows]
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Variable → held-out accuracy from its part of the subspace, and that of the commonest class; and the accuracy with which
    arbitrary values are read there. seen: what the base prompts of the validation and of the test pairs have at the site,
    (pairs, n·size); prompts: which prompts they are."""
    name, done, beside = a.cell.hypothesis, {}, {}
    for i, variable in enumerate(values["val"].get(name, ())):
        fit, test = (a.feature.read(rows, i) for rows in seen)
        own, held = (values[split][name][variable] for split in ("val", "test"))
        if found := decoded(fit, test, own, held):
            done[variable] = found
            if (dealt := arbitrary(fit, test, own, prompts[0], prompts[1])) is not None:
                beside[variable] = dealt
    return done, beside


def _at(engine: Engine, data: Dataset, name: str, site: Site) -> Tensor:
    """What the base prompts of a hypothesis' pairs have at a site, (pairs, n·size)."""
    return next(rows for _, rows in vectors(engine, data, data.pairs[name].base, [site]))
