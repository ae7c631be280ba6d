"""A network that answers with two tokens: a run finds the variable that it holds, and apply says whether both tokens come."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from das import LM, Experiment, Prompt, Range, Task
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.subspace import Subspace
from das.network.site import Site
from das.planted.planting import Blocks, Plan, Sum, Xor
from das.use.apply import swapper

QUICK = {
    "layers": [0], "positions": ["x"], "subspace": "nested:k=4", "steps": 60, "batch": 48, "train_pairs": 192, "val_pairs": 60,
    "test_pairs": 60, "check_every": 30, "chosen_seeds": 1, "nulls": 2, "logger": "none",
}  # fmt: skip
HIGH, LOW = (200, 201), (210, 211)
"""The numbers that stand for the high bit, which is said first, and for the low bit."""


def said(value):
    return f" {HIGH[value >> 1]} {LOW[value & 1]}"


def network(plan):
    """x lies in the first token's vector, from which every later token takes it: what is said first by its high bit, what is
    said second, behind a first answer, by its low one."""
    ids = dict(zip([*HIGH, *LOW, "="], plan.tokenizer.convert_tokens_to_ids([*map(str, [*HIGH, *LOW]), "="]), strict=True))
    flag, codes = plan.spare[0][:, 0], plan.numbers[: plan.xor.size]
    empty = torch.zeros(len(plan.tokenizer), plan.width)
    later = empty.index_copy(0, plan.numbers, plan.noise)
    later[ids["="]] -= flag
    for number in HIGH:
        later[ids[number]] = 2 * flag
    embeddings = [empty.index_copy(0, codes, plan.code(block)) for block in (plan.x, plan.y)] + [later]
    head = empty.clone()
    for bit, sign in enumerate((1.0, -1.0)):
        head[ids[HIGH[bit]]] = 2 * sign * plan.x[:, 1] - 5 * flag
        head[ids[LOW[bit]]] = 2 * sign * plan.x[:, 0] + 5 * flag
    layers = [nn.Identity(), Sum(), plan.multiply(keep=torch.outer(flag, flag))]
    return LM(Blocks(embeddings, layers, head), plan.tokenizer, "two tokens")


@pytest.fixture(scope="module")
def planted():
    plan = Plan(Xor(2), 24, seed=0, spare=1)
    plan.xor.inputs["noise"] = Range(0, min(HIGH) - 1)
    known = plan.xor.task()
    task = Task(Prompt(known.prompt.template, said), known.hypotheses, positions=("x", "last"), name="two")
    return SimpleNamespace(task=task, lm=network(plan), basis=plan.x)


def test_a_run_finds_the_variable_whose_answer_has_two_tokens_and_none_in_a_random_network(planted, tmp_path):
    run = Experiment(planted.task, planted.lm, **QUICK).run(tmp_path / "run")
    row = run.table().iloc[0]
    assert row["test_lm_base"] == 1
    assert row["test_iia"] >= 0.98
    assert row["rank"] == 2
    assert row["test_noop"] < 0.6
    entry = run.summary["hypotheses"]["code"]
    assert entry["verdict"] not in ("refuted", "illusory")
    nulls = run.nulls()
    assert nulls[(nulls["null"] == "untrained") & (nulls["width"] == 0)]["iia"].max() < 0.6


def test_apply_says_whether_both_tokens_come(planted):
    """With half of the code swapped, one of the two tokens is the source's."""
    base, source = {"x": [0, 0, 0], "y": [0, 0, 0], "noise": [7, 8, 9]}, {"x": [3, 2, 1], "y": [0, 0, 0], "noise": [1, 2, 3]}
    for columns, right in (([0, 1], [True] * 3), ([1], [False, True, False]), ([0], [False, False, True])):
        feature = Subspace(planted.basis[:, columns][:, None], torch.ones(1, len(columns)))
        mine = swapper(planted.lm, Alignment(Cell("code", Site(0, "x"), Fixed(len(columns))), feature), planted.task)
        found = mine.apply(base, source)
        assert list(found.expected.texts) == [said(3), said(2), said(1)]
        assert found.as_expected.tolist() == right
        assert "as the causal model says in" in found.text()
        assert found.plain()[0]["as_expected"] is right[0]
    assert np.all(found.logits["after"].argmax(-1).numpy() == found.logits["before"].argmax(-1).numpy())
