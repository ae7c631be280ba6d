"""Asked: prompts of a task with what answers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from das.causal.columns import Column, Columns
from das.causal.inputs import Inputs
from das.task.answers import Answers
from das.task.rendered import Prompts
from das.task.tokenizer import Tokenizer
from das.task.variant import Variant

KNOWN = 500
"""Drawn prompts, see `drawn`."""


@dataclass(frozen=True)
class Asked:
    """Prompts and their answers. prompts: those of the rows, each put once for every beginning of its answer; answers: how they
    are read; numbers: each row's answer, (rows,)."""

    prompts: Prompts
    answers: Answers
    numbers: NDArray[np.int64]

    def alone(self) -> Prompts:
        """Each row's prompt once, with nothing behind it."""
        return self.prompts.take(slice(None, None, self.answers.slots)).asked()

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Those of the answers, each once."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self.answers.tokens_of(self.numbers)]))


def ask(asked: Variant, inputs: Columns, tokenizer: Tokenizer, alone: bool = False) -> Asked:
    """The prompts of a variant on the given input rows, and what answers them. alone: whether no other answers are looked at,
    which say where answers end and what is near: where it has been seen that none begins another, and for speed."""
    columns = asked.run(inputs)
    rendered = asked.prompt.render(columns)

    def known() -> Column:
        return (columns if alone else asked.run(drawn(asked.inputs)))[asked.model.output]

    answers, numbers = asked.prompt.spelled(columns[asked.model.output], rendered, tokenizer, known)
    prompts = rendered.encode(tokenizer).take(np.repeat(np.arange(len(numbers)), answers.slots))
    return Asked(prompts.forced(np.concatenate(answers.beginnings(numbers))), answers, numbers)


def drawn(inputs: Inputs) -> Columns:
    """Drawn settings, whose answers say beside those that are asked about where answers end and which are near."""
    return inputs.sample(np.random.default_rng(0), KNOWN)
