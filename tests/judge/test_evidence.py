"""Evidence: what each figure must be on networks whose variables we planted, and on pairs whose answers we know."""

from functools import cache

import numpy as np
import pytest
import torch

from das import Experiment, load_task
from das.causal.columns import differ, take
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.batch import Batch
from das.interchange.engine import Among
from das.interchange.feature import Whole
from das.interchange.score import captures_for
from das.interchange.subspace import Subspace, random_basis
from das.judge.decoding import classes, decoded
from das.judge.evidence import Scorecard, key, questions, scorecards, values_of
from das.judge.manifold import Natural, off_manifold
from das.judge.nulls import SITES, draws_of, redrawn, reinitialised, shuffled, twin
from das.judge.reading import read
from das.pairs.dataset import Dataset
from das.pairs.drawer import make_pairs
from das.pairs.trials import trials
from das.planted.structures import LOUD, STRUCTURES

TASK = load_task("price_tagging")
POOL = TASK.model.sample(np.random.default_rng(0), 3000)


# --- trials: every question is what it says, by the causal model ---


@pytest.fixture(scope="module", params=list(TASK.hypotheses))
def asked(request):
    hypothesis = TASK.hypotheses[request.param]
    return hypothesis, trials(hypothesis, POOL, np.random.default_rng(1))


def swapped(hypothesis, base, source, variables):
    model = hypothesis.model
    return model.interchange(base, dict.fromkeys(variables, source))[model.output]


def source_of(pairs):
    """The one source that all swapped variables share."""
    return pairs.sources[next(v for i, v in enumerate(pairs.sources) if pairs.swapped[0, i])]


def test_every_answer_is_the_base_s_or_that_of_the_interchange(asked):
    hypothesis, questions = asked
    for name, pairs in questions.items():
        mine = [v for i, v in enumerate(pairs.sources) if pairs.swapped[0, i]]
        truth = swapped(hypothesis, pairs.base, source_of(pairs), mine)
        if name.split()[0] in ("resampled", "isolate", "complete"):
            truth = pairs.base_answer
        if name == "rest":
            truth = swapped(hypothesis, source_of(pairs), pairs.base, mine)
        assert not differ(pairs.answer, truth).any(), name


def test_causes_flip_and_isolations_would_flip_by_the_other_variable_alone(asked):
    hypothesis, questions = asked
    for name, pairs in questions.items():
        kind, *variables = name.split()
        if kind == "cause":
            assert pairs.flips.all()
        if kind == "isolate":
            variable, _, other = variables
            source = source_of(pairs)
            assert not differ(pairs.base_answer, swapped(hypothesis, pairs.base, source, [variable])).any()
            assert differ(pairs.base_answer, swapped(hypothesis, pairs.base, source, [other])).all()


def test_where_completeness_is_asked_the_variables_alone_decide(asked):
    hypothesis, questions = asked
    pairs = questions["complete"]
    source = source_of(pairs)
    assert differ(pairs.base_answer, swapped(hypothesis, pairs.base, source, hypothesis.variables)).all()
    assert not differ(pairs.base_answer, swapped(hypothesis, source, pairs.base, hypothesis.variables)).any()


def test_a_variable_is_not_isolated_from_what_acts_through_it_alone():
    names = trials(TASK.hypotheses["bracket"], POOL, np.random.default_rng(1))
    assert {"cause bracket", "isolate bracket from amount"} <= set(names)
    midpoints = trials(TASK.hypotheses["left_and_right"], POOL, np.random.default_rng(1))
    assert "isolate above_lower from below_upper" in midpoints


def test_a_few_prompts_are_asked_few_questions():
    few = trials(TASK.hypotheses["bracket"], take(POOL, np.arange(10)), np.random.default_rng(1))
    assert {len(pairs) for pairs in few.values()} == {10}


def test_natural_pairs_are_the_same_for_all_hypotheses():
    found = questions(TASK, TASK.hypotheses, POOL, 0)
    bases = [found[key(name, "natural")].base["amount"] for name in TASK.hypotheses]
    assert all((base == bases[0]).all() for base in bases)


