"""Sums: networks that are trained to add, with what they must hold argued for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from das.causal.domains import Range
from das.causal.model import CausalModel
from das.interchange.subspace import random_basis
from das.planted.planting import Planted
from das.planted.trained import Flat, Halves, Lesson, Make, Steps, learned
from das.task.hypothesis import Hypothesis
from das.task.prompt import Prompt
from das.task.task import Task
from das.task.tokenizer import make_tokenizer

EMBED, WIDTH, HIDDEN = 16, 32, 64
"""Of a token, of the vector in the seat, and of what is computed from it."""

BASE, MODULUS = 6, 13
"""Of the digits that are added; numbers on the circle."""

SEAT = {"layers": [0], "positions": ["last"], "components": ["seat"]}


# --- two numbers of two digits ---


def adder_mlp(seed: int) -> Planted:
    """An MLP that adds, taught by interchange training to hold the carry in one column among all that it knows. The claim is
    the carry: supported, since swapping that column does what swapping the carry does, on all but a few of new pairs."""
    task, column = adder_task("{a1} {a0} + {b1} {b0} ="), carry_column(seed)

    def make(vocabulary: int, answers: Tensor) -> Halves:
        first = Flat(4 * EMBED, HIDDEN, WIDTH, last=nn.Tanh())
        second = Flat(WIDTH, HIDDEN, HIDDEN, len(answers))
        return Halves(first, second, nn.Embedding(vocabulary, EMBED), answers, early=[1, 2, 4, 5], late=[])

    return taught(task, make, Lesson(1000, columns=column), seed)


def adder_gru(seed: int) -> Planted:
    """A GRU that adds from the last digits on, taught by interchange training to hold the carry in one column of its state
    between the last digits and the first. The claim is the carry: supported, as in the MLP."""
    task, column = adder_task("{a0} + {b0} then {a1} + {b1} ="), carry_column(seed)

    def make(vocabulary: int, answers: Tensor) -> Halves:
        first, second = Steps(nn.GRUCell(EMBED, WIDTH)), Steps(nn.GRUCell(EMBED, WIDTH), Flat(WIDTH, HIDDEN, len(answers)))
        return Halves(first, second, nn.Embedding(vocabulary, EMBED), answers, early=[1, 3], late=[5, 7])

    return taught(task, make, Lesson(1000, columns=column), seed)


def adder_task(template: str) -> Task:
    """a1 a0 + b1 b0, by the carry of the last digits."""

    def carry(a0: Any, b0: Any) -> Any:
        return a0 + b0 >= BASE

    def total(carry: Any, a1: Any, b1: Any, a0: Any, b0: Any) -> Any:
        return BASE * (a1 + b1 + carry) + (a0 + b0) % BASE

    model = CausalModel(carry, total, inputs=dict.fromkeys(("a1", "a0", "b1", "b0"), Range(0, BASE - 1)))
    return Task(Prompt(template, lambda value: f" {value}"), {"carry": Hypothesis(model, "carry")}, name="adder")


def carry_column(seed: int) -> Tensor:
    """(width, 1): a random direction."""
    return random_basis(WIDTH, 1, torch.Generator().manual_seed(seed))


def taught(task: Task, make: Make, lesson: Lesson, seed: int) -> Planted:
    """The network that has learned a task, looked at in its seat."""
    tokenizer = make_tokenizer([*map(str, range(2 * BASE**2)), "+ = then"], whole_numbers=True)
    return Planted(task, learned(task, tokenizer, make, lesson, seed), lesson.columns, SEAT)


# --- three numbers of a circle ---


def modular(seed: int) -> Planted:
    """x + y + z on a circle, where z is heard late. What is known of x and y must come through the seat, past noise in which
    only one vector for each sum has room; so the seat holds the sum of the two. Supported."""
    return taught(modular_task(), halves, Lesson(1000), seed)


def modular_beside(seed: int) -> Planted:
    """The same network, looked at where z passes. z is drawn apart from x and y, and so nothing that is there or is put there
    from another prompt says anything of the other prompt's x + y: not above the null."""
    made = modular(seed)
    return replace(made, search=SEAT | {"components": ["beside"]})


def halves(vocabulary: int, answers: Tensor) -> Halves:
    """Untrained: x and y first, then z."""
    first = Flat(2 * EMBED, HIDDEN, WIDTH, last=nn.Tanh())
    second = Flat(WIDTH + EMBED, 2 * HIDDEN, HIDDEN, len(answers))
    return Halves(first, second, nn.Embedding(vocabulary, EMBED), answers, early=[1, 3], late=[5], noise=0.5)


def modular_task() -> Task:
    """x + y + z, by the sum of the first two."""

    def both(x: Any, y: Any) -> Any:
        return (x + y) % MODULUS

    def total(both: Any, z: Any) -> Any:
        return (both + z) % MODULUS

    model = CausalModel(both, total, inputs=dict.fromkeys("xyz", Range(0, MODULUS - 1)))
    prompt = Prompt("{x} + {y} + {z} =", lambda value: f" {value}")
    return Task(prompt, {"both": Hypothesis(model, "both")}, name="modular")
