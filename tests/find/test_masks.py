"""Masks: gates over units obey the laws of a swap at every moment of their training, whatever the units are."""

import pytest
import torch

from das.errors import DasError
from das.find.coordinates import Axes, Directions, swapped
from das.find.kinds import kind_name, parse_kind, plain_kind
from das.find.masks import MaskStack, first_of_each
from das.find.neurons import Neurons
from das.find.stack import Moment
from das.interchange.feature import Whole
from das.interchange.subspace import left, random_basis

D, ROWS = 12, 5
START, MIDDLE, END = Moment(0, 100), Moment(50, 100), Moment(100, 100)
COORDINATES = {
    "axes": Axes(D), "heads": Axes(D, 3), "directions": Directions(random_basis(D, D, torch.Generator().manual_seed(0))),
}  # fmt: skip


@pytest.fixture(params=COORDINATES)
def coordinates(request):
    return COORDINATES[request.param]


def rows(variables):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, D, generator=generator), torch.randn(variables, ROWS, D, generator=generator)


def stack(coordinates, variables=1, seeds=(1, 2), **settings):
    return MaskStack(Neurons(**settings), coordinates, variables, seeds)


def soft(of, now, cells=(0, 1)):
    cells = torch.tensor(cells)
    return of.soft(of.state(cells), cells, ROWS, now)


def test_all_units_are_the_whole_vector(coordinates):
    base, sources = rows(1)
    change = swapped(coordinates, torch.ones(2, 1, coordinates.size), base, sources)
    torch.testing.assert_close(change, Whole().swap(base, sources).expand(2, -1, -1), rtol=1e-4, atol=1e-5)