def test_the_family_isolate_keeps_the_answer_where_another_variable_would_change_it():
    hypothesis = TASK.hypotheses["left_boundary"]
    pairs = make_pairs(hypothesis, POOL, 200, np.random.default_rng(0), {"isolate": 1.0})
    source = pairs.sources["above_lower"]
    assert not pairs.flips.any()
    others = [differ(pairs.base_answer, swapped(hypothesis, pairs.base, source, [v])) for v in ("amount", "lower", "upper")]
    assert np.any(others, axis=0).all()


# --- scorecards: planted variables ---


@cache
def planted(name):
    """A structure, its experiment, material and questions."""
    made = STRUCTURES[name].make(0)
    e = Experiment(made.task, made.lm, **made.search, train_pairs=64, val_pairs=300, test_pairs=300)
    m = e.material()
    data = Dataset.make(e.task, e.tokenizer, questions(e.task, e.hypotheses, m.pool, 0), e.positions)
    return made, e, m, data


def aligned(name, basis):
    """The hand-made alignment with a basis (d, columns), None for the whole vector, at the last site of the search."""
    _, e, _, _ = planted(name)
    cell = e.grid()[-1]
    subspace = Whole(1) if basis is None else Subspace(basis[:, None], torch.ones(1, basis.shape[1]))
    return Alignment(Cell(cell.hypothesis, cell.site, Fixed(1)), subspace)


def card(name, basis, room=0.0):
    _, e, m, data = planted(name)
    values = {split: values_of(e.task, m.pairs[split]) for split in ("val", "test")}
    return scorecards([aligned(name, basis)], m.engine, data, m.data, values, room=room)[0][0]


def test_captures_that_are_kept_change_nothing():
    basis = planted("plain")[0].basis
    assert card("plain", basis, room=2.0**30) == card("plain", basis)


def test_the_planted_subspace_has_a_perfect_scorecard():
    found = card("plain", planted("plain")[0].basis)
    assert found.natural == found.cause["code"] == 1
    assert found.decoding["code"][0] == 1
    assert found.isolate["code"]["y"] == found.complete == found.clean == found.disentangle == 1
    assert found.resampled == pytest.approx(found.expected)
    assert found.rest == 1
    assert found.restored == found.expected_restored < 0.5  # y is of the other prompt then
    assert found.read_cause["code"] == 1
    assert found.unread_cause["code"] == 0
    assert found.dormancy < 0.01


@pytest.mark.parametrize("among", [8, 500])
def test_what_is_read_is_seen_for_as_many_answers_as_there_are(among):
    """At the end of the last layer the head reads the answers' own directions: dozens, for a product of two numbers."""
    e = Experiment("arithmetic", "arithmetic-tiny", layers=[3], positions=["last"], train_pairs=8, val_pairs=8, test_pairs=300)
    m, site = e.material(), e.grid()[0].site
    network = m.lm.model
    tokens = np.unique(m.data["test"].pairs["sum"].label[:128])[:among]
    rows = network.lm_head.weight[tokens] * network.model.norm.weight
    directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][: min(among - 1, 32)].T
    subspace = Subspace(directions[:, None], torch.ones(1, directions.shape[1]))
    assert read(m.engine, m.data["test"], "sum", site, subspace).parts.share > 0.95


def test_another_subspace_has_a_poor_one():
    made = planted("plain")[0]
    rest = random_basis(len(made.basis), 2, torch.Generator().manual_seed(3))
    rest = torch.linalg.qr(rest - made.basis @ (made.basis.T @ rest))[0]
    found = card("plain", rest)
    assert found.cause["code"] < 0.05
    assert found.isolate["code"]["y"] > 0.5
    assert found.ablation < 0.1
    assert found.decoding["code"][0] < 0.6
    assert found.recovery < 0.2


def test_the_whole_vector_isolates_nothing():
    found = card("plain", None)
    assert found.isolate["code"]["y"] < 0.5
    assert found.read_share is None
    assert found.recovery == pytest.approx(1)


def test_what_an_illusion_s_network_reads_does_nothing_alone():
    made = planted("illusory")[0]
    found = card("illusory", made.basis)
    assert found.cause["code"] == 1
    assert found.read_cause["code"] == found.unread_cause["code"] == found.whole_cause["code"] == 0
    assert found.read_share == pytest.approx(0.5, abs=0.01)
    assert found.dormancy > 0.9


