"""Pairs: every label is the causal model's, no prompt is in two splits, half of the pairs flip (law 3)."""

import re

import numpy as np
import pytest
from conftest import ROOT

from das import (
    Bool,
    CausalModel,
    Choice,
    DasError,
    Family,
    Hypothesis,
    Prompt,
    Range,
    Sampler,
    Task,
    Uniform,
    load_task,
    make_pairs,
)
from das.causal.columns import row_of, take
from das.pairs.audit import audit, audit_text
from das.pairs.families import match
from das.pairs.pools import split_pools


def rows(columns):
    return [row_of(columns, i) for i in range(len(next(iter(columns.values()))))]


def drawn(model, n, seed=0):
    return split_pools(model, {"train": n, "val": 2}, np.random.default_rng(seed))["train"]


def made(hypothesis, pool, n, families=None, seed=0):
    return make_pairs(hypothesis, pool, n, np.random.default_rng(seed), families)


# --- price tagging, with the four hypotheses' truth by hand in integer cents ---


def cents(row):
    return tuple(round(100 * row[name]) for name in ("lower", "upper", "amount"))


def left_boundary(base, source):
    (_, upper, amount), (other_lower, _, other_amount) = cents(base), cents(source)
    return other_amount >= other_lower and amount <= upper


def left_and_right(base, one, two):
    (lower, _, amount), (_, upper, other_amount) = cents(one), cents(two)
    return amount >= lower and other_amount <= upper


def midpoint(base, source):
    (lower, upper, amount), (other_lower, other_upper, _) = cents(base), cents(source)
    return abs(2 * amount - (other_lower + other_upper)) <= upper - lower


def bracket(base, source):
    (_, _, amount), (lower, upper, _) = cents(base), cents(source)
    return lower <= amount <= upper


TRUTH = {"left_boundary": left_boundary, "left_and_right": left_and_right, "midpoint": midpoint, "bracket": bracket}
MIXES = {
    "default": None,
    "flip": {"flip": 1},
    "keep": {"keep": 1},
    "resample": {"resample": 1},
    "only": {"only": 1},
    "natural": {"natural": 1},
    "separate": {"separate": 1},
    "all": {"flip": 0.4, "keep": 0.3, "resample": 0.2, "only": 0.1},
}


@pytest.fixture(scope="module")
def prices(price_tagging):
    return drawn(price_tagging.model, 1500)


def test_truth_is_written_for_every_hypothesis(price_tagging):
    assert set(TRUTH) == set(price_tagging.hypotheses)


RARE = ("midpoint", "only")  # the same amount and width with another midpoint: too few in a pool of this size


@pytest.mark.parametrize(("name", "mix"), sorted({(name, mix) for name in TRUTH for mix in MIXES} - {RARE}))
def test_every_label_is_the_truth_by_hand(name, mix, price_tagging, prices):
    hypothesis = price_tagging.hypotheses[name]
    pairs = made(hypothesis, prices, 700, MIXES[mix])
    assert len(pairs) == 700
    base, sources = rows(pairs.base), [rows(pairs.sources[v]) for v in hypothesis.variables]
    assert pairs.base_answer.tolist() == [bracket(b, b) for b in base]
    assert pairs.answer.tolist() == [TRUTH[name](b, *s) for b, *s in zip(base, *sources, strict=True)]
    assert pairs.flips.tolist() == (pairs.answer != pairs.base_answer).tolist()


@pytest.mark.parametrize("name", TRUTH)
def test_source_answer_is_that_of_the_first_swapped_source(name, price_tagging, prices):
    pairs = made(price_tagging.hypotheses[name], prices, 300)
    sources = [rows(source) for source in pairs.sources.values()]
    first = [sources[swapped.index(True)][i] for i, swapped in enumerate(pairs.swapped.tolist())]
    assert pairs.source_answer.tolist() == [bracket(s, s) for s in first]


