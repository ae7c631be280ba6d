"""Failures: planted ones are found and named, chance ones are not."""

import json
from dataclasses import asdict
from time import perf_counter

import numpy as np
import pytest

from das import Bool, CausalModel, Choice, DasError, Hypothesis, Range, Uniform, make_pairs
from das.judge.failures import Group, failing_groups, splits, value_table
from das.judge.scan import gain_of

HYPOTHESES = ["left_boundary", "left_and_right", "midpoint", "bracket"]


def pairs_of(hypothesis, n=1000, families=None, seed=0):
    rng = np.random.default_rng(seed)
    return make_pairs(hypothesis, hypothesis.model.sample(rng, n), n, rng, families)


@pytest.fixture(scope="module")
def made(price_tagging):
    return {name: (price_tagging.hypotheses[name], pairs_of(price_tagging.hypotheses[name])) for name in HYPOTHESES}


def amounts(pairs):
    return next(iter(pairs.sources.values()))["amount"]


# --- planted on price tagging ---


def test_a_range_of_the_source_and_a_value_of_the_base_are_named(made):
    hypothesis, pairs = made["left_boundary"]
    above = hypothesis.model.run(pairs.base)["above_lower"]
    failing = ~above & (amounts(pairs) >= 3.1) & (amounts(pairs) <= 5.32)
    [group] = failing_groups(hypothesis, pairs, ~failing)
    value, (*words, low, _, high) = (condition.split() for condition in group.conditions.split(", "))
    assert " ".join(value) == "base above_lower = False"
    assert words == ["source", "amount", "from"]
    assert (float(low), float(high)) == pytest.approx((3.1, 5.32), abs=0.6)
    inside = ~above & (amounts(pairs) >= float(low)) & (amounts(pairs) <= float(high))
    assert group.pairs == inside.sum()
    assert group.share == inside.mean()
    assert group.iia == pytest.approx(1 - failing[inside].mean())
    assert group.failures == pytest.approx(failing[inside].sum() / failing.sum())


@pytest.mark.parametrize("name", HYPOTHESES)
def test_amounts_near_a_boundary_are_named_in_every_model(name, made):
    hypothesis, pairs = made[name]
    failing = np.abs(pairs.base["amount"] - pairs.base["upper"]) <= 0.5
    [group] = failing_groups(hypothesis, pairs, ~failing)
    assert group.conditions.startswith("base |upper − amount| ≤ 0.")
    assert group.failures > 0.9


SIDE = {"left_boundary": "left_side", "left_and_right": "below_upper", "midpoint": "near_midpoint", "bracket": "within"}


@pytest.mark.parametrize("name", HYPOTHESES)
def test_amounts_just_above_a_boundary_are_named_by_the_side_too(name, made):
    hypothesis, pairs = made[name]
    over = pairs.base["amount"] - pairs.base["upper"]
    [group] = failing_groups(hypothesis, pairs, (over <= 0) | (over > 0.5))
    assert group.conditions.startswith(f"base {SIDE[name]} = False, base |upper − amount| ≤ 0.")


def test_what_only_the_counterfactual_run_compares_is_named(made):
    hypothesis, pairs = made["bracket"]
    gap = np.abs(pairs.base["amount"] - pairs.sources["bracket"]["upper"])
    [group] = failing_groups(hypothesis, pairs, gap > 0.5)
    assert group.conditions.startswith("counterfactual |amount − bracket[1]| ≤ 0.")


def test_a_component_of_a_vector_is_named(price_tagging):
    hypothesis = Hypothesis(CausalModel(stretch, inside, inputs=price_tagging.model.inputs), "stretch")
    pairs = pairs_of(hypothesis)
    middle = pairs.sources["stretch"]["lower"] + pairs.sources["stretch"]["upper"]
    [group] = failing_groups(hypothesis, pairs, middle > np.quantile(middle, 0.25))
    assert group.conditions.startswith("source stretch[1] ≤ ")


def stretch(lower, upper):
    return np.stack([upper - lower, upper + lower], -1)


def inside(stretch, amount):
    return np.abs(2 * amount - stretch[:, 1]) <= stretch[:, 0]


@pytest.mark.parametrize("name", HYPOTHESES)
def test_pairs_that_should_flip_are_one_group(name, made):
    hypothesis, pairs = made[name]
    output = hypothesis.model.output
    [group] = failing_groups(hypothesis, pairs, ~pairs.flips)
    assert group == Group(f"counterfactual {output} ≠ base {output}", 500, 0.5, 0.0, 1.0)


def test_of_several_variables_the_source_at_fault_is_named(made):
    hypothesis, pairs = made["left_and_right"]
    cheap = pairs.sources["below_upper"]["amount"] <= np.quantile(pairs.sources["below_upper"]["amount"], 0.25)
    [group] = failing_groups(hypothesis, pairs, ~cheap)
    assert group.conditions.startswith("below_upper's source amount ≤ ")
    assert group.failures == 1
    unswapped = failing_groups(hypothesis, pairs, pairs.swapped[:, 0])
    assert unswapped[0].conditions.startswith("above_lower's source ")
    assert unswapped[0].conditions.endswith(tuple(f" = base {name}" for name in ("lower", "upper", "amount")))


