"""Moves: a variable taken from what it is under one value of an input to what it is under another, in every setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from das.causal.columns import Columns, codes, differ, objects, same_length
from das.errors import DasError, shown, unknown
from das.pairs.families import Mask
from das.pairs.pairs import Pairs, Rows
from das.task.hypothesis import Hypothesis
from das.task.task import Task

SETTINGS = 512
"""Of a task, or of a task under a shift, that moves are made in; where there are more they are drawn."""

Move = tuple[Any, Any]
"""A value of an input, and the other value under which the variable is what it shall become."""


def check_moves(task: Task, name: str, moves: Sequence[Move]) -> None:
    """DasError unless they are pairs of different values, of an input that there is."""
    if name not in task.model.inputs.names:
        raise unknown("input to be moved", name, task.model.inputs.names)
    if not moves or any(len(move) != 2 or move[0] == move[1] for move in moves):
        raise DasError(f"moves are {shown(moves)}: expected pairs of two different values of {name}")


def called(move: Move) -> str:
    """A move in words."""
    return f"{move[0]} → {move[1]}"


def settings_of(asked: Task) -> Columns:
    """All settings of a task's inputs, or drawn ones."""
    inputs = asked.model.inputs
    size = inputs.size
    return inputs.sample(np.random.default_rng(0), SETTINGS) if size is None or size > SETTINGS else inputs.enumerate()


def given(settings: Columns, name: str, value: Any) -> Columns:
    """The settings with one value of an input in all of them."""
    return settings | {name: np.full(same_length(settings), value, dtype=np.asarray([value, *settings[name]]).dtype)}


def distinct(asked: Task, settings: Columns) -> Rows:
    """The first row of each prompt that differs from those before it."""
    rows: Rows = np.unique(codes(objects(asked.render(settings).names)), return_index=True)[1]
    return rows


def moved(hypothesis: Hypothesis, base: Columns, source: Columns) -> Pairs:
    """Pairs that take the variable from the source."""
    (variable,), model = hypothesis.variables, hypothesis.model
    answer = model.interchange(base, {variable: source})[model.output]
    own, other = (model.run(each)[model.output] for each in (base, source))
    n = len(answer)
    return Pairs(base, {variable: source}, own, other, answer, np.ones((n, 1), bool), np.full(n, "edit"))


def moves_answer(pairs: Pairs) -> Mask:
    """Whether the answer should change, (pairs,)."""
    return differ(pairs.own_answers[0], pairs.answer)
