"""Contrasts: pairs are used whose tokens line up and of which the network answers both prompts; it says how many are left out."""

import numpy as np
import pytest

from das import CausalModel, Choice, DasError, Hypothesis, Prompt, Task
from das.circuits import contrasts as module
from das.circuits.contrasts import contrasts
from das.pairs.dataset import Dataset
from das.pairs.through import through
from das.task.tokenizer import make_tokenizer

WORDS = ["ab", "cd ef", "gh", "ij kl"]


def same(left, right):
    return left == right


def said(same, asked):
    return same == asked


task = Task(
    Prompt("go {left} then {right} , {asked:d} :", {True: " yes", False: " no"}),
    {
        "same": Hypothesis(
            CausalModel(same, said, inputs={"left": Choice(WORDS), "right": Choice(WORDS), "asked": Choice([True, False])}),
            "same",
        )
    },
)
tokenizer = make_tokenizer(["go then , : yes no 0 1 " + " ".join(WORDS)])


@pytest.fixture
def data():
    pairs = through(task.hypotheses["same"], "same", task.model.enumerate(), 60, np.random.default_rng(0))
    return Dataset.make(task, tokenizer, {"same": pairs}, ["left.first", "left.last", "right.first", "right.last"])


def answering(data, monkeypatch, wrong=()):
    """Has every prompt answered rightly but for some of the data's."""
    p = data.pairs["same"]
    roles = (p.base, p.base_label), (p.sources[0], p.source_label)
    known = {row: label for rows, labels in roles for row, label in zip(rows, labels, strict=True)}
    ids = {data.prompts.ids[row].tobytes(): -1 if row in wrong else label for row, label in known.items()}
    monkeypatch.setattr(module, "predictions", lambda _, prompts: np.array([ids[row.tobytes()] for row in prompts.ids]))


def test_only_pairs_whose_fields_stand_in_the_same_columns_are_used(data, monkeypatch):
    answering(data, monkeypatch)
    found = contrasts(None, data, "same")
    assert 2 <= len(found) < found.drawn == len(data.pairs["same"])
    assert (found.prompts.lengths == found.others.lengths).all()
    for name, at in found.prompts.positions.items():
        assert (at == found.others.positions[name]).all()
    assert (found.answer != found.other).all()


def test_pairs_that_are_answered_wrongly_are_left_out(data, monkeypatch):
    answering(data, monkeypatch)
    every = contrasts(None, data, "same")
    wrong = int(data.pairs["same"].base[0])
    answering(data, monkeypatch, wrong=[wrong])
    fewer = contrasts(None, data, "same")
    gone = (every.prompts.ids == data.prompts.ids[wrong]).all(1) | (every.others.ids == data.prompts.ids[wrong]).all(1)
    assert len(fewer) == len(every) - gone.sum()


def test_where_too_few_are_left_it_says_how_many_and_why(data, monkeypatch):
    answering(data, monkeypatch, wrong=range(len(data.prompts)))
    n = len(data.pairs["same"])
    with pytest.raises(DasError, match=f"{n} of {n} pairs .* line up .* answers both of 0: too few for a circuit"):
        contrasts(None, data, "same")
