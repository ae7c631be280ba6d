"""A task whose answers have several tokens goes through a whole run: training, nulls, scorecard, verdict, measures, figures."""

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import das
from das import LM, CausalModel, Hypothesis, Prompt, Range, Task
from das.errors import DasError
from das.judge.evidence import questions
from das.judge.nulls import shuffled
from das.pairs.dataset import Dataset
from das.progress import console
from das.run.fit import fit
from das.run.fit_settings import FitSettings
from das.task.asked import drawn
from das.task.tokenizer import make_tokenizer

DRAWS = True
"""The files that runs draw are looked at."""

QUICK = {
    "layers": [1], "positions": ["d", "last"], "subspace": "nested:k=2", "steps": 4, "batch": 16, "train_pairs": 64, "val_pairs": 40,
    "test_pairs": 40, "check_every": 2, "chosen_seeds": 1, "nulls": 2, "logger": "none",
}  # fmt: skip


def carry(b, d):
    return (b + d) > 9


def total(a, b, c, d, carry):
    return 10 * (a + c) + 10 * carry + (b + d) % 10


def tens(a, c):
    return a + c


def number(tens, b):
    return 10 * tens + b


def task(answers=lambda v: f" {v} .", **more):
    model = CausalModel(carry, total, inputs={k: Range(0, 9) for k in "abcd"})
    return Task(Prompt("{a}{b} + {c}{d} =", answers), {"carry": Hypothesis(model, "carry")}, ("b", "d", "last"), **more)


@cache
def network():
    tokenizer = make_tokenizer([" ".join("0123456789") + " + = ."])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    return LM(LlamaForCausalLM(config), tokenizer, "tiny")


def margin(reply):
    return reply.log_probability("label") - reply.log_probability("other")


def test_a_sum_of_digits_goes_through_a_whole_run_with_measures(tmp_path):
    names = ["probability", "logit_difference", "answer_rank", "margin"]
    experiment = das.Experiment(task(measures={"margin": margin}), network(), **QUICK, measures=names, loss="logit_difference")
    run = experiment.run(tmp_path / "run")
    row = next(row for _, row in run.table().iterrows() if row["position"] == "last")
    assert 0 <= row["test_probability"] < 1
    assert row["test_answer_rank"] >= 1
    assert row["test_flip_margin"] == pytest.approx(row["test_logit_difference"], abs=1e-5)
    for name in names:
        assert all(math.isfinite(row[f"test_{beside}{name}"]) for beside in ("", "noop_", "whole_", "random_"))
        assert (run.folder / f"heatmap_carry_{name}.png").exists()
    assert row["test_noop_probability"] != row["test_whole_probability"]
    assert run.summary["hypotheses"]["carry"]["verdict"]
    assert set(run.nulls()["null"]) == {"untrained", "shuffled", "random"}
    assert run.heatmap("carry", metric="margin").get_title()
    with pytest.raises(DasError, match="unknown metric"):
        run.heatmap("carry", metric="margins")


def test_replies_are_how_the_network_goes_on_under_the_swap(tmp_path):
    run = das.Experiment(task(), network(), **QUICK | {"nulls": 0, "steps": 20}).run(tmp_path / "run")
    cell = next((run.folder / "cells").glob("*/replies.parquet")).parent.name
    replies = pd.read_parquet(run.folder / "cells" / cell / "replies.parquet")["reply"]
    texts, pairs = pd.read_parquet(run.folder / "texts.parquet"), pd.read_parquet(run.folder / "pairs.parquet")
    test = pairs[pairs["split"] == "test"].reset_index(drop=True)
    swapper = run.swapper(cell, task=task(), lm=network())
    written = swapper.generate(*(settings(test, role) for role in ("base", "source.carry")), tokens=3).tokens["after"]
    examples = pd.read_parquet(run.folder / "examples.parquet")
    hits = examples[examples["cell"] == cell]["hit"].to_numpy()
    assert not hits.all()
    for reply, answer, hit, tokens in zip(replies, texts["answer"], hits, written, strict=True):
        assert (reply == answer) == hit
        known = network().tokenizer(reply.removesuffix("…"), add_special_tokens=False)["input_ids"]
        assert tokens[: len(known)] == known, "what is kept is the beginning of what the network writes of itself"
    assert replies.str.endswith("…").any()


def settings(pairs, role):
    return {name: pairs[f"{role}.{name}"].to_numpy(int) for name in "abcd"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"measures": ["probabilities"]}, "probability"), ({"loss": "entropy"}, "cross_entropy")],
)
def test_an_unknown_measure_or_loss_is_named_before_anything_is_run(settings, words, tmp_path):
    with pytest.raises(DasError, match=words):
        das.Experiment(task(), network(), **QUICK, **settings)


