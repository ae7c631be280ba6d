"""Identifiability: which hypotheses a set of pairs can tell apart, from the causal models alone, before anything is trained.

The table has a row per hypothesis claimed, with its pairs and its labels, and a column per hypothesis true in the network:
what IIA the claim could come to all the same. An entry near 1 off the diagonal says that a high IIA on these pairs is no
evidence for the claim against that rival: either the rival's model implies the claim, or the pairs do not separate them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from das.causal.columns import Columns, codes, one_to_one
from das.causal.inputs import MOST_SETTINGS
from das.errors import DasError
from das.ground.checks import whole
from das.pairs.drawer import make_pairs
from das.pairs.families import FAMILIES, check_families
from das.pairs.pairs import Pairs
from das.pairs.rivals import SAME, Way, agreement, ways
from das.progress import Reporter, Step, silent
from das.task.hypothesis import Hypothesis
from das.task.task import Task
from das.text import aligned

FIRST = "the first swapped"
"""Name of the source whose answer is `Pairs.source_answer`, where a hypothesis aligns several variables."""

BALANCED, NATURAL = {"flip": 0.5, "keep": 0.5}, {"natural": 1.0}

MUCH = 0.8
"""What a rival may score before pairs are called poor at telling it from the claim."""

FAMILY_PAIRS = 10_000
"""Pairs per hypothesis, at most, on which each family is tried alone."""


@dataclass(frozen=True)
class Best:
    """The way of interchanging that meets most labels, and the share of pairs on which it does."""

    iia: float
    through: Way


@dataclass(frozen=True)
class Claim:
    """What networks that solve the task exactly could score on the pairs of the hypothesis `name`: shares of the pairs.

    noop: if the aligned subspace carries nothing. whole: if it carries everything, so that the answer is the source's.
    inputs: by the best set of inputs, whichever hypothesis is true.
    own: hypothesis true in the network → if the subspace carries exactly that one's aligned variable(s), each by the source of
        the claim's variable in the same place; where the numbers of variables differ, all by the first swapped source.
    largest: hypothesis true in the network → by the best of all sets of its model's variables (see `das.pairs.rivals.ways`),
        inputs, no-op and whole-vector swap among them. 1 for the claim itself.
    computed: the same without inputs. Where a variable's parents act through it alone, interchanging the parents is
        interchanging the variable, so that raw inputs, if they lie together at one site, score 1 in every network
        (`das.causes` tries whether they do).
    apart: the best of the ways of a rival that interchange anything but the claimed variables themselves, inputs, or copies of
        one input, all told by their values: what could be mistaken for the claim. None where there is no such way.
    exhausted: hypothesis true in the network → whether all sets were tried; where not, more may be possible.
    siblings: the others that are of the claim's own causal model: they are true together, so no pairs tell them apart.

    `largest` is over whole variables. A subspace may also carry a part of one or a blend of several, and then score more.
    """

    name: str
    noop: float
    whole: float
    inputs: Best
    own: dict[str, float]
    largest: dict[str, Best]
    computed: dict[str, Best]
    apart: dict[str, Best | None]
    exhausted: dict[str, bool]
    siblings: list[str] = field(default_factory=list)

    @property
    def rivals(self) -> dict[str, Best]:
        """`largest` of the other hypotheses."""
        return {other: best for other, best in self.largest.items() if other != self.name}

    def entry(self, other: str) -> tuple[float, float]:
        """What the hypothesis `other`, if true, allows: the largest, and that without inputs."""
        return self.largest[other].iia, self.computed[other].iia

    def figures(self, other: str) -> tuple[float, str, float]:
        """The same as tables have it, with a + between them where not all was tried."""
        largest, computed = self.entry(other)
        return largest, "" if self.exhausted[other] else "+", computed


Codes = np.ndarray[Any, np.dtype[np.int64]]

Claims = dict[str, Claim]
"""The table: hypothesis claimed → its row."""


def examine(task: Task, name: str, pairs: Pairs) -> Claim:
    """What these pairs and labels, which are the hypothesis `name`'s, can show for it against each of the task's others."""
    name, named = name.split(".")[0], list(pairs.sources)
    sources, first = _sources(pairs)
    scores, claimed = partial(_scores, pairs, sources), task.hypothesis(name)
    noop, whole = scores(claimed, [{}, {claimed.model.output: first}])
    tried = {other: ways(hypothesis.model, named) for other, hypothesis in task.hypotheses.items()}
    found = {
        other: scores(hypothesis, [_own(hypothesis, named, first), *tried[other][0]])
        for other, hypothesis in task.hypotheses.items()
    }
    fields = set(pairs.base)
    computed = {other: [s for s in several if fields.isdisjoint(s.through)] for other, several in found.items()}
    values = claimed.model.run(pairs.base)
    own = codes(*(values[v] for v in claimed.variables))
    apart = {other: _apart(task.hypotheses[other], pairs.base, own, found[other]) for other in found if other != name}
    return Claim(
        name,
        noop.iia,
        whole.iia,
        inputs=_best([score for score in found[name] if fields.issuperset(score.through)]),
        own={other: several[0].iia for other, several in found.items()},
        largest={other: _best(several) for other, several in found.items()},
        computed={other: _best(several) for other, several in computed.items()},
        apart=apart,
        exhausted={other: whole for other, (_, whole) in tried.items()},
        siblings=[other for other, h in task.hypotheses.items() if other != name and h.model is claimed.model],
    )


def _scores(pairs: Pairs, sources: Mapping[str, Columns], hypothesis: Hypothesis, tried: Sequence[Way]) -> list[Best]:
    """The share of the pairs on which each way through a hypothesis gives the label."""
    agreed = agreement(hypothesis.model, pairs.base, sources, pairs.answer, tried)
    return [Best(float(same.mean()), way) for same, way in zip(agreed, tried, strict=True)]


def _apart(hypothesis: Hypothesis, base: Columns, own: Codes, scores: Sequence[Best]) -> Best | None:
    """The best of the scores through variables that are no inputs or copies of one, and whose values are not, one to one, the
    claim's. own: the claim's, coded."""
    values = hypothesis.model.run(base)
    code = {v: codes(column) for v, column in values.items()}
    inputs = {v for v in values if any(one_to_one(code[v], code[name]) for name in base)}

    def claimed(way: Way) -> bool:
        return one_to_one(codes(*(values[v] for v in sorted(way))) if way else np.zeros_like(own), own)

    others = [score for score in scores if inputs.isdisjoint(score.through) and not claimed(score.through)]
    return _best(others) if others else None


def _own(hypothesis: Hypothesis, named: Sequence[str], first: str) -> Way:
    """The interchange of exactly the hypothesis' variables, by the sources of a claim with the variables `named`."""
    same = len(named) == len(hypothesis.variables)
    return dict(zip(hypothesis.variables, named, strict=True)) if same else dict.fromkeys(hypothesis.variables, first)