def test_the_soft_swap_of_open_and_closed_gates_is_the_hard_features(coordinates):
    made = stack(coordinates, k=2)
    with torch.no_grad():
        made.logits.copy_(torch.where(made.logits >= made.logits.topk(2, -1).values[..., -1:], 9.0, -9.0))
    base, sources = rows(1)
    cells = torch.tensor([0, 1])
    for change, feature in zip(soft(made, END).swap(base, sources), made.hard(made.state(cells), cells), strict=True):
        torch.testing.assert_close(change, feature.swap(base, sources), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variables", [1, 2])
def test_the_last_feature_is_the_swap_at_the_end_where_other_gates_are_shut(coordinates, variables):
    made = stack(coordinates, variables, k=2)
    cells, (base, sources) = torch.tensor([0, 1]), rows(variables)
    with torch.no_grad():
        made.logits.fill_(-9)
        made.logits[:, 0, 0], made.logits[:, -1, 1] = 0.02, -0.03  # open by .60, and by .35: left by a hard mask
    last, hard = made.last(made.state(cells), cells), made.hard(made.state(cells), cells)
    for change, feature, kept in zip(soft(made, END).swap(base, sources), last, hard, strict=True):
        torch.testing.assert_close(change, feature.swap(base, sources), rtol=1e-4, atol=1e-5)
        assert (feature.mask.max() < 1) & (set(kept.mask.flatten().tolist()) == {0.0, 1.0})


@pytest.mark.parametrize("now", [START, MIDDLE, END])
def test_no_unit_is_swapped_more_than_once_by_all_variables_together(now):
    made = stack(Axes(D), variables=3, k=4)
    with torch.no_grad():
        made.logits.mul_(100)
    assert made.gates(made.logits, now.progress).sum(1).max() <= 1 + 1e-6
    (feature, _) = made.hard(made.state(torch.tensor([0, 1])), torch.tensor([0, 1]))
    assert len(feature.units.unique()) == 12


def test_of_one_variable_a_gate_is_the_sigmoid_and_of_several_the_same_where_the_others_are_shut():
    one, two = stack(Axes(D)), stack(Axes(D), variables=2)
    torch.testing.assert_close(one.gates(one.logits, 0.5), torch.sigmoid(one.logits / one.mask.temperature(0.5)))
    shut = torch.cat([one.logits, torch.full_like(one.logits, -99)], 1)
    torch.testing.assert_close(two.gates(shut, 0.5)[:, :1], one.gates(one.logits, 0.5))


def test_a_variable_gets_its_own_largest_units_and_none_of_anothers():
    logits = torch.tensor([[5.0, 4, 3, 0, 0, 0], [6.0, 1, 2, 0.5, 0, 0]])
    assert first_of_each(logits, 2).tolist() == [[1, 2], [0, 3]]
    assert first_of_each(logits[:1], 2).tolist() == [[0, 1]]


def test_something_is_swapped_even_where_all_gates_are_shut(coordinates):
    made = stack(coordinates, k=3)
    with torch.no_grad():
        made.logits.fill_(-1)
    assert [feature.mask.sum() for feature in made.hard(made.state(torch.tensor([0])), torch.tensor([0]))] == [1]


def test_gates_beyond_k_cost_and_others_do_not():
    made = stack(Axes(D), k=3, penalty=2.0)
    with torch.no_grad():
        made.logits.fill_(-99)
        made.logits[0, 0, :3], made.logits[1, 0, :9] = 99, 99
    torch.testing.assert_close(made.penalty(torch.tensor([0, 1]), END), torch.tensor([0.0, 4.0]))
    made.penalty(torch.tensor([0]), START).sum().backward()


def test_a_cell_starts_from_its_own_seed_alone_and_is_asked_alone():
    among, alone = stack(Axes(D), seeds=[3, 5]), stack(Axes(D), seeds=[5])
    assert torch.equal(among.logits[1], alone.logits[0])
    base, sources = rows(1)
    assert torch.equal(soft(among, MIDDLE, [1]).swap(base, sources), soft(alone, MIDDLE, [0]).swap(base, sources))


def test_what_is_left_of_another_places_movement_is_as_of_columns():
    mask, moved, part = torch.rand(2, 1, D), torch.randn(2, ROWS, 4), slice(3, 7)
    for columns, coordinates in ((torch.eye(D), Axes(D)), (COORDINATES["directions"].columns, COORDINATES["directions"])):
        expected = left(columns[None, part, None].expand(2, -1, 1, -1), mask[:, None], moved)
        torch.testing.assert_close(coordinates.left(mask, part, moved), expected, rtol=1e-3, atol=1e-4)


def test_a_mask_needs_no_square_of_the_width():
    made = stack(Axes(4096), k=16)
    assert sum(p.numel() for p in made.parameters()) == 2 * 4096
    (feature, _) = made.hard(made.state(torch.tensor([0, 1])), torch.tensor([0, 1]))
    assert sum(tensor.numel() for tensor in feature.tensors().values()) < 100


def test_fewer_units_than_k_are_all_there_can_be_and_too_few_are_refused():
    assert stack(Axes(D, 3), k=16).k == 4
    with pytest.raises(DasError, match="no more than 1 units"):
        stack(Axes(D, D), variables=2)


# --- settings ---


@pytest.mark.parametrize("given", ["neurons", "neurons:k=4,over=pca", {"kind": "neurons", "over": "heads", "k": 2}])
def test_settings_are_read_and_kept(given):
    assert parse_kind(plain_kind(parse_kind(given))) == parse_kind(given)


def test_what_a_mask_is_over_stands_in_its_name():
    assert kind_name(parse_kind("neurons:k=4")) == "neurons4"
    assert kind_name(parse_kind("neurons:k=4,over=pca")) == "neurons4,over=pca"


@pytest.mark.parametrize("wrong", ["axis", "3", ""])
def test_a_mask_over_something_else_is_refused(wrong):
    with pytest.raises(DasError, match=r"unknown neurons\.over .* Known: axes, heads, pca"):
        parse_kind({"kind": "neurons", "over": wrong})
