"""Outcomes of edits: kinds of questions follow from the causal model, and a change that does just what it says scores 1."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from transformers import LlamaConfig, LlamaForCausalLM

from das import LM, DasError
from das.interchange.engine import ResumeEngine
from das.judge import outcomes
from das.judge.moves import settings_of
from das.judge.outcomes import Questions, answers, shares
from das.task.files import load_task, run_file
from das.task.tokenizer import make_tokenizer

MOVE = ("France", "Thailand")
FACTS = run_file(Path(ROOT) / "tasks" / "fact_editing.py").FACTS.values()


@pytest.fixture(scope="module")
def task():
    return load_task(Path(ROOT) / "tasks" / "fact_editing.py")


@pytest.fixture(scope="module")
def lm(task):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    every = [task.under(shift) for shift in ("base", *task.shifts)]
    texts = [text for each in every for text in each.render(settings_of(each)).texts]
    tokenizer = make_tokenizer([*texts, " ".join(fact for facts in FACTS for fact in facts)])
    return LM(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)).eval(), tokenizer)


def questions(task, lm, **more):
    about = {"shifts": ["moved", "follows", "kept"], "reverse": ["reverse"], "neighbours": 5} | more
    return Questions(task, lm, "capital", "country", [MOVE], "country.last", **about)


@pytest.fixture
def all_known(monkeypatch):
    """As if the network answered everything."""
    monkeypatch.setattr(outcomes, "_known", lambda engine, data, pairs: {n: np.ones(len(p), bool) for n, p in pairs.items()})


def test_kinds_of_questions_follow_from_the_causal_model(task, lm, all_known):
    groups = questions(task, lm).groups(ResumeEngine(lm))
    name = "France → Thailand"
    found = {}
    for group in groups:
        pairs = group.pairs[name]
        for row, kind in enumerate(group.kinds[name]):
            found.setdefault(kind, []).append(
                (group.under, pairs.base["question"][row], pairs.base["country"][row], pairs.answer[row])
            )
    assert set(found) == set(outcomes.OUTCOMES)
    assert {row[1:] for row in found["efficacy"]} == {("capital", "France", "Bangkok")}
    assert {row[1] for row in found["hops"]} == {"spoken there", "lies in", "lies on"}
    assert ("kept", "official", "France", "French") in found["essence"]
    assert {row[1] for row in found["beside"]} == {"neighbour", "other"}
    assert {row[1:] for row in found["reverse"]} == {("capital of", "Thailand", "France")}
    for under, question, country, answer in found["neighbourhood"]:
        facts = task.under(under).hypothesis("country").model
        row = {"country": np.array([country]), "question": np.array([question]), "shown": np.array(["Peru"])}
        assert country != "France"
        assert facts.run(row)[facts.output].tolist() == [answer]


def test_the_network_as_it_is_keeps_what_should_stay_and_moves_nothing(task, lm, monkeypatch):
    """A network that answers every base rightly."""
    monkeypatch.setattr(outcomes, "_known", lambda engine, data, pairs: {n: np.ones(len(p), bool) for n, p in pairs.items()})
    engine = ResumeEngine(lm)
    groups = questions(task, lm).groups(engine)
    table = answers(engine, groups, MOVE)
    for group in groups:
        some = table[(table["under"] == group.under) & table["outcome"].isin(np.unique(group.kinds["France → Thailand"]))]
        labelled = group.data.pairs["France → Thailand"]
        logits = engine.capture(group.data.prompts.take(labelled.base), []).logits
        tokens = torch.from_numpy(group.data.answers.table(labelled.label)[0][:, 0, 0])
        expected = logits.softmax(-1).gather(1, tokens[:, None])[:, 0]
        assert np.isin(np.round(expected.numpy(), 5), np.round(some["probability"], 5)).all()


def test_only_questions_that_the_network_can_answer_are_asked(task, lm):
    engine = ResumeEngine(lm)
    assert answers(engine, questions(task, lm).groups(engine), MOVE).empty


def test_shares_have_the_order_of_outcomes_and_intervals_that_hold_them():
    rng = np.random.default_rng(0)
    edits = rng.choice(["a → b", "b → c", "c → d"], 200)
    table = pd.DataFrame({"edit": edits, "outcome": rng.choice(["essence", "efficacy"], 200), "right": rng.random(200) < 0.7})
    found = shares(table.assign(method="rome"), ["method"])
    assert found["outcome"].tolist() == ["efficacy", "essence"]
    assert ((found["low"] <= found["share"]) & (found["share"] <= found["high"])).all()
    assert found["questions"].sum() == 200
    assert (found["edits"] == 3).all()


def test_what_cannot_be_asked_is_said(task, lm):
    with pytest.raises(DasError, match="input to be moved"):
        Questions(task, lm, "capital", "contry", [MOVE], "last")
    with pytest.raises(DasError, match="pairs of two different values of country"):
        Questions(task, lm, "capital", "country", [("France", "France")], "last")