def test_sums_that_begin_one_another_go_through_a_run_that_matches_distributions(tmp_path):
    """Where nothing but the tens differ, the source has the counterfactual answer; of a carry nobody has."""
    model = CausalModel(tens, number, inputs={k: Range(0, 9) for k in "abc"})
    open_ended = Task(Prompt("{a}0 + {c}{b} =", lambda v: f" {v}"), {"tens": Hypothesis(model, "tens")})
    quick = QUICK | {"train_pairs": 32, "val_pairs": 16, "test_pairs": 16, "positions": ["last"], "nulls": 0, "steps": 2}
    experiment = das.Experiment(open_ended, network(), **quick, families={"only": 1.0}, measures=["kl"], loss="kl")
    run = experiment.run(tmp_path / "run")
    row = run.table().iloc[0]
    assert all(row[f"test_{beside}kl"] >= 0 for beside in ("", "noop_", "whole_", "random_"))
    assert row["test_flip_kl"] >= 0
    assert (run.folder / "heatmap_tens_kl.png").exists()
    mixed = das.Experiment(task(), network(), **quick, loss="kl")
    with pytest.raises(DasError, match=r"loss 'kl' goes by .* have an answer that is neither's"):
        mixed.run(tmp_path / "mixed")
    assert not (tmp_path / "mixed" / "cells").exists()


def test_answers_that_are_dealt_anew_take_the_prompts_that_have_them_along():
    quick = QUICK | {"positions": ["last"]}
    data = das.Experiment(task(), network(), **quick, families={"keep": 0.5, "flip": 0.5}).material().data["test"]
    p = data.pairs["carry"]
    answer = dict(zip([*p.base, *p.first_source], [*p.base_label, *p.source_label], strict=True))
    dealt = shuffled(data, [0], 0)
    q = dealt.pairs["carry~0"]
    assert q.matched.sum() == p.matched.sum() >= 20
    assert (q.label != p.label).any()
    same = dict(enumerate(dealt.identities))
    known = {data.identities[row]: number for row, number in answer.items()}
    assert [known[same[row]] for row in q.match[q.matched]] == q.label[q.matched].tolist()


def parity(a):
    return a % 2


def test_whether_answers_must_end_is_the_same_for_all_splits_and_questions():
    """One setting in 1500 has an answer that goes on where another ends: in one split, and not among the prompts that are
    drawn to compare answers with."""
    inputs = {"a": Range(0, 1499)}
    once = np.setdiff1d(np.arange(1500), drawn(CausalModel(parity, inputs=inputs).inputs)["a"])[0]

    def rare(a, parity):
        return np.where(a == once, 2, parity)

    model = CausalModel(parity, rare, inputs=inputs)
    asked = Task(Prompt("{a} =", {0: " +", 1: " .", 2: " + +"}), {"odd": Hypothesis(model, "parity")})
    sizes = {"train_pairs": 300, "val_pairs": 100, "test_pairs": 100}
    layout = das.Experiment(asked, network(), layers=[1], positions=["last"], **sizes)
    m = layout.material()
    plus = network().tokenizer(" +", add_special_tokens=False)["input_ids"]
    assert [data.answers.going_on.tolist() for data in m.data.values()] == [plus] * 3
    put = questions(asked, ["odd"], m.pool, 0, m.pairs["test"])
    assert Dataset.make(asked, network().tokenizer, put, ["last"], m.outputs).answers.going_on.tolist() == plus


def test_where_no_prompt_has_the_answer_a_divergence_is_missing_and_that_is_said(tmp_path, capsys):
    """A carry that is moved into another sum gives the base's answer, or one that nobody has."""
    quick = QUICK | {"positions": ["last"], "nulls": 0, "steps": 2, "train_pairs": 32}
    experiment = das.Experiment(task(), network(), **quick, families={"keep": 0.5, "flip": 0.5}, measures=["kl"])
    run = experiment.run(tmp_path / "run", console())
    pairs = experiment.material().data["test"].pairs["carry"]
    assert 0 < pairs.matched.sum() < len(pairs)
    assert f"kl of carry: {pairs.matched.sum()} of {len(pairs)} pairs; the others" in capsys.readouterr().out
    row = run.table().iloc[0]
    assert row["test_kl"] > 0
    assert not (pairs.matched & pairs.flips).any()
    assert math.isnan(row.get("test_flip_kl", math.nan)), "of pairs that flip, none has a prompt to go by: no value, and not 0"


def test_nothing_would_teach_a_network_where_such_sums_end(tmp_path):
    with pytest.raises(DasError, match="End all answers with"):
        fit(FitSettings(task(lambda v: f" {v}"), out=str(tmp_path / "net")))
