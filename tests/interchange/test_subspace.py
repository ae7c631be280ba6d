"""Subspaces: the swap's algebra, masks, and what training may do to them."""

import re

import numpy as np
import pytest
import torch

from das.errors import DasError
from das.find.kinds import Boundless, Fixed, Full, Nested, Random, parse_kind, plain_kind
from das.find.rotations import SubspaceStack
from das.find.stack import Moment
from das.interchange.feature import Whole, changes
from das.interchange.subspace import Subspace, largest_angle, project, random_basis

KINDS = [Boundless(k=4), Nested(k=4), Fixed(k=4), Random(k=4)]


def rows(variables=1, n=6, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.randn(variables, n, d, generator=generator)


def basis(d=16, variables=1, k=4, seed=0):
    return random_basis(d, variables * k, torch.Generator().manual_seed(seed)).unflatten(1, (variables, k))


def test_a_swap_is_the_formula_of_the_method():
    base, source = rows()
    q, mask = basis(), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    expected = torch.stack([q[:, 0] @ torch.diag(mask[0]) @ q[:, 0].T @ (s - b) for b, s in zip(base, source[0], strict=True)])
    torch.testing.assert_close(Subspace(q, mask).swap(base, source), expected)


def test_swapping_from_itself_changes_nothing():
    base, _ = rows()
    for subspace in (Subspace(basis(), torch.ones(1, 4)), Whole()):
        assert not subspace.swap(base, base[None]).any()


def test_swapping_every_direction_or_the_whole_vector_gives_the_source():
    base, source = rows()
    for subspace in (Subspace(basis(k=16), torch.ones(1, 16)), Whole()):
        torch.testing.assert_close(base + subspace.swap(base, source), source[0], rtol=1e-4, atol=1e-5)


def test_a_swap_sets_the_subspace_and_leaves_its_complement():
    base, source = rows()
    q = basis()
    after = base + Subspace(q, torch.ones(1, 4)).swap(base, source)
    torch.testing.assert_close(after @ q[:, 0], source[0] @ q[:, 0])
    complement = torch.eye(16) - q[:, 0] @ q[:, 0].T
    torch.testing.assert_close(after @ complement, base @ complement, rtol=1e-4, atol=1e-5)


def test_several_variables_each_take_their_interval_from_their_own_source():
    base, sources = rows(variables=2)
    q = basis(variables=2)
    after = base + Subspace(q, torch.ones(2, 4)).swap(base, sources)
    for variable in range(2):
        torch.testing.assert_close(after @ q[:, variable], sources[variable] @ q[:, variable])


def test_a_variable_whose_source_is_the_base_is_left_alone():
    base, sources = rows(variables=2)
    sources[1] = base
    q = basis(variables=2)
    both, first = Subspace(q, torch.ones(2, 4)), Subspace(q, torch.tensor([[1.0] * 4, [0.0] * 4]))
    torch.testing.assert_close(both.swap(base, sources), first.swap(base, sources))


def test_the_whole_vector_of_several_variables_is_that_of_the_first_that_differs():
    base, sources = rows(variables=2)
    sources[0, :3] = base[:3]
    after = base + Whole(2).swap(base, sources)
    torch.testing.assert_close(after, torch.cat([sources[1, :3], sources[0, 3:]]))


def test_subspaces_of_different_sizes_change_rows_together_as_they_do_alone():
    base, source = rows()
    spaces = [Subspace(basis(k=2), torch.ones(1, 2)), Whole(), Subspace(basis(k=5), torch.ones(1, 5))]
    together = changes(spaces, base, source)
    for alone, result in zip(spaces, together, strict=True):
        torch.testing.assert_close(result, alone.swap(base, source))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("variables", [1, 2])
def test_bases_are_orthonormal_whatever_the_weights(kind, variables):
    stack = SubspaceStack(kind, 16, variables, seeds=[1, 2])
    with torch.no_grad():
        stack.weight.add_(torch.randn_like(stack.weight))
    flat = stack.basis().flatten(2)
    torch.testing.assert_close(flat.mT @ flat, torch.eye(4 * variables).expand(2, -1, -1), rtol=0, atol=1e-5)


def test_a_cell_starts_from_its_own_seed_alone():
    alone, among = SubspaceStack(Fixed(k=4), 16, 1, [5]), SubspaceStack(Fixed(k=4), 16, 1, [3, 5])
    assert torch.equal(alone.weight[0], among.weight[1])


def test_boundless_anneals_from_its_first_to_its_last_temperature_in_columns():
    stack = SubspaceStack(Boundless(k=8, start=0.25, end=0.1), 16, 1, [0])
    assert stack.temperature(0.0) == pytest.approx(2.0)
    assert stack.temperature(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("rank", [0, 1, 3, 8])
def test_boundless_can_express_every_rank(rank):
    stack = SubspaceStack(Boundless(k=8, end=0.1), 16, 1, [0])
    with torch.no_grad():
        stack.boundary.fill_(rank / 8)
    assert int(stack.hard_mask().sum()) == rank
    sharp = stack.soft_mask(1.0)[0, 0]
    torch.testing.assert_close(sharp, stack.hard_mask()[0, 0], rtol=0, atol=0.05)


def test_the_column_that_a_boundary_has_not_passed_yet_but_swaps_already_is_used():
    stack = SubspaceStack(Boundless(k=8), 16, 1, [0])
    with torch.no_grad():
        stack.boundary.fill_(2.4 / 8)
    assert int((stack.soft_mask(1.0) > 0.5).sum()) == 2
    assert int(stack.hard_mask().sum()) == 3


@pytest.mark.parametrize("edge", [-0.5, 1.5])
def test_a_boundary_past_its_edge_comes_back(edge):
    stack = SubspaceStack(Boundless(k=8), 16, 1, [0])
    with torch.no_grad():
        stack.boundary.fill_(edge)
    stack.keep_in_range()
    assert 0 <= stack.boundary.item() <= 1
    stack.soft_mask(0.0).sum().backward()
    assert stack.boundary.grad.item() > 0


def test_the_penalty_is_on_the_width_that_is_used():
    stack = SubspaceStack(Boundless(k=8, penalty=0.5), 16, 1, [0, 1])
    torch.testing.assert_close(stack.penalty(torch.tensor([0, 1]), Moment(0, 1)), torch.tensor([0.25, 0.25]))


def test_nested_widths_are_log_uniform_and_repeatable():
    stack = SubspaceStack(Nested(k=15), 16, 1, [3])
    mask = stack.training_mask(torch.tensor([0]), 20_000, 0.0, step=7)
    widths = mask[0, :, 0].sum(1)
    assert torch.equal(mask, stack.training_mask(torch.tensor([0]), 20_000, 0.9, step=7))
    assert widths.min() == 1
    assert widths.max() == 15
    for low, high in ((1, 2), (2, 4), (4, 8), (8, 16)):
        assert ((widths >= low) & (widths < high)).float().mean() == pytest.approx(0.25, abs=0.02)


def test_with_a_focus_most_nested_rows_swap_about_as_many_columns_and_some_any():
    stack = SubspaceStack(Nested(k=32), 40, 1, [3, 4])
    stack.focus[0] = 8
    focused, other = (mask[:, 0].sum(1) for mask in stack.training_mask(torch.tensor([0, 1]), 4000, 0.0, step=7))
    near = (focused >= 6) & (focused <= 9)
    assert near.float().mean() > 0.75
    assert {6, 7, 8, 9} <= set(focused[near].int().tolist())
    assert focused.max() == other.max() == 32
    assert ((other >= 6) & (other <= 9)).float().mean() < 0.2
    assert stack.hard_mask().sum(2).flatten().tolist() == [8, 32]


@pytest.mark.parametrize("focus", [1, 4])
def test_widths_about_a_focus_stay_in_their_bounds(focus):
    stack = SubspaceStack(Nested(k=4), 16, 1, [3])
    stack.focus[0] = focus
    widths = stack.training_mask(torch.tensor([0]), 1000, 0.0, step=1)[0, :, 0].sum(1)
    assert widths.min() >= 1
    assert widths.max() <= 4


def test_projections_of_a_batch_of_masks_are_those_of_each_row():
    base, source = rows()
    mask = (torch.arange(4) < torch.tensor([1, 2, 3, 4, 1, 2])[:, None]).float()[None, :, None]
    together = project(basis()[None], mask, base, source)[0]
    for row in range(6):
        alone = Subspace(basis(), mask[0, row]).swap(base[row : row + 1], source[:, row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)


def test_angles_between_spans():
    q = random_basis(16, 4, torch.Generator().manual_seed(0))
    assert largest_angle(q[:, :2], q[:, :2] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]])) == pytest.approx(0, abs=0.1)
    assert largest_angle(q[:, :2], q[:, 2:]) == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("kind", [*KINDS, Full()], ids=str)