def test_a_variable_that_is_not_swapped_has_the_base_as_its_source(price_tagging, prices):
    pairs = made(price_tagging.hypotheses["left_and_right"], prices, 600)
    base = rows(pairs.base)
    for i, source in enumerate(pairs.sources.values()):
        kept = ~pairs.swapped[:, i]
        assert [s for s, k in zip(rows(source), kept, strict=True) if k] == [b for b, k in zip(base, kept, strict=True) if k]
    subsets = {tuple(row) for row in pairs.swapped.tolist()}
    assert subsets == {(True, False), (False, True), (True, True)}


@pytest.mark.parametrize("name", TRUTH)
def test_half_of_the_pairs_flip_and_base_answers_are_equally_many(name, price_tagging, prices):
    pairs = made(price_tagging.hypotheses[name], prices, 800)
    assert pairs.flips.sum() == 400
    assert (pairs.family == "flip").tolist() == pairs.flips.tolist()
    for family in ("flip", "keep"):
        assert np.unique(pairs.base_answer[pairs.family == family], return_counts=True)[1].tolist() == [200, 200]


@pytest.mark.parametrize(
    "name",
    ["sum", "left_product"],
)
def test_half_of_the_pairs_of_arithmetic_flip(name):
    task = load_task(ROOT / "tasks" / "arithmetic.py")
    pool = split_pools(task.model, {"train": 12288, "val": 1536, "test": 3000}, np.random.default_rng(0))["train"]
    pairs = made(task.hypotheses[name], pool, 4096)
    assert (len(pairs), int(pairs.flips.sum())) == (4096, 2048)


def test_a_hundred_thousand_labelled_pairs_are_made(price_tagging):
    pairs = made(price_tagging.hypotheses["left_and_right"], drawn(price_tagging.model, 20_000), 100_000)
    assert (len(pairs), int(pairs.flips.sum())) == (100_000, 50_000)


# --- other tasks ---


def total(a, b):
    return a + b


def product(total, c):
    return total * c


def both(left, right):
    return left & right


def code(word):
    return np.where(word == "cat", 1, np.where(word == "dog", 2, 3))


def spoken(code, loud):
    words = np.array(["", "meow", "woof", "moo"])[code]
    return np.where(loud, np.char.upper(words), words)


def interval(low, width):
    return np.stack([low, low + width], axis=-1)


def inside(interval, x):
    return (interval[:, 0] <= x) & (x <= interval[:, 1])


SUM = Hypothesis(CausalModel(total, product, inputs={"a": Range(1, 9), "b": Range(1, 9), "c": Range(1, 9)}), "total")
WORDS = {"word": Choice(["cat", "dog", "cow"]), "loud": Bool(), "noise": Range(0, 99)}
ANIMAL = Hypothesis(CausalModel(code, spoken, inputs=WORDS), "code")
VECTOR = Hypothesis(
    CausalModel(interval, inside, inputs={"low": Range(0, 9), "width": Range(0, 9), "x": Range(0, 18)}), "interval"
)
LEFT = Hypothesis(CausalModel(both, inputs={"left": Bool(), "right": Bool()}), "left")
NOISY = Hypothesis(CausalModel(both, inputs={"left": Bool(), "right": Bool(), "noise": Range(0, 99)}), "left")
VOICES = {"cat": "meow", "dog": "woof", "cow": "moo"}
SMALL = {
    "arithmetic": (SUM, lambda b, s: (s["a"] + s["b"]) * b["c"]),
    "words": (ANIMAL, lambda b, s: VOICES[s["word"]].upper() if b["loud"] else VOICES[s["word"]]),
    "vector": (VECTOR, lambda b, s: s["low"] <= b["x"] <= s["low"] + s["width"]),
    "booleans": (LEFT, lambda b, s: s["left"] and b["right"]),
    "noisy booleans": (NOISY, lambda b, s: s["left"] and b["right"]),
}


