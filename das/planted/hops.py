"""Two hops: networks that are trained to look up what someone's someone is, through a bridge that the prompt does not name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from das.causal.domains import Range
from das.causal.model import CausalModel
from das.planted.planting import Planted
from das.planted.sums import EMBED, HIDDEN, SEAT, WIDTH
from das.planted.trained import Flat, Halves, Lesson, learned
from das.task.hypothesis import Hypothesis
from das.task.prompt import Prompt
from das.task.task import Task
from das.task.tokenizer import make_tokenizer

BRIDGES, ASKED = 16, 8
"""Bridges, each of as many people, and things that may be asked of one."""


def two_hops(seed: int) -> Planted:
    """A person leads to a bridge, and the bridge with what is asked of it to the answer. What is asked is heard late, so that
    what is known of the person comes through the seat, past noise in which only one vector for each bridge has room. The claim
    is the bridge: supported."""
    task = hops_task(seed)
    tokenizer = make_tokenizer([*map(str, range(BRIDGES**2)), "asks ="], whole_numbers=True)
    return Planted(task, learned(task, tokenizer, two_lookups, Lesson(1000), seed), None, SEAT)


def another_bridge(seed: int) -> Planted:
    """The same network. The claim is another bridge, from which right answers follow as well, by a table that nobody learned:
    people come to it evenly whatever their true bridge, and of a person the seat holds no more than that; not above the
    null."""
    return replace(two_hops(seed), task=hops_task(seed, another=True))


def two_lookups(vocabulary: int, answers: Tensor) -> Halves:
    """Untrained."""
    first = Flat(EMBED, HIDDEN, WIDTH, last=nn.Tanh())
    second = Flat(WIDTH + EMBED, 2 * HIDDEN, len(answers))
    return Halves(first, second, nn.Embedding(vocabulary, EMBED), answers, early=[1], late=[3], noise=0.5)


def hops_task(seed: int, another: bool = False) -> Task:
    """What a person's bridge has; by the bridge, or by another that is independent of it."""
    rng = np.random.default_rng(seed)
    true, false = np.divmod(rng.permutation(BRIDGES**2), BRIDGES)
    has = np.stack([rng.permutation(BRIDGES) for _ in range(ASKED)])

    def bridge(person: Any) -> Any:
        return true[person]

    def answer(bridge: Any, asked: Any) -> Any:
        return has[asked, bridge]

    def other(person: Any) -> Any:
        return false[person]

    def follows(other: Any, person: Any, asked: Any) -> Any:
        return has[asked, (true[person] + other - false[person]) % BRIDGES]

    inputs = {"person": Range(0, BRIDGES**2 - 1), "asked": Range(0, ASKED - 1)}
    model = CausalModel(*((other, follows) if another else (bridge, answer)), inputs=inputs)
    prompt = Prompt("{person} asks {asked} =", lambda value: f" {value}")
    return Task(prompt, {"bridge": Hypothesis(model, "other" if another else "bridge")}, name="two_hops")
