"""Accuracy: how well the network itself does the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from das.causal.columns import Columns, codes
from das.interchange.engine import Engine
from das.interchange.score import Hits, predictions
from das.interchange.selftest import make_engine
from das.network.lm import LM
from das.pairs.dataset import Dataset
from das.task.asked import ask
from das.task.task import Task
from das.task.variant import BASE, Variant

SOLVED = 0.5
"""How far from the commonest answer's share to 1 an accuracy must lie for the task to count as solved."""


def solves(accuracy: float, commonest: float) -> bool:
    """Whether a network solves a task: it is right at least halfway from the commonest answer's share to 1."""
    return accuracy >= solved_from(commonest)


def solved_from(commonest: float) -> float:
    """The accuracy from which on a task counts as solved."""
    return commonest + SOLVED * (1 - commonest)


def correct(asked: Variant, lm: LM, inputs: Columns, engine: Engine | None = None) -> Hits:
    """Which prompts of a variant, on the given input rows, the network answers correctly, strictly: what it writes next are the
    answer's tokens. (rows,)  engine: one to use again, without a prefix."""
    put = ask(asked, inputs, lm.tokenizer)
    prompts = put.prompts
    engine = engine or make_engine(lm, Dataset(prompts, {}).shared_prefix(), length=int(prompts.lengths.max()), prompts=prompts)
    return put.answers.right(predictions(engine, prompts, put.answers), put.numbers)


@dataclass(frozen=True)
class Accuracy:
    """The network's accuracy on natural prompts, and that of always saying the commonest answer."""

    share: float
    commonest: float

    @property
    def solved(self) -> bool:
        """See `solves`."""
        return solves(self.share, self.commonest)

    @property
    def enough(self) -> str:
        """What the share is worth, in a sentence."""
        bar = solved_from(self.commonest)
        word = "enough" if self.solved else "not enough"
        return (
            f"{self.share:.3f} is {word} for a run: a task counts as solved from {bar:.3f} on, halfway from always giving the "
            f"commonest answer ({self.commonest:.3f}) to 1"
        )


def commonest(asked: Variant, n: int = 500) -> float:
    """The share of the commonest answer among those to `n` drawn prompts of a variant."""
    answers = codes(asked.run(asked.inputs.sample(np.random.default_rng(0), n))[asked.model.output])
    return float(np.bincount(answers).max() / n)


def accuracy(asked: Variant, lm: LM, n: int = 500) -> Accuracy:
    """On `n` drawn prompts of a variant."""
    inputs = asked.inputs.sample(np.random.default_rng(0), n)
    return Accuracy(float(correct(asked, lm, inputs).mean()), commonest(asked, n))


def task_accuracy(task: Task, lm: LM, n: int = 500, variants: Sequence[str] | None = None) -> dict[str, float]:
    """The network's accuracy (see `correct`) on `n` drawn prompts of each variant; by default of the base and every shift."""
    names = [BASE, *task.shifts] if variants is None else variants
    return {name: accuracy(task.variant(name, lm.tokenizer), lm, n).share for name in names}