@pytest.mark.parametrize("families", [None, {"resample": 1}, {"only": 1}], ids=["default", "resample", "only"])
@pytest.mark.parametrize("name", SMALL)
def test_every_label_of_a_small_task_is_the_truth_by_hand(name, families):
    hypothesis, truth = SMALL[name]
    pairs = made(hypothesis, hypothesis.model.enumerate(), 100, families)
    (source,) = pairs.sources.values()
    assert pairs.answer.tolist() == [truth(b, s) for b, s in zip(rows(pairs.base), rows(source), strict=True)]
    assert len(pairs) == 100


@pytest.mark.parametrize("name", ["arithmetic", "words", "vector", "noisy booleans"])
def test_half_of_the_pairs_of_a_small_task_flip(name):
    hypothesis, _ = SMALL[name]
    assert made(hypothesis, hypothesis.model.enumerate(), 600).flips.sum() == 300


def test_a_task_of_four_prompts_gives_as_many_pairs_as_are_asked_for():
    pairs = made(LEFT, LEFT.model.enumerate(), 2000)
    assert (len(pairs), int(pairs.flips.sum())) == (2000, 1000)


def copied(left):
    return left


def only_right(copied, right):
    return right | (copied & ~copied)


def test_a_task_that_cannot_flip_gives_pairs_that_all_keep_their_answer():
    model = CausalModel(copied, only_right, inputs={"left": Bool(), "right": Bool(), "noise": Range(0, 99)})
    pairs = made(Hypothesis(model, "copied"), model.enumerate(), 500)
    assert len(pairs) == 500
    assert not pairs.flips.any()
    assert set(pairs.family) == {"keep"}


def high(x):
    return x > 4


def verdict(fault, high):
    return np.where(fault == 0, "error", np.where(high, "yes", "no"))


def test_half_of_the_pairs_flip_though_one_answer_cannot():
    model = CausalModel(high, verdict, inputs={"x": Range(0, 9), "fault": Range(0, 2), "noise": Range(0, 19)})
    assert made(Hypothesis(model, "high"), model.enumerate(), 900).flips.sum() == 450


@pytest.mark.parametrize("n", [2, 3, 7, 101])
@pytest.mark.parametrize("mix", MIXES)
def test_the_number_of_pairs_is_the_number_asked_for(mix, n):
    pairs = made(SUM, SUM.model.enumerate(), n, MIXES[mix])
    assert len(pairs) == n
    lengths = {len(column) for column in pairs.columns().values()}
    assert lengths == {n}


@pytest.mark.parametrize("mix", ["default", "all"])
def test_a_single_pair_can_be_asked_for(mix):
    assert len(made(SUM, SUM.model.enumerate(), 1, MIXES[mix])) == 1


# --- families ---


def test_flip_and_keep_do_what_they_say():
    everything = SUM.model.enumerate()
    assert made(SUM, everything, 400, {"flip": 1}).flips.all()
    assert not made(SUM, everything, 400, {"keep": 1}).flips.any()


def test_resample_draws_every_source_alike():
    pairs = made(NOISY, NOISY.model.enumerate(), 8000, {"resample": 1})
    for row in (0, 1):
        answer = bool(row)
        mine = pairs.base_answer == answer
        assert mine.sum() == 4000
        shares = [np.mean(column[mine]) for column in (pairs.sources["left"]["left"], pairs.sources["left"]["right"])]
        assert np.allclose(shares, 0.5, atol=0.04)


def test_every_base_is_used_once_before_any_is_used_again():
    pool = drawn(NOISY.model, 300)
    pairs = made(NOISY, pool, 700, {"resample": 1})
    for answer in (True, False):
        mine = rows(take(pairs.base, np.flatnonzero(pairs.base_answer == answer)))
        possible = sum((row["left"] and row["right"]) == answer for row in rows(pool))
        counts = [mine.count(row) for row in mine]
        assert len({tuple(row.values()) for row in mine}) == possible
        assert max(counts) - min(counts) <= 1


