"""Claimed edit: what may be said of edits. The rule, and nothing else.

In this order; the first that holds is the verdict (the words are those of `das.judge.verdict`):

1. *task not solved*: before any edit the network knows less than half of the questions that edits are made on: those about the
   subject, and the same about the other one.
2. *not above the null*: no answer is sure to change, the lower end of efficacy is 0; or fine-tuning of the same matrix, or no
   edit at all, does at least as much in everything that is required below: then the edit's form has nothing to do with it.
3. *not identifiable*: what else holds of the subject (essence) changes with it, at least half as often as what should. That is
   what putting another subject in its place would do: the edit may be one of the input, not of the variable.
4. *supported*: the lower ends of efficacy, of paraphrase, of neighbourhood and, if there are such questions, of hops are at
   least .8. Neighbourhood is not required of an edit by activations, which acts where the subject stands and nowhere else.
5. *partly*: what is left. What falls short, or was not asked, is named.

`reverse` is told and no rule goes by it: no edit of one fact is known to do it. No edit is *illusory*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from das.judge.claims import Claim, Share, Shares, claimed, listed
from das.judge.verdict import READ, SUPPORTED

KNOWN = 0.5
"""The least share of the questions that the network must know."""

KEPT = "neighbourhood", "essence", "beside"
"""Outcomes that should stay."""


@dataclass(frozen=True)
class EditFacts:
    """claim: what was edited, in a few words. outcomes: of `das.judge.outcomes.OUTCOMES`, those that were asked. known: the
    share of the questions that edits are made on which the network knows; None where nobody counted. alone: whether it acts
    where the subject stands and nowhere else. nulls: what was done beside it → the same outcomes."""

    hypothesis: str
    claim: str
    outcomes: Mapping[str, Share]
    known: float | None = None
    alone: bool = False
    nulls: Mapping[str, Mapping[str, Share]] = field(default_factory=dict)

    @property
    def required(self) -> list[str]:
        """What it must do, whether it was asked or not."""
        also = [] if self.alone else ["neighbourhood"]
        return ["efficacy", "paraphrase", *also, *(["hops"] if "hops" in self.outcomes else [])]


def judge_edit(facts: EditFacts) -> Claim:
    """The verdict of this module's rule."""
    levels = {"interchange": tuple(facts.outcomes.values())}
    nulls: dict[str, Shares] = {name: tuple(some.values()) for name, some in facts.nulls.items()}
    known = [_figures(facts), *_nulls(facts), _not_asked(facts)]
    return claimed(facts.claim, facts.hypothesis, _rule(facts), known, levels, nulls)


def _rule(f: EditFacts) -> tuple[str, ...]:
    """Verdict, and reasons."""
    efficacy, essence = f.outcomes.get("efficacy"), f.outcomes.get("essence")
    if efficacy is None or (f.known is not None and f.known < KNOWN):
        share = "none" if efficacy is None else f"{f.known:.2f}"
        return "task not solved", f"before any edit the network knows {share} of the questions that edits are made on"
    if efficacy.least <= 0:
        return "not above the null", "no answer is sure to change"
    for name, other in f.nulls.items():
        if all(_share(other, what) >= _share(f.outcomes, what) for what in f.required):
            return "not above the null", f"{name} does as much in all that is required and was asked"
    if essence is not None and 1 - essence.share >= READ * efficacy.share:
        return "not identifiable", (
            "what else holds of the subject moves along: another subject put in its place would do the same"
        )
    short = [what for what in f.required if what in f.outcomes and f.outcomes[what].least < SUPPORTED]
    lacking = [what for what in f.required if what not in f.outcomes]
    why = [f"the lower end of {listed(short)} is below {SUPPORTED:g}"] if short else []
    why += [f"{listed(lacking)} was not asked"] if lacking else []
    return ("partly", *why) if why else ("supported",)


def _share(outcomes: Mapping[str, Share], what: str) -> float:
    """0 of what was not asked."""
    return outcomes[what].share if what in outcomes else 0.0


def _figures(f: EditFacts) -> str:
    changed = [share.told for what, share in f.outcomes.items() if what not in KEPT]
    kept = [share.told for what, share in f.outcomes.items() if what in KEPT]
    parts = [f"of what should change {listed(changed)}"] if changed else []
    return ", and ".join([*parts, *([f"of what should stay {listed(kept)}"] if kept else [])])


def _nulls(f: EditFacts) -> list[str]:
    told = [f"{name} {listed(each.told for each in some.values())}" for name, some in f.nulls.items() if some]
    return [f"beside it: {'; '.join(told)}" if told else "no fine-tuning stands beside it"]


def _not_asked(f: EditFacts) -> str:
    lacking = "whether what else holds of the subject stays (essence)"
    return f"not asked: {lacking}" if "essence" not in f.outcomes else ""