def test_a_second_group_is_of_the_other_pairs(made):
    hypothesis, pairs = made["left_boundary"]
    low, high = pairs.base["lower"] <= 0.8, pairs.base["amount"] >= 8.5
    first, second = failing_groups(hypothesis, pairs, ~(low | high))
    assert {" ".join(group.conditions.split()[:3]) for group in (first, second)} == {"base lower ≤", "base amount ≥"}
    assert (first.rest, second.rest) == (False, True)
    assert first.failures + second.failures <= 1
    assert first.pairs + second.pairs <= len(pairs)
    assert " other pairs" in second.text()
    assert failing_groups(hypothesis, pairs, ~(low | high), most=1) == [first]


def test_noise_elsewhere_and_means_over_seeds_do_not_hide_a_group(made):
    hypothesis, pairs = made["left_boundary"]
    near = np.abs(pairs.base["amount"] - pairs.base["upper"]) <= 0.5
    hits = (np.random.default_rng(1).random((3, len(pairs))) < np.where(near, 0.3, 0.97)).mean(0)
    group = failing_groups(hypothesis, pairs, hits)[0]
    assert group.conditions.startswith("base |upper − amount| ≤ 0.")
    assert 0.2 < group.iia < 0.5


# --- what is no group ---


@pytest.mark.parametrize("name", HYPOTHESES)
def test_no_group_where_nothing_or_everything_fails(name, made):
    hypothesis, pairs = made[name]
    assert failing_groups(hypothesis, pairs, np.ones(len(pairs), bool)) == []
    assert failing_groups(hypothesis, pairs, np.zeros(len(pairs))) == []
    assert failing_groups(hypothesis, pairs, np.full(len(pairs), 2 / 3)) == []


@pytest.mark.parametrize("name", HYPOTHESES)
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_random_failures_are_no_group(name, rate, made):
    hypothesis, pairs = made[name]
    for seed in range(3):
        hits = np.random.default_rng(seed).random(len(pairs)) >= rate
        assert failing_groups(hypothesis, pairs, hits) == []


def test_a_handful_of_pairs_is_no_group(made):
    hypothesis, pairs = made["left_boundary"]
    assert failing_groups(hypothesis, pairs, np.arange(len(pairs)) > 5) == []


def test_the_gain_is_that_of_the_likelihoods():
    def likelihood(n, failed):
        return failed * np.log(failed / n) + (n - failed) * np.log(1 - failed / n)

    [gain, none, all_of_them] = gain_of(np.array([100.0, 100.0, 1000.0]), np.array([40.0, 5.0, 100.0]), 1000, 100.0)
    assert gain == pytest.approx(likelihood(100, 40) + likelihood(900, 60) - likelihood(1000, 100))
    assert none == all_of_them == 0


# --- other tasks ---


def goes_with(fruit, drink):
    return np.char.add(np.char.add(fruit, "+"), drink)


def menu(goes_with, warm):
    return np.where(warm, "none", goes_with)


FRUIT = ["apple", "banana", "cherry", "date", "elder", "fig", "grape", "honey", "iris"]
MENU = CausalModel(goes_with, menu, inputs={"fruit": Choice(FRUIT), "drink": Choice(["tea", "milk"]), "warm": Bool()})


def test_words_are_named():
    hypothesis = Hypothesis(MENU, "goes_with")
    pairs = pairs_of(hypothesis, 600)
    failing = (pairs.sources["goes_with"]["fruit"] == "cherry") & (pairs.base["drink"] == "tea")
    [group] = failing_groups(hypothesis, pairs, ~failing)
    assert group.conditions == "base drink = tea, source fruit = cherry"
    assert (group.pairs, group.iia, group.failures) == (failing.sum(), 0, 1)


def total(a, b):
    return a + b


def product(total, c):
    return total * c


def test_whole_numbers_are_named_as_such():
    hypothesis = Hypothesis(CausalModel(total, product, inputs=dict.fromkeys("abc", Range(1, 9))), "total")
    pairs = pairs_of(hypothesis, 700)
    [group] = failing_groups(hypothesis, pairs, pairs.base["c"] < 8)
    assert group.conditions == "base c ≥ 8"
    [group] = failing_groups(hypothesis, pairs, pairs.sources["total"]["a"] != pairs.base["a"])
    assert group.conditions == "source a = base a"


def tags(x):
    column = np.empty(len(x), object)
    column[:] = [(round(v), "odd" if round(v) % 2 else "even") for v in x]
    return column


def grid(x):
    return np.stack([np.stack([x, x], -1)] * 2, -1)


def words(x):
    return np.where(x > 1, "high", "low")[:, None].repeat(2, 1)


def top(tags, grid, words, x):
    return grid[:, 0, 0] > 1


