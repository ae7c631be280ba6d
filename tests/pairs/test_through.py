"""Through: pairs that differ in the causes of one variable alone, and whose answer flips by it."""

import numpy as np
import pytest

from das import CausalModel, Choice, DasError, Hypothesis
from das.causal.columns import differ
from das.pairs.through import through


def greater(a, b):
    return a > b


def wanted(greater, ask):
    return greater == ask


NUMBERS = Choice(list(range(6)))
model = CausalModel(greater, wanted, inputs={"a": NUMBERS, "b": NUMBERS, "ask": Choice([True, False])})


def test_only_causes_change_the_answer_flips_and_is_the_sources_own():
    pairs = through(Hypothesis(model, "greater"), "greater", model.enumerate(), 40, np.random.default_rng(0))
    assert len(pairs) == 40
    source = pairs.sources["greater"]
    assert (source["ask"] == pairs.base["ask"]).all()
    assert ((source["a"] != pairs.base["a"]) | (source["b"] != pairs.base["b"])).all()
    label = model.interchange(pairs.base, pairs.sources)["wanted"]
    assert not differ(label, pairs.answer).any()
    assert not differ(pairs.answer, pairs.source_answer).any()
    assert differ(pairs.answer, pairs.base_answer).all()


def test_other_variables_of_the_hypothesis_keep_their_values():
    pairs = through(Hypothesis(model, "greater", "ask"), "ask", model.enumerate(), 20, np.random.default_rng(0))
    assert pairs.sources["greater"] is pairs.base
    assert (pairs.swapped == [False, True]).all()


def test_the_same_seed_gives_the_same_pairs():
    once, again = (
        through(Hypothesis(model, "greater"), "greater", model.enumerate(), 9, np.random.default_rng(3)) for _ in "ab"
    )
    assert all((once.base[name] == again.base[name]).all() for name in once.base)


def test_where_there_are_none_it_says_so():
    def never(a):
        return a > 9

    def says(never):
        return never

    fixed = CausalModel(never, says, inputs={"a": NUMBERS})
    with pytest.raises(DasError, match="no pair was found whose answer flips through 'never' when nothing but a changes"):
        through(Hypothesis(fixed, "never"), "never", fixed.enumerate(), 4, np.random.default_rng(0))
