"""Measures: what a swap does to a network's answers, beside whether it makes the network give the counterfactual one (IIA); and
the losses by which subspaces are trained.

A measure never enters a verdict. Each is a mean over pairs, and stands beside the same of swapping nothing, of swapping the
whole vector and of swapping a random feature of the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from das.errors import DasError, called, unknown
from das.interchange.reply import Reply
from das.pairs.dataset import Dataset, Labelled

Function = Callable[[Reply], Any]


@dataclass(frozen=True)
class Measure:
    """of: a reply → a number for each copy and pair, (copies, pairs); title: what it is called in figures; roles: the answers
    that it reads; flips: whether it means something only where the counterfactual answer is another than the base answer;
    matched: whether it does only where the network can be asked for what a swap should lead to (see
    `das.pairs.dataset.Labelled.match`); numbers: whether it does for answers that are numbers."""

    of: Function
    title: str
    roles: tuple[str, ...] = ("label",)
    flips: bool = False
    matched: bool = False
    numbers: bool = False

    @property
    def against(self) -> bool:
        """Whether it goes by how base and source are answered."""
        return "other" in self.roles or self.matched

    def where(self, pairs: Labelled) -> NDArray[np.bool_]:
        """The pairs on which it means something. (pairs,)"""
        some = pairs.label != pairs.base_label if self.flips else np.ones(len(pairs), bool)
        return some & pairs.matched if self.matched else some


def _probability(reply: Reply) -> Tensor:
    return reply.log_probability().exp()


def _against(reply: Reply) -> Tensor:
    return reply.log_probability("label") - reply.log_probability("other")


MEASURES: dict[str, Measure] = {
    "probability": Measure(_probability, "probability of the counterfactual answer"),
    "logit_difference": Measure(_against, "logit, counterfactual less base answer", ("label", "other"), flips=True),
    "answer_rank": Measure(Reply.rank, "rank of the counterfactual answer among all tokens"),
    "kl": Measure(Reply.divergence, "KL from the network's own answer", matched=True),
}
"""The registry: a measure's name → how it is taken."""

LOSSES: dict[str, Measure] = {
    "cross_entropy": Measure(Reply.loss, "cross-entropy of the counterfactual answer", numbers=True),
    "probability": Measure(lambda reply: 1 - _probability(reply), "1 less the probability of the counterfactual answer"),
    "logit_difference": Measure(lambda reply: -_against(reply), "logit, other less counterfactual answer", ("label", "other")),
    "kl": Measure(Reply.divergence, "KL from the network's own answer", matched=True),
}
"""The registry: a loss' name → what is minimised."""


TAKEN = (
    "iia", "iia_soft", "iia_correct", "iia_incorrect", "iia_low", "iia_high", "whole", "random", "noop", "majority", "lm_base",
    "lm_source", "ceiling", "normalised", "rank", "off_manifold", "distance", "right_reconstructed",
    "raced",
)  # fmt: skip
"""Names of other metrics in a run's tables."""


def measures_of(names: Iterable[str], own: Mapping[str, Function]) -> dict[str, Measure]:
    """Measures by their names. own: the task's functions (see `das.Task`). DasError where there is none of a name."""
    return {name: _named("measure", name, MEASURES, own) for name in names}


def loss_of(name: str, own: Mapping[str, Function]) -> Measure:
    """A loss by its name; a function of the task's is minimised as it is."""
    return _named("loss", name, LOSSES, own)


def check_matched(loss: str, measures: Iterable[str], own: Mapping[str, Function], data: Mapping[str, Dataset]) -> None:
    """DasError where a loss or a measure needs prompts that have the counterfactual answers and pairs have none: a loss on any
    pair that is trained on, a measure on all that are reported on. data: `train` and `test`, where they are there."""
    for name, pairs in data["train"].pairs.items() if "train" in data and loss_of(loss, own).matched else ():
        if lacking := int((~pairs.matched).sum()):
            raise DasError(_unmatched(f"loss {loss!r}", f"{lacking} of {len(pairs)} training pairs", name))
    for measure, about in measures_of(measures, own).items():
        for name, pairs in data["test"].pairs.items() if "test" in data and about.matched else ():
            if not pairs.matched.any():
                raise DasError(_unmatched(f"measure {measure!r}", "all test pairs", name))


def left_out(measures: Mapping[str, Measure], data: Dataset) -> list[str]:
    """A line for every measure and hypothesis of which some pairs are left out, for want of a prompt that has their answer."""
    return [
        f"{measure} of {name}: {int(pairs.matched.sum())} of {len(pairs)} pairs; the others have an answer that is neither the "
        "base's nor the source's"
        for measure, about in measures.items()
        for name, pairs in data.pairs.items()
        if about.matched and not pairs.matched.all()
    ]


def _unmatched(what: str, how_many: str, hypothesis: str) -> str:
    return (
        f"{what} goes by the network's own answer to the prompt, base or source, that has the counterfactual answer, and "
        f"{how_many} of {hypothesis!r} have an answer that is neither's: draw pairs whose source has it (families={{only: 1}} "
        "where the variable's causes do nothing beside it), or take another"
    )


def _named(what: str, name: str, known: Mapping[str, Measure], own: Mapping[str, Function]) -> Measure:
    if name in known:
        return known[name]
    if name not in own:
        raise unknown(what, name, [*known, *own])
    if name in TAKEN:
        raise DasError(f"{what} {name!r} has a name that a run's tables use for something else: give the function another")
    return Measure(lambda reply: _checked(name, own[name], reply), name, ("label", "other"), numbers=True)


def _checked(name: str, function: Function, reply: Reply) -> Tensor:
    """What a function of the task's gives. DasError where that is not a number for each copy and pair."""
    found = called(f"measure {name!r}", "a tensor (copies, pairs)", function, reply)
    shape = (len(reply.logits), len(reply.numbers["label"]))
    if not isinstance(found, Tensor) or tuple(found.shape) != shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DasError(f"measure {name!r} gave {given}: expected a tensor of shape {shape}, a number for each copy and pair")
    return found
