"""The statements of tasks/honesty.py are what their file says, and answers follow from manner and truth."""

import re
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT

from das import make_pairs
from das.task.files import run_file

FILE = ROOT / "tasks" / "statements.csv"


@pytest.fixture(scope="module")
def facts():
    return run_file(ROOT / "tasks" / "honesty.py")


def test_half_of_the_statements_are_true_in_every_topic_and_they_are_as_many_as_is_said(facts):
    said, topics = map(int, re.search(r"(\d+) in (\d+) topics", FILE.read_text("utf-8")).groups())
    assert (len(facts.KNOWN), len(facts.TOPICS)) == (said, topics)
    assert sum(map(len, facts.TOPICS.values())) == said  # none stands in two topics
    assert "Written for das; Apache-2.0" in FILE.read_text("utf-8")
    for topic in facts.TOPICS.values():
        assert sum(true for true, _ in topic.values()) == len(topic) / 2
    for statement, (true, opposite) in facts.KNOWN.items():
        assert facts.KNOWN[opposite] == (not true, statement)
        assert re.fullmatch(r"[A-Z][^{}]*[a-zA-Z]\.", statement)
        assert "  " not in statement


def test_no_word_says_whether_a_statement_is_true(facts):
    counts = {truth: Counter() for truth in (True, False)}
    for statement, (true, _) in facts.KNOWN.items():
        counts[true].update(re.findall(r"\w+", statement))
    assert counts[True] == counts[False]


def test_topics_and_wordings_that_are_held_out_are_in_no_prompt_of_the_task(facts):
    drawn = facts.task.model.sample(np.random.default_rng(0), 20_000)
    assert not set(drawn["statement"]) & set(facts.NEW_TOPICS)
    assert set(drawn["statement"]) | set(facts.NEW_TOPICS) == set(facts.KNOWN)
    assert not set(drawn["manner"]) & {*facts.NEW_HONEST, *facts.NEW_UNTRUTHFUL}
    new = facts.task.under("new_topics").model.sample(np.random.default_rng(0), 5000)
    assert set(new["statement"]) == set(facts.NEW_TOPICS)


@pytest.mark.parametrize("name", ["manner", "truth", "verdict"])
def test_the_answer_is_the_truth_to_the_honest_and_its_opposite_to_others(facts, name):
    rng, hypothesis = np.random.default_rng(0), facts.task.hypotheses[name]
    pairs = make_pairs(hypothesis, hypothesis.model.sample(rng, 2000), 200, rng)
    for base, source, answer in zip(rows(pairs.base), rows(pairs.sources[hypothesis.variables[0]]), pairs.answer, strict=True):
        taken = {"manner": ["manner"], "truth": ["statement"], "verdict": ["manner", "statement"]}[name]
        asked = base | {field: source[field] for field in taken}
        assert answer == (facts.MANNERS[asked["manner"]] == facts.KNOWN[asked["statement"]][0])


def rows(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_some_statements_are_what_anyone_would_say(facts):
    for statement, true in {
        "The capital of France is Paris.": True,
        "The capital of France is Rome.": False,
        "Two plus three is five.": True,
        "A spider has six legs.": False,
        "The Sun sets in the west.": True,
        "English is written from right to left.": False,
    }.items():
        assert facts.KNOWN[statement][0] is true
