"""Verdict: what may be said of a hypothesis. The rule, and nothing else.

In this order; the first that holds is the verdict:

1. *task not solved*: the network's accuracy on the pairs' base prompts is less than halfway from the commonest answer to 1.
2. *not above the null*: the 95 % interval of the test IIA does not lie above a no-op, the commonest label and a random subspace
   of the same rank; or, where nulls were run, the best of a grid reaches the test IIA by luck with p ≥ .05 under any of them.
3. *illusory*: where the network reads the subspace, base and source differ too little: moved no further than they do (see
   `das.judge.reading`), less than half of the answers flip that the subspace flips.
4. *not identifiable*: were a rival hypothesis true, a subspace that carries something else than the claimed variable could
   score .98 or more on these pairs, by the causal models alone.
   Or the IIA itself reaches .8 on the scale from no-op (0) to the network's own accuracy (1), but the site holds what the
   variable is computed from: an alignment of a cause there flips at least half as many answers, on pairs on which the variable
   stays the same, as the subspace flips by swapping it (`das.pairs.upstream`); or no simple rule reads the variable from the
   subspace: the best of those in `das.judge.decoding` comes less than .6 of the way from the commonest value to 1.
5. *supported*: the interval's lower end is at least .8 on that scale, and no rival could score as much.
6. *partly*: what is left. The region where it fails, or the rival that could score as much, is named.

What takes a causal model is not asked of pairs that were brought without one, and what takes the network's own answers is not
where nobody says which are right: the sentence names it, and the scale ends at 1 in place of the ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from das.interchange.accuracy import solves
from das.pairs.rivals import SAME
from das.stats import Difference
from das.text import html_table

ALPHA, READ, SUPPORTED, LEGIBLE, LATE = 0.05, 0.5, 0.8, 0.6, 0.03
"""LEGIBLE is above .5, which a linear rule has of a parity: it can be right about three quarters of the values of two or three
bits. LATE: six times what counts as a gain while training (see `das.find.schedule`)."""

MORE_FLIPS = "loss: probability and families: {flip: 0.6, keep: 0.4}"
"""Settings with which a trained direction flips as many answers as the difference in means, at the price of some that should
stay (docs/answers-and-measures.md)."""

UNLEARNED = ("noop", "majority", "random")
"""Baselines that take no learning."""

VERDICTS = ("supported", "partly", "illusory", "not identifiable", "not above the null", "task not solved")


@dataclass(frozen=True)
class Added:
    """What training adds to a closed form (`to`) at the same site, on the same test pairs: of the IIA, and on the pairs that
    flip the answer; None where it is not known which do."""

    to: str
    iia: Difference
    flips: Difference | None

    def __str__(self) -> str:
        flips = "" if self.flips is None else f", on pairs that flip {_signed(self.flips)}"
        more = f" ({MORE_FLIPS} flip more)" if self.flips is not None and self.flips.high < 0 else ""
        return f"to {self.to} training adds {_signed(self.iia)}{flips}{more}"


def _signed(difference: Difference) -> str:
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})".replace("-", "−")


@dataclass(frozen=True)
class Facts:
    """What a verdict rests on; shares of the test pairs at the chosen cell, means over seeds.

    accuracy, commonest: the network's own on base prompts, and that of always saying the commonest answer. low: lower end of
    the IIA's 95 % interval. majority: the commonest label. p: null → p-value of the grid's best, empty if none was run.
    cause, read_cause: answers flipped by the subspace, and by the part of it that is read, of those to be flipped; None where
    it was not asked. rival, rival_iia: the hypothesis that could score most, if true, and how much; None if there is none.
    failing: the largest group of failures, in words. exhausted: whether all sets of the rivals' variables were tried.
    upstream: cause of the variables → answers that an alignment of it flips where the variables stay the same. legible: how far
    from the commonest value to 1 the variable that is read worst can be read; None where it was not asked. accuracy, ceiling:
    None where nobody says which answers are right. model: whether there is a causal model. added: what training adds. late:
    how much the validation IIA rose at the last of the training's `checks`. broken: whether a gradient was no number. No rule
    goes by these four.
    """

    hypothesis: str
    accuracy: float | None
    commonest: float
    iia: float
    low: float
    noop: float
    majority: float
    random: float
    ceiling: float | None
    p: Mapping[str, float]
    cause: float | None = None
    read_cause: float | None = None
    rival: str | None = None
    rival_iia: float | None = None
    failing: str | None = None
    exhausted: bool = True
    upstream: Mapping[str, float] = field(default_factory=dict)
    legible: float | None = None
    model: bool = True
    added: Added | None = None
    late: float | None = None
    checks: float | None = None
    broken: float | None = None

    def normalised(self, share: float) -> float:
        """A share on the scale from no-op (0) to ceiling (1)."""
        span = (1.0 if self.ceiling is None else self.ceiling) - self.noop
        return (share - self.noop) / span if span > 1e-9 else 0.0

    @property
    def told(self) -> str:
        """The IIA, and what it lies between."""
        most = "" if self.ceiling is None else f", and {self.ceiling:.2f} is the most to be expected (ceiling)"
        return f"IIA {self.iia:.2f}: so often a swap leads to the hypothesis' answer; without it {self.noop:.2f} (no-op){most}"

    @property
    def nulls(self) -> str:
        return f"nulls run: {', '.join(self.p)}" if self.p else "no nulls were run"

    @property
    def late_gain(self) -> str:
        """That the training might have gone on, in words; empty where it had settled."""
        if self.checks == 1:
            return "the training was looked at once, at its end, so that nobody knows whether it had settled: take more steps"
        if self.late is None or self.late < LATE:
            return ""
        return f"its validation IIA still rose by {self.late:.2f} at the training's last check: more steps may find more"

    @property
    def broke(self) -> str:
        """That the training broke, in words; empty where it did not."""
        return "its training stopped where its gradient was no number, and is that of its last check" if self.broken else ""

    @property
    def not_asked(self) -> str:
        """What could not be, in words; empty where all was."""
        parts = [] if self.accuracy is not None else ["whether the network solves the task (no base_label)"]
        unasked = "a rival, what the variable is computed from, and whether it can be read (no causal model)"
        parts += [] if self.model else [unasked]
        return f"not asked: {'; '.join(parts)}" if parts else ""

    @property
    def floor(self) -> float:
        """The best that takes no learning."""
        return float(max(getattr(self, name) for name in UNLEARNED))


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`; in words, by what, and what else is known; and the worst p-value (None: no nulls were run)."""

    verdict: str
    sentence: str
    p: float | None
    facts: dict[str, Any]

    def _repr_html_(self) -> str:
        known = {name: fact for name, fact in self.facts.items() if fact not in (None, {}, self.facts["hypothesis"])}
        rows = [("verdict", self.verdict), ("why", self.sentence), ("worst p", "no nulls" if self.p is None else self.p)]
        return html_table([*rows, *known.items()], caption=self.facts["hypothesis"])


