"""Operators: each is the formula that it is named by, row by row."""

import pytest
import torch

from das.interchange.feature import Whole
from das.interchange.operators import Add, Piecewise, ProjectOut, Replace, mean_ablation, resample_ablation, zero_ablation
from das.interchange.subspace import Subspace, random_basis
from das.interchange.units import Units

ROWS, D = 7, 12
G = torch.Generator().manual_seed(0)
H, OTHERS, V = torch.randn(ROWS, D, generator=G), torch.randn(ROWS, D, generator=G), 3 * torch.randn(D, generator=G)
BASIS = random_basis(D, 4, G)
TWO = Subspace(BASIS.unflatten(1, (2, 2)), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
"""Of two variables, the first with both of its columns, the second with one."""


def of(operator, h=H):
    """Vectors after it."""
    return h + operator.change(h)


def test_add_piecewise_and_project_out_are_their_formulas():
    for h, row in zip(H.tolist(), range(ROWS), strict=True):
        dot = sum(a * b for a, b in zip(h, V.tolist(), strict=True))
        side, norm = (1 if dot > 0 else -1), sum(b * b for b in V.tolist())
        want = {
            Add(V, 2.5): [a + 2.5 * b for a, b in zip(h, V.tolist(), strict=True)],
            Piecewise(V, -1.5): [a - 1.5 * side * b for a, b in zip(h, V.tolist(), strict=True)],
            ProjectOut(V): [a - dot * b / norm for a, b in zip(h, V.tolist(), strict=True)],
        }
        for operator, expected in want.items():
            torch.testing.assert_close(of(operator)[row], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_nothing_is_left_along_what_is_projected_out_whatever_its_length_and_a_second_time_changes_nothing():
    once = of(ProjectOut(V))
    assert (once @ V).abs().max() < 1e-4
    torch.testing.assert_close(of(ProjectOut(V), once), once, atol=1e-5, rtol=0)
    torch.testing.assert_close(of(ProjectOut(100 * V)), once, atol=1e-5, rtol=0)
    assert torch.equal(of(ProjectOut(torch.zeros(D))), H)


def test_ablations_put_mean_zero_or_other_prompts_coordinates_in_the_place_of_the_features():
    swapped = BASIS[:, :3]  # both columns of the first variable, one of the second
    rest = torch.eye(D) - swapped @ swapped.T
    for operator, put in (
        (mean_ablation(TWO, OTHERS), OTHERS.mean(0).expand(ROWS, D)),
        (zero_ablation(TWO, D), torch.zeros(ROWS, D)),
        (resample_ablation(TWO, OTHERS), OTHERS),
    ):
        torch.testing.assert_close(of(operator), H @ rest + put @ swapped @ swapped.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(of(mean_ablation(Whole(1), OTHERS)), OTHERS.mean(0).expand(ROWS, D), atol=1e-5, rtol=0)


def test_zero_ablation_of_a_direction_is_to_project_it_out():
    unit = V / V.norm()
    line = Subspace(unit[:, None, None], torch.ones(1, 1))
    torch.testing.assert_close(of(zero_ablation(line, D)), of(ProjectOut(V)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("operator", [Add(OTHERS, 2.0), Piecewise(OTHERS), ProjectOut(OTHERS), resample_ablation(TWO, OTHERS)])
def test_rows_that_have_their_own_vector_keep_it_when_some_are_taken(operator):
    rows = torch.tensor([5, 0, 0, 3])
    assert torch.equal(operator.take(rows).change(H[rows]), operator.change(H)[rows])


@pytest.mark.parametrize("feature", [TWO, Units(torch.tensor([[3, 1], [7, 0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]), D)])
def test_a_swap_moves_vectors_along_the_features_directions_and_no_others(feature):
    spanned = torch.cat([feature.directions(i) for i in range(2)], 1)
    moved = feature.swap(H, OTHERS[None].expand(2, -1, -1))
    assert spanned.shape == (D, 3)
    torch.testing.assert_close(moved @ spanned @ spanned.T, moved, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved @ spanned, (OTHERS - H) @ spanned, atol=1e-5, rtol=0)


def test_to_the_engine_each_is_a_feature_that_needs_no_source():
    for operator in (Add(V), Piecewise(V), ProjectOut(V), zero_ablation(TWO, D)):
        assert torch.equal(operator.swap(H.double(), OTHERS[None]), operator.change(H))
        assert operator.fits(D)
        assert not operator.fits(D + 1)


def test_what_an_earlier_place_moved_stays_but_for_what_is_put_out():
    moved = torch.randn(ROWS, D, generator=G)
    whole = slice(0, D)
    assert torch.equal(Add(V).keep(whole, moved), moved)
    torch.testing.assert_close(ProjectOut(V).keep(whole, moved), of(ProjectOut(V), moved), atol=1e-4, rtol=0)
    assert torch.equal(Replace(TWO, OTHERS[None]).keep(whole, moved), TWO.keep(whole, moved))