def test_a_louder_copy_is_no_illusion():
    made = planted("louder distractor")[0]
    mixed = torch.linalg.qr(made.basis[:, :2] + made.basis[:, 2:])[0]
    found = card("louder distractor", mixed)
    assert found.cause["code"] == found.read_cause["code"] == 1
    assert 0.5 < found.dormancy < 0.9  # most of it is fed by the copy, but what is read varies as well


def test_nor_is_a_copy_that_is_ten_times_as_loud():
    made = planted("louder distractor")[0]
    found = card("louder distractor", torch.linalg.qr(made.basis[:, :2] + LOUD * made.basis[:, 2:])[0])
    assert found.cause["code"] == found.read_cause["code"] == 1
    assert found.read_share < 0.02


@pytest.mark.parametrize(("name", "columns"), [("plain", 8), ("plain", 16), ("illusory", 4), ("illusory", 8)])
def test_columns_to_spare_change_nothing_of_it(name, columns):
    """They lean a little into what is read for other reasons."""
    basis, generator = planted(name)[0].basis, torch.Generator().manual_seed(0)
    spare = random_basis(len(basis), columns - 2, generator)
    spare = torch.linalg.qr(spare - basis @ (basis.T @ spare))[0]
    network = planted(name)[0].lm.model
    others = network.model.layers[1].y.weight.T
    spare = spare - 0.96 * others @ (others.T @ spare)
    found = card(name, torch.linalg.qr(torch.cat([basis, spare], 1))[0])
    assert found.cause["code"] > 0.95
    assert found.read_cause["code"] == (0 if name == "illusory" else found.cause["code"])
    assert found.unread_cause["code"] == 0
    assert (found.dormancy > 0.9) == (name == "illusory")


def test_read_and_unread_part_are_orthonormal_and_apart():
    made, _, m, data = planted("plain")
    basis = random_basis(len(made.basis), 4, torch.Generator().manual_seed(0))
    a = aligned("plain", basis)
    parts = read(m.engine, data, key(a.cell.hypothesis, "natural"), a.cell.site, a.feature).parts
    one, other = (part.basis[:, 0, part.mask[0] > 1e-3] for part in (parts.inside, parts.outside))
    torch.testing.assert_close(one.T @ one, torch.eye(one.shape[1]), atol=1e-5, rtol=0)
    assert (one.T @ other).abs().max() < 1e-4
    assert 0 < parts.share < 1


def test_figures_that_follow_from_others():
    made = Scorecard(clean=1.0, resampled=0.6, wiped=0.5, restored=0.9, cause={"a": 0.8}, isolate={"a": {"b": 0.6, "c": 0.4}})
    assert made.ablation == pytest.approx(0.4)
    assert made.recovery == pytest.approx(0.8)
    assert made.disentangle == pytest.approx(0.65)
    assert Scorecard(clean=1.0, wiped=0.99, restored=1.0).recovery is None
    assert Scorecard().disentangle is None


def test_a_complement_swaps_the_rest():
    basis = random_basis(8, 3, torch.Generator().manual_seed(0))[:, None]
    subspace = Subspace(basis, torch.tensor([[1.0, 1.0, 0.0]]))
    base, source = torch.randn(5, 8), torch.randn(1, 5, 8)
    whole = Whole(1)
    torch.testing.assert_close(subspace.swap(base, source) + subspace.complement.swap(base, source), whole.swap(base, source))
    assert not whole.complement.swap(base, source).any()
    assert subspace.complement.complement == subspace


# --- decoding ---


def test_values_become_classes():
    few = classes(np.array(["a", "b", "a"]), np.array(["b", "b"]))
    assert [part.tolist() for part in few[0]] == [[0, 1, 0], [1, 1]]
    many = classes(np.arange(100), np.array([0, 30, 60, 90]))
    assert many[0][1].tolist() == [0, 1, 2, 3]
    assert len(classes(np.random.default_rng(0).random((50, 2)), np.random.default_rng(1).random((9, 2)))) == 2
    assert classes(np.array([str(i) for i in range(50)]), np.array(["1"])) == []


