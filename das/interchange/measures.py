"""Measures: what a swap does to a network's answers, beside whether it makes the network give the counterfactual one (IIA); and
the losses by which subspaces are trained.

A measure never enters a verdict. Each is a mean over pairs, and stands beside the same of swapping nothing, of swapping the
whole vector and of swapping a random feature of the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from das.errors import DasError, called, unknown
from das.interchange.reply import Reply

Function = Callable[[Reply], Any]


@dataclass(frozen=True)
class Measure:
    """of: a reply → a number for each copy and pair, (copies, pairs); title: what it is called in figures; roles: the answers
    that it reads; flips: whether it means something only where the counterfactual answer is another than the base answer."""

    of: Function
    title: str
    roles: tuple[str, ...] = ("label",)
    flips: bool = False


def _probability(reply: Reply) -> Tensor:
    return reply.log_probability().exp()


def _against(reply: Reply) -> Tensor:
    return reply.log_probability("label") - reply.log_probability("other")


MEASURES: dict[str, Measure] = {
    "probability": Measure(_probability, "probability of the counterfactual answer"),
    "logit_difference": Measure(_against, "logit, counterfactual less base answer", ("label", "other"), flips=True),
    "answer_rank": Measure(Reply.rank, "rank of the counterfactual answer among all tokens"),
}
"""The registry: a measure's name → how it is taken."""

LOSSES: dict[str, Measure] = {
    "cross_entropy": Measure(Reply.loss, "cross-entropy of the counterfactual answer"),
    "logit_difference": Measure(lambda reply: -_against(reply), "logit, other less counterfactual answer", ("label", "other")),
}
"""The registry: a loss' name → what is minimised."""


TAKEN = (
    "iia", "iia_soft", "iia_correct", "iia_incorrect", "iia_low", "iia_high", "whole", "random", "noop", "majority", "lm_base",
    "lm_source", "ceiling", "normalised", "rank", "off_manifold", "distance",
)  # fmt: skip
"""Names of other metrics in a run's tables."""


def measures_of(names: Iterable[str], own: Mapping[str, Function]) -> dict[str, Measure]:
    """Measures by their names. own: the task's functions (see `das.Task`). DasError where there is none of a name."""
    return {name: _named("measure", name, MEASURES, own) for name in names}


def loss_of(name: str, own: Mapping[str, Function]) -> Measure:
    """A loss by its name; a function of the task's is minimised as it is."""
    return _named("loss", name, LOSSES, own)


def _named(what: str, name: str, known: Mapping[str, Measure], own: Mapping[str, Function]) -> Measure:
    if name in known:
        return known[name]
    if name not in own:
        raise unknown(what, name, [*known, *own])
    if name in TAKEN:
        raise DasError(f"{what} {name!r} has a name that a run's tables use for something else: give the function another")
    return Measure(lambda reply: _checked(name, own[name], reply), name, ("label", "other"))


def _checked(name: str, function: Function, reply: Reply) -> Tensor:
    """What a function of the task's gives. DasError where that is not a number for each copy and pair."""
    found = called(f"measure {name!r}", "a tensor (copies, pairs)", function, reply)
    shape = (len(reply.logits), len(reply.numbers["label"]))
    if not isinstance(found, Tensor) or tuple(found.shape) != shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DasError(f"measure {name!r} gave {given}: expected a tensor of shape {shape}, a number for each copy and pair")
    return found