def test_values_of_every_kind_pass():
    hypothesis = Hypothesis(CausalModel(tags, grid, words, top, inputs={"x": Uniform(0, 3), "y": Uniform(-1, 1)}), "grid")
    pairs = pairs_of(hypothesis, 400)
    [group] = failing_groups(hypothesis, pairs, np.round(pairs.base["x"]) != 1)
    assert group.conditions == "base tags = (1, 'odd')"
    rows = value_table(hypothesis, pairs, np.ones(400))
    assert {row["variable"] for row in rows} == {"x", "y", "tags", "top"}


# --- the interface ---


def test_groups_are_plain_and_readable(made):
    hypothesis, pairs = made["left_boundary"]
    [group] = failing_groups(hypothesis, pairs, ~pairs.flips)
    assert Group(**json.loads(json.dumps(asdict(group)))) == group
    assert group.text() == (
        "counterfactual left_side ≠ base left_side: IIA 0.00 on 500 pairs (50% of all), with 100% of the failures"
    )


@pytest.mark.parametrize("name", HYPOTHESES)
def test_the_same_hits_give_the_same_groups_fast(name, made):
    hypothesis, pairs = made[name]
    hits = np.random.default_rng(2).random(len(pairs)) < np.where(amounts(pairs) < 3, 0.5, 0.9)
    start = perf_counter()
    groups = failing_groups(hypothesis, pairs, hits)
    assert perf_counter() - start < 3
    assert groups
    assert groups == failing_groups(hypothesis, pairs, hits)


@pytest.mark.parametrize("rule", [failing_groups, value_table])
def test_hits_of_other_pairs_are_refused(rule, made):
    with pytest.raises(DasError, match=r"the hits .*expected 1000 rows"):
        rule(*made["left_boundary"], np.ones(3))


# --- the map ---


def test_the_table_has_every_pair_once_per_variable(made):
    hypothesis, pairs = made["left_boundary"]
    hits = np.random.default_rng(0).random(len(pairs))
    rows = value_table(hypothesis, pairs, hits)
    assert json.loads(json.dumps(rows)) == rows
    for variable in hypothesis.model.variables:
        mine = [row for row in rows if row["variable"] == variable]
        assert sum(row["pairs"] for row in mine) == len(pairs)
        assert sum(row["pairs"] * row["iia"] for row in mine) == pytest.approx(hits.sum())
        assert len({(row["base"], row["source"]) for row in mine}) == len(mine) <= 16


def test_an_entry_of_the_table_is_the_iia_of_its_pairs(made):
    hypothesis, pairs = made["left_boundary"]
    hits = np.random.default_rng(0).random(len(pairs)) < 0.7
    base, source = (hypothesis.model.run(x)["above_lower"] for x in (pairs.base, pairs.sources["above_lower"]))
    rows = [row for row in value_table(hypothesis, pairs, hits) if row["variable"] == "above_lower"]
    expected = [
        {
            "swapped": "above_lower", "variable": "above_lower", "base": f"= {one}", "source": f"= {other}",
            "pairs": int(((base == one) & (source == other)).sum()), "iia": hits[(base == one) & (source == other)].mean(),
        }
        for one in (False, True) for other in (False, True)
    ]  # fmt: skip
    assert rows == expected


def test_quarters_come_in_order_and_are_shared_by_base_and_source(made):
    rows = [row for row in value_table(*made["bracket"], np.ones(1000)) if row["variable"] == "bracket[0]"]
    names = list(dict.fromkeys(row["base"] for row in rows))
    assert [name.split()[0] for name in names] == ["≤", "from", "from", "≥"]
    assert names == list(dict.fromkeys(row["source"] for row in rows))


def test_only_pairs_that_swap_a_variable_count_for_its_source(made):
    hypothesis, pairs = made["left_and_right"]
    rows = value_table(hypothesis, pairs, np.ones(len(pairs)))
    for i, swapped in enumerate(hypothesis.variables):
        mine = [row["pairs"] for row in rows if row["swapped"] == swapped and row["variable"] == "amount"]
        assert sum(mine) == pairs.swapped[:, i].sum() < len(pairs)


# --- the network's own answers ---


def test_pairs_are_split_by_what_the_network_answers():
    base, source = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 1])
    hits = np.array([1, 0.5, 0, 0, 0.5])
    expected = {"correct": {"pairs": 2, "iia": 0.75}, "incorrect": {"pairs": 3, "iia": pytest.approx(0.5 / 3)}}
    assert splits(base, source, hits) == expected
    assert splits(base, np.stack([source, np.ones(5)], 1), hits) == expected


def test_a_split_without_pairs_has_no_iia():
    yes, no = np.ones(4, bool), np.zeros(4, bool)
    assert splits(yes, yes, yes) == {"correct": {"pairs": 4, "iia": 1}, "incorrect": {"pairs": 0, "iia": None}}
    assert splits(no, yes, yes) == {"correct": {"pairs": 0, "iia": None}, "incorrect": {"pairs": 4, "iia": 1}}