def test_what_lies_in_the_coordinates_is_decoded_and_noise_is_not():
    generator = torch.Generator().manual_seed(0)
    x, z = torch.randn(400, 3, generator=generator), torch.randn(400, 3, generator=generator)
    values, held = ((rows[:, 0] > 0).numpy() for rows in (x, z))
    accuracy, commonest = decoded(x, z, values, held)
    assert accuracy > 0.95
    assert 0.5 <= commonest < 0.6
    assert decoded(x[:, 1:], z[:, 1:], values, held)[0] < 0.65
    assert decoded(x, z, np.array([f"name {i}" for i in range(400)]), np.array([f"name {i}" for i in range(400)])) is None


# --- manifold ---


def test_natural_activations_are_natural_and_far_ones_are_not():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(900, 6, generator=generator) @ torch.diag(torch.tensor([5.0, 1, 1, 1, 0.5, 0.0]))
    law = Natural(rows[:300], rows[300:600])
    assert law.place(rows[600:]).off_manifold == pytest.approx(0.05, abs=0.04)
    assert law.place(rows[600:]).distance == pytest.approx(1, abs=0.1)
    dormant = rows[600:] + torch.eye(6)[5]
    assert law.place(dormant).off_manifold == 1
    assert law.place(dormant).distance > 2


def test_a_whole_vector_is_natural_and_an_illusion_is_not():
    made, _, m, _ = planted("illusory")
    whole, illusion = off_manifold([aligned("illusory", None), aligned("illusory", made.basis)], m.engine, m.data["test"])
    assert whole.off_manifold < 0.2
    assert illusion.off_manifold > 0.4  # half of the pairs have equal codes, and nothing to swap


# --- nulls ---


def test_draws_search_the_chosen_site_and_others():
    e = Experiment("price_tagging", "price-tagger-tiny", hypotheses=["midpoint", "bracket"])
    grid = e.grid()
    chosen = {"midpoint": grid[10].site, "bracket": grid[40].site}
    draws = draws_of(grid, chosen, 3, 0)
    assert len(draws) == 3
    for draw, cells in enumerate(draws):
        assert {cell.seed for cell in cells} == {draw}
        for name, site in chosen.items():
            sites = [cell.site for cell in cells if cell.hypothesis == name]
            assert len(set(sites)) == len(sites) == SITES
            assert site in sites
    assert draws[0] != draws[1]
    assert draws_of(grid, chosen, 3, 0) == draws


def test_an_untrained_network_has_the_shape_and_none_of_the_weights():
    e = Experiment("arithmetic", "arithmetic-tiny")
    lm = e.material().lm
    other, again, third = reinitialised(lm, 0), reinitialised(lm, 0), reinitialised(lm, 1)
    assert type(other.model) is type(lm.model)
    for (name, a), b in zip(lm.model.named_parameters(), other.model.parameters(), strict=True):
        assert a.shape == b.shape
        assert "norm" in name or not torch.allclose(a, b)
    weights = [next(p for p in some.model.parameters() if p.dim() > 1) for some in (other, again, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    linear = torch.nn.Linear(40, 50)
    assert redrawn(linear).weight.detach().std() == pytest.approx(float(linear.weight.detach().std()), rel=0.1)


def test_shuffled_pairs_keep_everything_but_whose_label_is_whose():
    data = planted("plain")[2].data["test"]
    (name,) = data.pairs
    twins = shuffled(data, [0, 1], 0)
    assert set(twins.pairs) == {twin(name, 0), twin(name, 1)}
    for made in twins.pairs.values():
        assert sorted(made.label) == sorted(data.pairs[name].label)
        assert (made.base == data.pairs[name].base).all()
        assert (made.label != data.pairs[name].label).any()


def test_among_answers_only_one_of_the_answers_is_likeliest():
    _, e, m, _ = planted("plain")
    tokens = np.unique(m.data["test"].pairs["code"].label)
    engine = Among(m.engine_of(reinitialised(m.lm, 0)), [tokens])
    data, site = m.data["test"], e.grid()[-1].site
    batch = Batch.capture(data, captures_for(engine, data, [site]), {"code": np.arange(32)})
    swap = batch.swap("code", site)
    answers = batch.resume(engine, site, {"code": swap}, [torch.zeros_like(swap.base)[None]]).argmax(-1)
    assert set(answers.flatten().tolist()) <= set(tokens.tolist())