def test_bases_are_drawn_alike_from_those_that_admit_a_flip():
    def exceeds(copied, right):
        return copied + right > 100

    model = CausalModel(copied, exceeds, inputs={"left": Range(0, 99), "right": Range(0, 99)})
    pool = drawn(model, 3000)
    pairs = made(Hypothesis(model, "copied"), pool, 3000, {"flip": 1})
    can_flip = pool["right"][(pool["left"] + pool["right"] <= 100) & (pool["left"].max() + pool["right"] > 100)]
    assert np.mean(pairs.base["right"][~pairs.base_answer] <= 10) == pytest.approx(np.mean(can_flip <= 10), abs=0.05)


ONLY = {
    "arithmetic": (SUM, lambda row: row["a"] + row["b"], lambda row: row["c"]),
    "words": (ANIMAL, lambda row: row["word"], lambda row: (row["loud"], row["noise"])),
    "vector": (VECTOR, lambda row: (row["low"], row["width"]), lambda row: row["x"]),
    "noisy booleans": (NOISY, lambda row: row["left"], lambda row: (row["right"], row["noise"])),
}


@pytest.mark.parametrize("name", ONLY)
def test_only_changes_the_variable_and_nothing_unrelated(name):
    hypothesis, aligned, unrelated = ONLY[name]
    pairs = made(hypothesis, hypothesis.model.enumerate(), 300, {"only": 1})
    (source,) = pairs.sources.values()
    for b, s in zip(rows(pairs.base), rows(source), strict=True):
        assert aligned(b) != aligned(s)
        assert unrelated(b) == unrelated(s)


def above(low, x):
    return x >= low


def below(x, high):
    return x <= high


def between(above, below):
    return above & below


def test_only_with_two_variables_changes_each_by_its_own_source():
    model = CausalModel(above, below, between, inputs={"low": Range(1, 3), "high": Range(4, 6), "x": Range(0, 7)})
    pairs = made(Hypothesis(model, "above", "below"), model.enumerate(), 300, {"only": 1})
    base = model.run(pairs.base)
    for i, (variable, unrelated) in enumerate([("above", "high"), ("below", "low")]):
        source = model.run(pairs.sources[variable])
        assert (source[unrelated] == base[unrelated]).all()
        assert ((source[variable] != base[variable]) == pairs.swapped[:, i]).all()


def test_match_keeps_bases_and_sources_in_their_regions():
    family = match(base=lambda total, c: (total > 9) & (c == 2), source=lambda a: a < 3)
    pairs = made(SUM, SUM.model.enumerate(), 200, {family: 1})
    assert all(b["a"] + b["b"] > 9 and b["c"] == 2 for b in rows(pairs.base))
    assert all(s["a"] < 3 for s in rows(pairs.sources["total"]))
    assert set(pairs.family) == {"custom"}


def test_a_family_of_ones_own_accepts_by_both_answers():
    family = Family(accept=lambda base, answer: answer > base)
    pairs = made(SUM, SUM.model.enumerate(), 200, {family: 1})
    assert (pairs.answer > pairs.base_answer).all()


def test_shares_are_kept_and_may_sum_to_anything():
    pairs = made(SUM, SUM.model.enumerate(), 1000, {"flip": 3, "keep": 1, "resample": 1})
    assert dict(zip(*np.unique(pairs.family, return_counts=True), strict=True)) == {"flip": 600, "keep": 200, "resample": 200}


