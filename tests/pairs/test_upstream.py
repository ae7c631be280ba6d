"""Does a site hold a variable, or what it is computed from? Networks whose site holds exactly what we say."""

from itertools import combinations

import numpy as np
import pytest
import torch

from das import Experiment, make_pairs
from das.interchange.score import score
from das.interchange.selftest import make_engine
from das.interchange.subspace import Subspace
from das.judge.decoding import decoded, gain
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.pairs.upstream import ordinary, telling
from das.planted.held import ACCOUNTS, of_inputs, of_variable

LAST = Site(0, "last")


def pool_of(planted, n=1500):
    return planted.task.model.sample(np.random.default_rng(0), n)


def hypothesis_of(planted):
    ((name, hypothesis),) = planted.task.hypotheses.items()
    return name, hypothesis


def subsets(planted):
    """Every set of the directions in which the site holds a bit, as a subspace."""
    own = planted.lm.model.model.layers[1].read.weight.detach().T
    for size in range(1, own.shape[1] + 1):
        for chosen in combinations(range(own.shape[1]), size):
            yield Subspace(own[:, None, list(chosen)], torch.ones(1, size))


def best(planted, pairs):
    """The largest share of the pairs on which any of these gives the answer: brute force."""
    data = Dataset.make(planted.task, planted.lm.tokenizer, {"asked": pairs}, ["last"])
    return float(score(make_engine(planted.lm), data, {0: ("asked", LAST, list(subsets(planted)))})[0].mean(1).max())


@pytest.mark.parametrize("name", ACCOUNTS)
def test_telling_pairs_are_flipped_by_a_cause_alone_and_through_the_variable(name):
    _, hypothesis = hypothesis_of(of_inputs(name, 0))
    model, (variable,) = hypothesis.model, hypothesis.variables
    told = telling(hypothesis, model.sample(np.random.default_rng(0), 1500), np.random.default_rng(1))
    assert set(told) == (set(model.parents(variable)) if len(model.parents(variable)) > 1 else set())
    for cause, pairs in told.items():
        base, source = model.run(pairs.base), model.run(pairs.sources[cause])
        assert (base[variable] == source[variable]).all()
        assert (pairs.answer == model.interchange(pairs.base, pairs.sources)[model.output]).all()
        assert pairs.flips.all()
        assert (pairs.base_answer == model.interchange(pairs.base, {variable: pairs.sources[cause]})[model.output]).all()
        held = model.intervene(pairs.base, {cause: source[cause], variable: base[variable]})[model.output]
        assert (held == pairs.base_answer).all()


@pytest.mark.parametrize("name", ACCOUNTS)
def test_where_only_inputs_lie_the_claim_scores_one_and_so_do_its_causes(name):
    planted = of_inputs(name, 1)
    _, hypothesis = hypothesis_of(planted)
    pool = pool_of(planted)
    assert best(planted, make_pairs(hypothesis, pool, 200, np.random.default_rng(2))) == 1
    for pairs in telling(hypothesis, pool, np.random.default_rng(1), 100).values():
        assert best(planted, pairs) == 1


@pytest.mark.parametrize("name", ACCOUNTS)
def test_where_the_variable_lies_no_swap_of_what_is_held_does_what_a_cause_would(name):
    planted = of_variable(name, 1)
    _, hypothesis = hypothesis_of(planted)
    pool = pool_of(planted)
    assert best(planted, make_pairs(hypothesis, pool, 200, np.random.default_rng(2))) == 1
    for pairs in telling(hypothesis, pool, np.random.default_rng(1), 100).values():
        assert best(planted, pairs) < 0.8  # the other input flips half of them


def test_ordinary_pairs_are_of_the_claims_own_prompts_and_half_of_them_flip():
    _, hypothesis = hypothesis_of(of_inputs("xor", 0))
    pool = hypothesis.model.sample(np.random.default_rng(0), 100)
    like = make_pairs(hypothesis, pool, 60, np.random.default_rng(0))
    made = ordinary(hypothesis, ["a", "b"], like, np.random.default_rng(1))
    assert list(made) == ["a", "b"]
    for cause, pairs in made.items():
        assert (len(pairs), pairs.flips.mean()) == (60, 0.5)
        assert (pairs.answer == hypothesis.model.interchange(pairs.base, pairs.sources)[hypothesis.model.output]).all()
        assert set(pairs.base["noise"].tolist()) <= set(pool["noise"].tolist())
        assert list(pairs.sources) == [cause]


QUICK = {
    "subspace": "nested:k=8", "chosen_seeds": 1, "closed_forms": [], "train_pairs": 1024, "val_pairs": 300, "test_pairs": 300, "steps": 150, "batch": 64,
    "check_every": 50, "layers": [0], "positions": ["last"], "logger": "none",
}  # fmt: skip

MORE = [
    ("xor, the other way", of_inputs, "not identifiable"),
    ("and", of_inputs, "not identifiable"),
    ("xor", of_variable, "supported"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("account", "make", "verdict"),
    [
        ("xor", of_inputs, "not identifiable"),
        ("sum", of_variable, "supported"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in MORE),
    ],
)
def test_the_verdict_tells_a_variable_from_its_causes(account, make, verdict, tmp_path):
    planted = make(account, 3)
    run = Experiment(planted.task, planted.lm, **QUICK).run(tmp_path / "run")
    (entry,) = run.summary["hypotheses"].values()
    assert entry["verdict"]["verdict"] == verdict, entry["verdict"]["sentence"]
    upstream = entry["verdict"]["facts"]["upstream"]
    assert upstream == entry["scorecard"]["upstream"]
    assert (min if make is of_inputs else max)(upstream.values()) == pytest.approx(float(make is of_inputs), abs=0.4)
    if make is of_inputs:
        assert "what the variable is computed from" in entry["verdict"]["sentence"]


# --- a simple rule ---


def test_a_code_of_a_value_each_is_read_though_it_is_not_linear_in_classes():
    """Numbers modulo 12 on a circle that is gone around five times: quarters of them lie anywhere on it."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, 600)
    angle = torch.from_numpy(2 * np.pi * 5 * values / 12)
    rows = torch.stack([angle.cos(), angle.sin()], 1).float() + 0.05 * torch.randn(
        600, 2, generator=torch.Generator().manual_seed(0)
    )
    assert gain(*decoded(rows[:300], rows[300:], values[:300], values[300:])) > 0.9


@pytest.mark.parametrize("bits", [2, 3])
def test_a_parity_is_read_from_its_bits_by_no_simple_rule(bits):
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2, (600, bits))
    rows, parity = torch.from_numpy(2.0 * table - 1).float(), table.sum(1) % 2
    assert gain(*decoded(rows[:300], rows[300:], parity[:300], parity[300:])) < 0.6