def judge(facts: Facts) -> Verdict:
    """The verdict of this module's rule."""
    verdict, *why = _rule(facts)
    known = [*why, facts.broke, facts.late_gain, str(facts.added or ""), facts.not_asked, facts.nulls]
    sentence = " ".join(f"{part[0].upper()}{part[1:]}." for part in known if part)
    p = max(facts.p.values(), default=None)
    return Verdict(verdict, f"{facts.hypothesis}: {verdict}. {sentence}", p, asdict(facts))


def _rule(f: Facts) -> tuple[str, ...]:
    """Verdict, and reasons."""
    if f.accuracy is not None and not solves(f.accuracy, f.commonest):
        return "task not solved", f"the network answers {f.accuracy:.2f} of the prompts, the commonest answer {f.commonest:.2f}"
    if f.low <= f.floor:
        return (
            "not above the null",
            f"IIA {f.iia:.2f} (interval from {f.low:.2f}) is no more than {f.floor:.2f}, had without learning",
        )
    worst = max(f.p, key=lambda null: f.p[null], default="")
    if worst and f.p[worst] >= ALPHA:
        return "not above the null", f"a grid's best reaches IIA {f.iia:.2f} by luck with p = {f.p[worst]:.2g} ({worst})"
    if f.cause and f.read_cause is not None and f.read_cause < READ * f.cause:
        natural = f"what base and source differ by where it is read flips {f.read_cause:.2f}"
        return "illusory", f"the subspace flips {f.cause:.2f} of the answers, {natural}"
    if f.rival_iia is not None and f.rival_iia >= SAME:
        return "not identifiable", f"were {f.rival} true, something else could score {f.rival_iia:.2f} on these pairs"
    if f.normalised(f.iia) >= SUPPORTED and (why := _computed_later(f)):
        return "not identifiable", why
    explained = f.rival_iia is not None and f.rival_iia >= f.low
    if f.normalised(f.low) >= SUPPORTED and not explained:
        return "supported", f.told, "" if f.exhausted else "the rivals have more sets of variables than were tried"
    rival = f"were {f.rival} true, something else could score {f.rival_iia:.2f}" if explained else ""
    return "partly", f.told, rival, f"it fails most on {f.failing}" if f.failing else ""


def _computed_later(f: Facts) -> str:
    """Why it is not the variable that the site holds; empty where nothing says so."""
    worst = max(f.upstream, key=lambda cause: f.upstream[cause], default="")
    if worst and f.upstream[worst] >= READ * (f.cause or 1.0):
        share = f"swapping {worst} alone flips {f.upstream[worst]:.2f} of what it should where the variable stays the same"
        return f"the site holds what the variable is computed from: {share}"
    if f.legible is not None and f.legible < LEGIBLE:
        return f"no simple rule reads the variable from the subspace ({f.legible:.2f} of the way from the commonest value to 1)"
    return ""
