"""Where a subspace lies among the entries of its vectors, and how near two subspaces are."""

import numpy as np
import pytest
import torch

from das.interchange.geometry import DRAWS, aligned, angles, beside, overlap, participation, random_shares, shares
from das.interchange.subspace import largest_angle, random_basis


def basis(d, rank, seed=0):
    return random_basis(d, rank, torch.Generator().manual_seed(seed))


def test_shares_are_the_projectors_diagonal_over_the_rank_in_any_basis():
    columns, turned = basis(20, 3), basis(20, 3) @ basis(3, 3, 1)
    projector = columns @ columns.T
    torch.testing.assert_close(shares(columns), projector.diagonal() / 3)
    torch.testing.assert_close(shares(turned), shares(columns))
    assert shares(columns).sum() == pytest.approx(1, abs=1e-5)


def test_a_subspace_of_single_entries_is_spread_over_as_many_and_aligned_with_them():
    columns = torch.eye(50)[:, [3, 17, 40, 8]] @ basis(4, 4, 2)
    for figure, value in ((participation, 4), (lambda parts: aligned(parts, 4), 1)):
        found = beside(columns, figure)
        assert found.found == pytest.approx(value, abs=1e-4)
        assert not found.low <= found.found <= found.high
    assert set(shares(columns).topk(4).indices.tolist()) == {3, 17, 40, 8}


@pytest.mark.parametrize(("d", "rank"), [(24, 1), (64, 4), (100, 20)])
def test_random_subspaces_are_spread_as_their_law_says(d, rank):
    """An entry of a random projector's diagonal is Beta(rank / 2, (d − rank) / 2): its mean square is known."""
    drawn = random_shares(d, rank)
    assert drawn.shape == (DRAWS, d)
    assert float(drawn.square().sum(1).mean()) == pytest.approx((rank + 2) / (rank * (d + 2)), rel=0.06)


def test_a_random_subspace_lies_in_the_interval_of_random_subspaces_as_often_as_it_says():
    inside = []
    for seed in range(200):
        found = beside(basis(40, 3, 100 + seed), participation)
        inside.append(found.low <= found.found <= found.high)
    assert 0.88 <= np.mean(inside) <= 0.995


# --- two subspaces ---


def test_angles_of_a_subspace_with_itself_are_0_and_with_orthogonal_ones_90():
    whole = basis(30, 10)
    turned = whole[:, :4] @ basis(4, 4, 3)
    assert angles(whole[:, :4], turned).abs().max() < 1e-4
    torch.testing.assert_close(angles(whole[:, :4], whole[:, 4:]), torch.full((4,), 90.0, dtype=torch.double))
    assert overlap(whole[:, :4], turned).found == pytest.approx(1, abs=1e-5)
    assert overlap(whole[:, :4], whole[:, 4:]).found == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("degrees", [1e-3, 1, 30, 60, 89.9, 90])
def test_an_angle_is_what_it_was_made(degrees):
    turn = np.deg2rad(degrees)
    one = torch.eye(9)[:, :2]
    other = torch.stack([torch.eye(9)[0] * np.cos(turn) + torch.eye(9)[5] * np.sin(turn), torch.eye(9)[1]], 1)
    assert angles(one, other).tolist() == pytest.approx([0, degrees], abs=2e-5)
    assert overlap(one, other).found == pytest.approx((1 + np.cos(turn) ** 2) / 2, abs=1e-6)


@pytest.mark.parametrize(("one", "other"), [(1, 1), (3, 3), (2, 5), (5, 2)])
def test_angles_are_those_of_the_singular_values_whatever_the_ranks(one, other):
    a, b = basis(16, one, 1), basis(16, other, 2)
    found = angles(a, b)
    assert len(found) == min(one, other)
    assert (found.diff() >= 0).all()
    assert float(found[-1]) == pytest.approx(largest_angle(a, b), abs=1e-3)
    cosines = torch.cos(torch.deg2rad(found))
    assert overlap(a, b).found == pytest.approx(float(cosines.square().mean()), abs=1e-6)


@pytest.mark.parametrize(("d", "one", "other"), [(24, 3, 3), (64, 1, 1), (64, 2, 8), (30, 10, 4)])
def test_random_subspaces_overlap_by_the_larger_rank_over_the_width(d, one, other):
    drawn = [overlap(basis(d, one, 2 * i), basis(d, other, 2 * i + 1)) for i in range(60)]
    expected = max(one, other) / d
    assert drawn[0].mean == pytest.approx(expected)
    assert np.mean([each.found for each in drawn]) == pytest.approx(expected, rel=0.3)
    assert drawn[0].low < expected < drawn[0].high
    assert np.mean([each.low <= each.found <= each.high for each in drawn]) > 0.85
