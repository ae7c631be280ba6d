"""Which hypotheses pairs cannot tell apart that swap all that differs: those that do not compute the variable."""

import numpy as np
import pytest

from das import CausalModel, Hypothesis, Range
from das.pairs.alike import alike
from das.task.files import load_task

NUMBERS = {"a": Range(0, 9), "b": Range(0, 9), "c": Range(0, 9)}


def first(a, b):
    return a + b


def doubled(a, b):
    return 2 * (a + b)


def last(b, c):
    return b + c


def of_first(first, c):
    return first + c


def of_doubled(doubled, c):
    return doubled // 2 + c


def of_last(a, last):
    return a + last


HYPOTHESES = {
    "first": Hypothesis(CausalModel(first, of_first, inputs=NUMBERS), "first"),
    "doubled": Hypothesis(CausalModel(doubled, of_doubled, inputs=NUMBERS), "doubled"),
    "last": Hypothesis(CausalModel(last, of_last, inputs=NUMBERS), "last"),
}


@pytest.mark.parametrize(("name", "rivals"), [("first", ["last"]), ("doubled", ["last"]), ("last", ["first", "doubled"])])
def test_what_computes_the_variable_in_other_words_is_no_rival(name, rivals):
    pool = HYPOTHESES[name].model.inputs.sample(np.random.default_rng(0), 200)
    assert alike(HYPOTHESES, name, name, pool) == rivals


def test_the_price_taggers_two_boundaries_share_one():
    task = load_task("price_tagging")
    pool = task.model.inputs.sample(np.random.default_rng(0), 300)
    assert alike(task.hypotheses, "left_boundary", "above_lower", pool) == ["midpoint", "bracket"]


def test_without_a_causal_model_it_is_not_known():
    class Silent(CausalModel):
        complete = False

    pool = HYPOTHESES["first"].model.inputs.sample(np.random.default_rng(0), 20)
    silent = Hypothesis(Silent(first, of_first, inputs=NUMBERS), "first")
    assert alike(HYPOTHESES | {"first": silent}, "first", "first", pool) is None
    assert alike(HYPOTHESES | {"last": silent}, "doubled", "doubled", pool) == []