IMPOSSIBLE = {
    "unknown family": ({"flop": 1}, "unknown family of pairs 'flop': did you mean 'flip'?"),
    "unknown variable": (
        {match(base=lambda totl: totl > 1): 1},
        "unknown variable in a family's predicate 'totl': did you mean 'total'?",
    ),
    "empty source region": ({match(source=lambda a: a > 99): 1}, "no prompt of the pool lies in the source region"),
    "empty base region": ({match(base=lambda a: a > 99): 1}, "no pair of the families"),
    "never accepted": ({Family(accept=lambda base, answer: answer < 0): 1}, "no pair of the families"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_pairs_that_cannot_be_had_say_why(name):
    families, message = IMPOSSIBLE[name]
    with pytest.raises(DasError, match=re.escape(message)):
        made(SUM, SUM.model.enumerate(), 10, families)


@pytest.mark.parametrize("families", [{"flip": 0.0}, {"flip": -1.0, "keep": 2.0}])
def test_shares_that_are_no_shares_are_an_error_for_people(families):
    with pytest.raises(DasError):
        made(SUM, SUM.model.enumerate(), 10, families)


# --- seeds ---


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_makes_the_same_pairs_and_another_does_not(name):
    hypothesis, _ = SMALL[name]
    one, two, other = (
        rows(made(hypothesis, hypothesis.model.enumerate(), 60, MIXES["all"], seed).columns()) for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


# --- splits ---

SIZES = {"train": 300, "val": 60, "test": 90}
POOLS = {
    "enumerated": (SUM.model, [300, 60, 90]),
    "enumerated, fewer than wanted": (CausalModel(total, inputs={"a": Range(0, 9), "b": Range(0, 14)}), [100, 20, 30]),
    "sampled": (CausalModel(total, inputs={"a": Range(0, 999), "b": Range(0, 999)}), [300, 60, 90]),
    "sampled with repetitions": (VECTOR.model, [300, 60, 90]),
    "uncountable": (CausalModel(total, inputs={"a": Uniform(), "b": Range(0, 9)}), [300, 60, 90]),
}


@pytest.mark.parametrize("name", POOLS)
def test_no_prompt_is_in_two_splits_or_twice_in_one(name):
    model, sizes = POOLS[name]
    pools = split_pools(model, SIZES, np.random.default_rng(0))
    every = [tuple(row.values()) for pool in pools.values() for row in rows(pool)]
    assert list(pools) == list(SIZES)
    assert [len(rows(pool)) for pool in pools.values()] == sizes
    assert len(set(every)) == len(every) == sum(sizes)


def test_pairs_of_price_tagging_share_no_prompt_between_splits(price_tagging):
    pools = split_pools(price_tagging.model, {"train": 400, "test": 200}, np.random.default_rng(0))
    used = {}
    for split, pool in pools.items():
        pairs = made(price_tagging.hypotheses["left_and_right"], pool, 300)
        used[split] = {tuple(r.values()) for table in (pairs.base, *pairs.sources.values()) for r in rows(table)}
    assert used["train"]
    assert not used["train"] & used["test"]


@pytest.mark.parametrize("limit", [9, 999], ids=["enumerated", "sampled"])
def test_accept_keeps_only_the_prompts_it_marks(limit):
    model = CausalModel(total, inputs={"a": Range(0, limit), "b": Range(0, 9)})
    pools = split_pools(model, {"train": 40, "test": 20}, np.random.default_rng(0), lambda t: t["a"] % 3 == 1)
    every = [tuple(row.values()) for pool in pools.values() for row in rows(pool)]
    assert all(a % 3 == 1 for a, _ in every)
    assert len(set(every)) == len(every) == (60 if limit > 9 else 30)


def test_splits_that_would_be_empty_are_an_error():
    with pytest.raises(DasError, match="split 'train' has fewer than two prompts: the task has 0 that can be used"):
        split_pools(SUM.model, SIZES, np.random.default_rng(0), lambda t: t["a"] > 99)
    with pytest.raises(DasError, match="split 'val' has fewer than two prompts: the task has 4"):
        split_pools(LEFT.model, SIZES, np.random.default_rng(0))


def test_a_split_that_is_to_have_few_prompts_has_them_where_there_are_few():
    model = CausalModel(total, inputs={"a": Range(0, 8), "b": Range(0, 7)})
    pools = split_pools(model, {"train": 6, "val": 6, "test": 256}, np.random.default_rng(0))
    assert [len(pool["a"]) for pool in pools.values()] == [6, 6, 60]


def test_pools_hold_the_values_that_the_sampler_gave():
    sampler = Sampler(lambda rng, n: [int(x) for x in rng.integers(0, 10**6, n)])
    pools = split_pools(CausalModel(lambda a: a % 2, inputs={"a": sampler}), {"train": 20}, np.random.default_rng(0))
    assert Prompt("{a}", str).render(pools["train"]).texts == [str(int(a)) for a in pools["train"]["a"]]


# --- the audit ---


def larger(a, b):
    return a > b


def told(larger):
    return larger


def again(larger):
    return larger & larger


def difference(a, b):
    return a - b


def positive(difference):
    return difference > 0


NUMBERS = {"a": Range(0, 9), "b": Range(0, 9), "noise": Range(0, 9)}
TWINS = Task(
    Prompt("{a} {b} {noise}", {True: "yes", False: "no"}),
    {
        "larger": Hypothesis(CausalModel(larger, told, inputs=NUMBERS), "larger"),
        "twin": Hypothesis(CausalModel(larger, again, inputs=NUMBERS), "larger"),
        "difference": Hypothesis(CausalModel(difference, positive, inputs=NUMBERS), "difference"),
        "first": Hypothesis(CausalModel(larger, told, inputs=NUMBERS), "a"),
    },
)


def test_audit_finds_the_hypotheses_that_it_cannot_tell_apart():
    pairs = made(TWINS.hypotheses["larger"], TWINS.model.enumerate(), 500)
    report = audit(TWINS, "larger", pairs)
    source = rows(pairs.sources["larger"])
    first = [s["a"] > b["b"] for b, s in zip(rows(pairs.base), source, strict=True)]
    assert report["same_label_as"] == {
        "twin": 1.0,
        "difference": 1.0,
        "first": pytest.approx(np.mean(first == pairs.answer)),
    }
    text = audit_text("larger", report)
    assert "CANNOT be told from twin on 1.00" in text
    assert "CANNOT be told from difference" in text
    assert f"same label as first on {np.mean(first == pairs.answer):.2f}" in text


def test_audit_counts_what_the_pairs_hold():
    pairs = made(TWINS.hypotheses["larger"], TWINS.model.enumerate(), 500, {"flip": 0.3, "keep": 0.7})
    report = audit(TWINS, "larger.larger", pairs, np.array([5, 6] * 250))
    assert report["pairs"] == 500
    assert report["distinct_bases"] == len({tuple(row.values()) for row in rows(pairs.base)})
    assert report["noop"] == pytest.approx(0.7)
    assert report["families"] == {"flip": 0.3, "keep": 0.7}
    assert report["base_answers"] == {"False": 0.5, "True": 0.5}
    assert report["answers"] == {str(v): np.mean(pairs.answer == v) for v in (False, True)}
    assert report["variables"] == {"larger": {"False": 0.5, "True": 0.5}}
    assert report["answer_tokens"] == 2


@pytest.mark.parametrize("name", TRUTH)
def test_audit_relabels_by_every_other_hypothesis(name, price_tagging, prices):
    pairs = made(price_tagging.hypotheses[name], prices, 300)
    base, sources = rows(pairs.base), [rows(source) for source in pairs.sources.values()]
    first = [sources[swapped.index(True)][i] for i, swapped in enumerate(pairs.swapped.tolist())]
    wanted = {}
    for other, truth in TRUTH.items():
        if other != name:
            given = [truth(b, s, s) if other == "left_and_right" else truth(b, s) for b, s in zip(base, first, strict=True)]
            wanted[other] = pytest.approx(np.mean(given == pairs.answer))
    assert audit(price_tagging, name, pairs)["same_label_as"] == wanted


def test_audit_of_an_unknown_hypothesis_names_the_nearest():
    pairs = made(TWINS.hypotheses["larger"], TWINS.model.enumerate(), 20)
    with pytest.raises(DasError, match="unknown hypothesis 'largr': did you mean 'larger'"):
        audit(TWINS, "largr", pairs)
