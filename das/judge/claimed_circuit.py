"""Claimed circuit: what may be said of a circuit. The rule, and nothing else.

In this order; the first that holds is the verdict (the words are those of `das.judge.verdict`):

1. *task not solved*: of the prompts of test pairs whose tokens line up the network answers less than halfway from the commonest
   answer's share to 1.
2. *not above the null*: the circuit is all edges, which keep every answer; or its faithfulness is not sure to be more than a
   null's, the best random circuit's or the untrained network's: the 95 % interval of the difference reaches 0. A null is known
   from as few pairs as the circuit itself. So one that fell low by luck must not prove anything, which it would were its share
   taken as it is; and that the two intervals lie apart would be to ask for more than 95 %.
3. *not identifiable*: a hypothesis of the task under which the network would not compute the variable gives all of these
   prompts the same answers (`das.pairs.alike`). A circuit's pairs take the source's own answer, so that under such a rival
   they would flip just the same: what the edges carry need not be the variable.
4. *supported*: the lower ends of faithfulness and of completeness are at least .8.
5. *partly*: what is left. What falls short is named.

No circuit is *illusory*: what its edges carry comes from runs of the network on prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from das.interchange.accuracy import Accuracy
from das.judge.claims import Claim, Share, Shares, claimed, listed
from das.judge.verdict import SUPPORTED


@dataclass(frozen=True)
class CircuitFacts:
    """edges: of the circuit, of so many in all (`every`). accuracy: the network's on the pairs' prompts. faithfulness,
    completeness: on test pairs. nulls: what was run → faithfulness, then completeness, of the best of its circuits. rivals:
    hypotheses under which these pairs would be answered the same, None where no causal model says; changed: inputs that differ
    in pairs. losses: what cutting single edges comes to; empty where it was not asked. swap: what a swapped edge carries."""

    hypothesis: str
    edges: int
    every: int
    faithfulness: Share
    completeness: Share
    accuracy: Accuracy | None = None
    nulls: Mapping[str, Shares] = field(default_factory=dict)
    rivals: Sequence[str] | None = ()
    changed: Sequence[str] = ()
    losses: Shares = ()
    swap: str = "source"


def judge_circuit(facts: CircuitFacts) -> Claim:
    """The verdict of this module's rule."""
    carried = "" if facts.swap == "source" else f", by {facts.swap}"
    levels = {"interchange": [facts.completeness], "ablation": facts.losses, "recovery": [facts.faithfulness]}
    claim = f"circuit of {facts.edges:,} of {facts.every:,} edges{carried}"
    known = [_figures(facts), *_nulls(facts), _not_asked(facts)]
    return claimed(claim, facts.hypothesis, _rule(facts), known, levels, facts.nulls)


def _rule(f: CircuitFacts) -> tuple[str, ...]:
    """Verdict, and reasons."""
    if f.accuracy is not None and not f.accuracy.solved:
        return "task not solved", (
            f"the network answers {f.accuracy.share:.2f} of the prompts whose tokens line up, the commonest answer "
            f"{f.accuracy.commonest:.2f}"
        )
    if f.edges >= f.every:
        return "not above the null", "no circuit short of all edges keeps enough of the answers, and all edges keep every one"
    apart = {null: f.faithfulness.above(some[0]) for null, some in f.nulls.items()}
    best = min(apart, key=lambda null: apart[null], default="")
    if best and apart[best] <= 0:
        return "not above the null", f"its faithfulness is not sure to be more than that of the {best}"
    if f.rivals:
        return "not identifiable", _alike(f)
    short = [share.of for share in (f.faithfulness, f.completeness) if share.least < SUPPORTED]
    return ("partly", f"the lower end of {listed(short)} is below {SUPPORTED:g}") if short else ("supported",)


def _alike(f: CircuitFacts) -> str:
    """Why the pairs tell no rival apart."""
    what = f"these pairs, which differ in {listed(f.changed)}," if f.changed else "these pairs"
    return (
        f"were {listed(f.rivals or (), 'or')} true, {what} would flip just the same: the circuit is a way to the answer, and "
        "what it carries need not be the variable"
    )


def _figures(f: CircuitFacts) -> str:
    return (
        f"with all other edges swapped the base's answer stays ({f.faithfulness.told}), with these alone the source's comes "
        f"({f.completeness.told})"
    )


def _nulls(f: CircuitFacts) -> list[str]:
    told = [f"{some[0].told} of the {name}" for name, some in f.nulls.items()]
    return [f"nulls run: {'; '.join(told)}" if told else "no nulls were run"]


def _not_asked(f: CircuitFacts) -> str:
    return "not asked: whether a rival would be answered the same (no causal model)" if f.rivals is None else ""