def test_kinds_survive_yaml(kind):
    assert parse_kind(plain_kind(kind)) == kind


@pytest.mark.parametrize(
    ("given", "expected"),
    [("nested", Nested()), ("boundless:k=16,penalty=0.5", Boundless(k=16, penalty=0.5)), ({"kind": "fixed", "k": 3}, Fixed(3))],
)
def test_kinds_are_read(given, expected):
    assert parse_kind(given) == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nestd", "'nested'"),
        ("nested:kk=3", "'k'"),
        ("nested:k=2.5", "whole number"),
        ("nested:k", "name=value"),
        ("fixed:k=0", "1"),
    ],
)
def test_a_wrong_kind_is_one_clear_error(given, says):
    with pytest.raises(DasError, match=says):
        parse_kind(given)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Nested(k=0), "nested.k is 0: expected at least 1"),
        (lambda: Random(-1), "random.k is -1: expected at least 1"),
        (lambda: Fixed(k=2.5), "fixed.k is 2.5: expected a whole number"),
        (lambda: Fixed(k=float("inf")), "fixed.k is inf: expected a whole number"),
        (lambda: Nested(tolerance=-0.1), "nested.tolerance is -0.1: expected at least 0"),
        (lambda: Boundless(lr="fast"), "boundless.lr is 'fast': expected a number"),
        (lambda: Boundless(penalty=float("nan")), "boundless.penalty is nan: expected a number"),
        (lambda: Boundless(end=0), "boundless.end is 0: expected more than 0"),
    ],
)
def test_a_kind_with_a_wrong_setting_cannot_be_made(make, says):
    with pytest.raises(DasError, match=f"^{re.escape(says)}$"):
        make()


def test_a_kind_holds_plain_numbers():
    kind = Boundless(k=np.int64(4), lr="0.1", penalty=0)
    assert kind == Boundless(k=4, lr=0.1, penalty=0.0)
    assert [type(value) for value in plain_kind(kind).values()] == [str, int, *[float] * 6]