def _best(scores: Sequence[Best]) -> Best:
    """The highest; of equals, the one through the fewest variables."""
    return max(scores, key=lambda score: (score.iia, -len(score.through)))


def _sources(pairs: Pairs) -> tuple[dict[str, Columns], str]:
    """Sources by the variable they are of, with the first swapped one beside them; and the name of that one."""
    own = list(pairs.sources.values())
    if len(own) == 1:
        return pairs.sources, next(iter(pairs.sources))
    at = np.arange(len(pairs)), pairs.swapped.argmax(1)
    first = {name: np.stack([source[name] for source in own], 1)[at] for name in pairs.base}
    return {**pairs.sources, FIRST: first}, FIRST


# --- before a run ---


@dataclass(frozen=True)
class Report:
    """The tables of a task: on pairs of the families asked for, under natural sampling, and on each family alone."""

    task: str
    pairs: int
    families: dict[str, float]
    seed: int
    table: Claims
    natural: Claims
    alone: dict[str, Claims]

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def text(self) -> str:
        """The tables for the console."""
        mix = " + ".join(f"{name} {share:g}" for name, share in self.families.items())
        names = (f"{self.task}: {self.pairs:,} pairs per hypothesis, {mix}", "natural sampling")
        tables = [f"{name}\n{_matrix(claims)}" for name, claims in zip(names, (self.table, self.natural), strict=True)]
        rivals = [self._in_words(), self._separation()] if len(self.table) > 1 else []
        return "\n\n".join([EXPLANATION, *tables, *rivals])

    def _in_words(self) -> str:
        """What the first table says of each claim and rival."""
        lines = ["in words, of the pairs of the first table"]
        for name, claim in self.table.items():
            for other in claim.rivals:
                iia = claim.computed[other].iia
                against = f"what {other} computes would score {iia:.3f} as {name}; they {_apart_in_words(iia)}"
                both = f"of one causal model, so that both are true or neither: no rivals, for all that {name} can be in both"
                lines.append(f"{name} against {other}: {both if other in claim.siblings else against}")
        return "\n".join(lines)

    def _separation(self) -> str:
        rows = [("claimed", "if true", *self.alone, "best", f"through, on {'+'.join(self.families)}")]
        for name, claim in self.table.items():
            for other, best in ((o, b) for o, b in claim.rivals.items() if o not in claim.siblings):
                found = {family: claims[name].figures(other) for family, claims in self.alone.items() if name in claims}
                cells = ["{:.2f}{} ({:.2f})".format(*found[f]) if f in found else "–" for f in self.alone]
                rows.append((name, other, *cells, _best_family(found), way_text(best.through)))
        return f"the largest IIA on each family alone, {min(self.pairs, FAMILY_PAIRS):,} pairs\n{aligned(rows)}"


