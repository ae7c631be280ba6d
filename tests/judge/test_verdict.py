"""The verdict's rule, case by case, and the statistics that it rests on."""

from dataclasses import replace

import numpy as np
import pytest

from das.judge.verdict import VERDICTS, Facts, judge
from das.stats import Bootstrap, Null

GOOD = Facts(
    "h.v", accuracy=0.99, commonest=0.5, iia=0.95, low=0.93, noop=0.5, majority=0.5, random=0.51, ceiling=0.98,
    p={"shuffled": 0.001}, cause=0.9, read_cause=0.9, rival="other", rival_iia=0.7, failing="base x = 1",
)  # fmt: skip

CASES = {
    "nothing against it": ({}, "supported"),
    "no nulls run": ({"p": {}}, "supported"),
    "no rival": ({"rival": None, "rival_iia": None}, "supported"),
    "the network does not solve the task": ({"accuracy": 0.74}, "task not solved"),
    "many answers": ({"accuracy": 0.56, "commonest": 0.1}, "supported"),
    "no better than a no-op": ({"low": 0.5}, "not above the null"),
    "no better than the commonest label": ({"majority": 0.94}, "not above the null"),
    "no better than a random subspace": ({"random": 0.93}, "not above the null"),
    "a null reaches it": ({"p": {"shuffled": 0.001, "untrained": 0.05}}, "not above the null"),
    "what is read does nothing": ({"read_cause": 0.4}, "illusory"),
    "half of it is read": ({"read_cause": 0.45}, "supported"),
    "a rival could do as much": ({"rival_iia": 0.93}, "partly"),
    "a rival could do everything": ({"rival_iia": 0.98}, "not identifiable"),
    "a cause at the same site does half as much": ({"upstream": {"a": 0.1, "b": 0.45}}, "not identifiable"),
    "its causes do little": ({"upstream": {"a": 0.1, "b": 0.44}}, "supported"),
    "a cause does as much as a poor subspace": ({"iia": 0.85, "low": 0.8, "upstream": {"a": 0.9}}, "partly"),
    "no simple rule reads it": ({"legible": 0.55}, "not identifiable"),
    "a simple rule reads it": ({"legible": 0.65}, "supported"),
    "not high enough": ({"low": 0.88}, "partly"),
    "just high enough": ({"low": 0.885}, "supported"),
    "nothing there at all": ({"low": 0.4, "accuracy": 0.2}, "task not solved"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule(case):
    changes, expected = CASES[case]
    assert judge(replace(GOOD, **changes)).verdict == expected


def test_the_sentence_has_the_figures_the_reason_and_the_nulls_that_were_run():
    assert set(VERDICTS) == {expected for _, expected in CASES.values()}
    partly = judge(replace(GOOD, low=0.8, rival_iia=0.85))
    assert all(
        part in partly.sentence for part in ("h.v: partly", "0.95", "other", "0.85", "base x = 1", "Nulls run: shuffled")
    )
    assert "No nulls were run" in judge(replace(GOOD, p={})).sentence
    assert judge(replace(GOOD, p={})).p is None
    assert "IIA still rose by 0.05 at the training's last check" in judge(replace(GOOD, late=0.05)).sentence
    assert "looked at once" in judge(replace(GOOD, late=0.0, checks=1)).sentence
    assert judge(replace(GOOD, late=0.01, checks=2)).sentence == judge(GOOD).sentence
    assert "swapping b alone flips 0.80" in judge(replace(GOOD, upstream={"a": 0.1, "b": 0.8})).sentence
    assert "more sets of variables than were tried" in judge(replace(GOOD, exhausted=False)).sentence
    assert judge(replace(GOOD, p={"a": 0.01, "b": 0.02})).p == 0.02


# --- statistics ---


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        base = np.repeat(np.arange(100), 3)
        chance = np.clip(0.7 + 0.2 * rng.standard_normal(100), 0, 1)
        low, high = Bootstrap(base, 400, trial).interval(rng.random(300) < chance[base])
        inside += low <= 0.6935 <= high  # the mean of the clipped chances is about .6935
    assert 0.9 <= inside / 200 <= 0.99


def test_pairs_that_share_a_base_are_not_independent():
    hits = np.random.default_rng(0).random(100) < 0.5
    alone = Bootstrap(np.arange(1000)).interval(np.random.default_rng(0).random(1000) < 0.5)
    together = Bootstrap(np.repeat(np.arange(100), 10)).interval(np.repeat(hits, 10))
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_seeds_that_differ_widen_the_interval():
    hits = np.random.default_rng(0).random((3, 500)) < np.array([[0.3], [0.5], [0.7]])
    one, three = (Bootstrap(np.arange(500)).interval(some) for some in (hits[1], hits))
    assert three[1] - three[0] > 2 * (one[1] - one[0])


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    hits = rng.random(1000) < 0.6
    better = hits | (rng.random(1000) < 0.05)
    found = Bootstrap(np.arange(1000)).difference(better, hits)
    assert found.p < 0.01
    assert 0 < found.low < found.mean < found.high < 0.05
    same = Bootstrap(np.arange(1000)).difference(hits, hits)
    assert (same.mean, same.p) == (0, 1)


def test_a_null_s_p_value_is_seldom_small_under_it_and_small_far_above():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        null = Null(tuple(0.5 + 0.03 * rng.standard_normal(25)), 10, 512)
        found.append(null.p(0.5 + 0.03 * rng.standard_normal(10).max()))
    assert np.mean(np.array(found) < 0.05) <= 0.06
    assert null.p(0.8) < 0.05
    assert null.p(null.quantile(0.95)) == pytest.approx(0.05)
    assert Null(null.scores, 100, 512).quantile(0.95) > null.quantile(0.95)


def test_scores_that_agree_are_not_taken_for_certain():
    assert Null((0.5,) * 5, 1, 400).p(0.51) > 0.2
    assert 0 < Null((0.0,) * 5, 1, 400).p(0.01) < 1
