"""Dose, selectivity and ablations: what they must be where a variable lies in one direction that we planted, and where not."""

from functools import cache

import numpy as np
import pytest
import torch

from das import Experiment, load_task
from das.causal.columns import differ
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.judge.decoding import arbitrary, decoded
from das.judge.dose import DOSES, dose_questions
from das.judge.evidence import questions, scorecards, values_of
from das.pairs.dataset import Dataset
from das.planted.planting import plant


@cache
def planted():
    """A bit that lies in one direction, the material of an experiment with it, and what is asked."""
    made = plant(1)
    e = Experiment(made.task, made.lm, **made.search, train_pairs=64, val_pairs=300, test_pairs=300)
    m = e.material()
    data = Dataset.make(e.task, e.tokenizer, questions(e.task, e.hypotheses, m.pool, 0), e.positions)
    return made, e, m, data


@cache
def card(which):
    """The scorecard of the planted direction, turned round, of a random one orthogonal to it, of both, of the whole vector."""
    made, e, m, data = planted()
    other = random_basis(len(made.basis), 1, torch.Generator().manual_seed(1))
    other = torch.nn.functional.normalize(other - made.basis @ (made.basis.T @ other), dim=0)
    bases = {"planted": made.basis, "turned": -made.basis, "other": other, "both": torch.cat([made.basis, other], 1)}
    feature = Whole() if which == "whole" else Subspace(bases[which][:, None], torch.ones(1, bases[which].shape[1]))
    cell, values = e.grid()[-1], {split: values_of(e.task, m.pairs[split]) for split in ("val", "test")}
    return scorecards([Alignment(Cell(cell.hypothesis, cell.site, Fixed(1)), feature)], m.engine, data, m.data, values)[0][0]


def test_more_of_the_planted_direction_makes_the_planted_answer_likelier_and_surer():
    dose = card("planted").dose["code"]
    assert (np.diff(dose["add"]["probability"]) > 0).all()
    assert (np.diff(dose["add"]["accuracy"]) >= 0).all()
    assert (dose["add"]["accuracy"][0], dose["add"]["accuracy"][-1]) == (0, 1)
    assert dose["add"]["accuracy"][4] == dose["random"]["accuracy"][4] == pytest.approx(0.5, abs=0.15)  # none is added


def test_as_much_of_another_direction_does_not():
    dose = card("other").dose["code"]
    assert len(set(dose["add"]["accuracy"])) == 1
    assert np.ptp(dose["add"]["probability"]) < 0.1 < np.ptp(card("planted").dose["code"]["add"]["probability"])
    assert set(dose["piecewise"]["accuracy"]) == {1.0}


def test_turned_up_the_own_answer_stays_and_turned_round_it_goes():
    curve = card("planted").dose["code"]["piecewise"]
    assert curve["accuracy"][4:] == [1] * 5
    assert curve["accuracy"][:2] == [0, 0]
    assert (np.diff(curve["probability"]) > 0).all()


def test_which_way_round_a_column_stands_does_not_matter():
    one, other = card("planted").dose["code"], card("turned").dose["code"]
    # the upper level is the other one now, and what was added is taken away
    np.testing.assert_allclose(np.array(one["add"]["accuracy"]) + other["add"]["accuracy"][::-1], 1)
    assert one["piecewise"] == other["piecewise"]


def test_doses_are_in_natural_spreads():
    assert card("planted").dose["code"]["alpha"] == list(DOSES)
    assert card("planted").dose["code"]["spread"] == pytest.approx(1, abs=0.02)  # the bit is ±1 along it


def test_a_feature_of_several_columns_is_tried_by_its_first_and_the_whole_vector_by_none():
    for measure in ("probability", "accuracy"):
        np.testing.assert_allclose(card("both").dose["code"]["add"][measure], card("planted").dose["code"]["add"][measure])
    assert card("whole").dose == {}


def test_projected_out_or_resampled_the_planted_variable_leaves_chance_and_another_direction_all():
    found = card("planted")
    for left in (found.resampled, found.averaged, found.zeroed):
        assert 0.3 < left < 0.6
    assert found.zero_ablation == found.clean - found.zeroed
    beside = card("other")
    assert beside.resampled == beside.averaged == beside.zeroed == beside.clean == 1


def test_selectivity_is_high_where_the_variable_is_and_none_where_it_is_not():
    assert card("planted").decoding["code"][0] == 1
    assert card("planted").selectivity["code"] > 0.4
    assert abs(card("other").selectivity["code"]) < 0.06
    assert card("planted").plain()["selectivity"] == card("planted").selectivity


def test_arbitrary_values_go_by_the_prompt_and_are_the_same_each_time():
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    own, prompts = rng.integers(0, 2, 400), rng.integers(0, 40, 400)
    rows = torch.randn(40, 64, generator=generator)[prompts]  # each prompt again and again
    learned = arbitrary(rows, rows, own, prompts, prompts)
    assert learned == arbitrary(rows, rows, own, prompts, prompts)
    fresh = torch.randn(400, 64, generator=generator)
    assert arbitrary(rows, fresh, own, prompts, np.arange(400)) < 0.62
    assert decoded(rows, rows, own[prompts], own[prompts])[0] > 0.9  # what could be learned by heart


# --- what is asked ---


@pytest.mark.parametrize("name", ["left_boundary", "midpoint", "left_and_right"])
def test_every_level_is_asked_of_the_same_prompts_and_every_source_is_at_it(name):
    task = load_task("price_tagging")
    hypothesis, pool = task.hypotheses[name], task.model.sample(np.random.default_rng(0), 3000)
    found = dose_questions(hypothesis, pool, np.random.default_rng(0))
    assert {question.split()[1] for question in found} == set(hypothesis.variables)
    for question, pairs in found.items():
        _, v, level = question.split()
        model = hypothesis.model
        assert (pairs.base["amount"] == found[f"level {v} own"].base["amount"]).all()
        assert not differ(pairs.answer, model.interchange(pairs.base, {v: pairs.sources[v]})[model.output]).any()
        if level != "own":
            values = [model.run(found[f"level {v} {level}"].sources[v])[v] for level in (0, 1)]
            assert values[0].max() < values[1].min()


def test_where_nothing_hangs_on_the_variable_nothing_is_asked():
    task = load_task("price_tagging")
    hypothesis = task.hypotheses["left_boundary"]
    pool = task.model.sample(np.random.default_rng(0), 3000)
    one = {name: column[pool["amount"] > pool["lower"]] for name, column in pool.items()}
    assert dose_questions(hypothesis, one, np.random.default_rng(0)) == {}
    few = {name: column[:12] for name, column in pool.items()}
    assert dose_questions(hypothesis, few, np.random.default_rng(0)) == {}