def _apart_in_words(iia: float) -> str:
    """Of pairs on which a rival could score so much."""
    if iia >= SAME:
        return "do not tell the two apart: see the families below"
    if iia >= MUCH:
        return "tell the two apart only where the claim scores clearly more than that: see the families below"
    return "tell the two apart"


def _best_family(entries: Mapping[str, tuple[float, str, float]]) -> str:
    lowest = min(entries, key=lambda family: entries[family], default="")
    return lowest if lowest and entries[lowest][2] < SAME else "none"


EXPLANATION = """Rows: the hypothesis claimed, on its own pairs. Columns: the IIA of a subspace that carries nothing, everything
or the best set of inputs; then the largest possible IIA if another hypothesis is true in the network, by any of its
variables (in brackets: by those it computes, without inputs; by exactly those it aligns). Near 1 off the diagonal: these
pairs cannot tell the two apart. A + says that there are too many sets of variables to try them all: more may be possible."""


def _matrix(claims: Claims) -> str:
    rows = [("claimed", "no-op", "whole", "inputs", *(f"if {name}" for name in claims))]
    for name, claim in claims.items():
        entries = ("{:.3f}{} ({:.3f}, {:.3f})".format(*claim.figures(other), claim.own[other]) for other in claims)
        rows.append((name, *(f"{share:.3f}" for share in (claim.noop, claim.whole, claim.inputs.iia)), *entries))
    return aligned(rows)


def way_text(way: Way) -> str:
    """`lower + amount`; where several sources give values, with whose they are: `lower (of above_lower), upper (of …)`."""
    given = {source: " + ".join(v for v, by in way.items() if by == source) for source in way.values()}
    if len(given) < 2:
        return "".join(given.values()) or "nothing"
    return ", ".join(f"{variables} (of {source})" for source, variables in given.items())


def identify(
    task: Task, families: Mapping[str, float] | None = None, n: int = 100_000, seed: int = 0, report: Reporter = silent
) -> Report:
    """Which hypotheses of a task pairs can tell apart: the tables of `Claim`s on `n` pairs, made from prompts as the task draws
    them, by `families` (by default half flip, half keep), under natural sampling and, on fewer pairs, by each family alone.

    DasError on an unknown family, and where a hypothesis has no pair of `families`.
    """
    check_families({} if families is None else families)
    mix = dict(BALANCED if families is None else families)
    if not mix:
        raise DasError("families is empty: expected shares, such as {flip: 0.5, keep: 0.5}")
    n, seed = whole("pairs", n, 2, MOST_SETTINGS), whole("seed", seed, 0, 2**32 - 1)
    some = min(n, FAMILY_PAIRS)
    total = len(task.hypotheses) * (2 * n + len(FAMILIES) * some)
    with report.task(f"{task.name}: what {len(task.hypotheses)} hypotheses and their rivals could score", total) as step:
        claims = _Claims(task, task.model.sample(np.random.default_rng([seed, 0]), n), seed, step)
        return Report(task.name, n, mix, seed, claims.of(mix, n), claims.of(NATURAL, n), claims.alone(some))


@dataclass
class _Claims:
    """Makes the tables of a task on a pool of prompts, and tells how many pairs are done."""

    task: Task
    pool: Columns
    seed: int
    step: Step
    done: int = 0

    def of(self, families: Mapping[str, float], n: int) -> Claims:
        return {name: self._claim(name, families, n) for name in self.task.hypotheses}

    def alone(self, n: int) -> dict[str, Claims]:
        """Family → the table on pairs of it alone; a hypothesis that has none is left out."""
        found: dict[str, Claims] = {family: {} for family in FAMILIES}
        for family, claims in found.items():
            for name in self.task.hypotheses:
                with suppress(DasError):
                    claims[name] = self._claim(name, {family: 1.0}, n)
        return found

    def _claim(self, name: str, families: Mapping[str, float], n: int) -> Claim:
        rng, claimed = np.random.default_rng([self.seed, 1, list(self.task.hypotheses).index(name)]), self.task.hypotheses[name]
        try:
            return examine(self.task, name, make_pairs(claimed, self.pool, n, rng, families, self.task.rivals(name)))
        finally:
            self.done += n
            self.step(self.done, name)
