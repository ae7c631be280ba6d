"""Features: what the judge may ask of one holds for each type, whatever it is made of."""

import pytest
import torch

from das.interchange.feature import Rest, Whole, changes
from das.interchange.subspace import Subspace, random_basis
from das.interchange.units import Units, subspace_of


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def subspace(variables=1, rank=2, k=3, d=8):
    basis = random_basis(d, variables * k, seeded()).unflatten(1, (variables, k))
    return Subspace(basis, (torch.arange(k) < rank).float().expand(variables, -1))


def units(variables=1, rank=2, k=3, d=8, block=1):
    drawn = torch.randperm(d // block, generator=seeded())[: variables * k].view(variables, k)
    return Units(drawn, (torch.arange(k) < rank).float().expand(variables, -1), d, block)


FEATURES = {
    "one variable": subspace(), "two variables": subspace(2), "whole": Whole(), "whole of two": Whole(2),
    "neurons": units(), "neurons of two": units(2), "heads": units(rank=1, k=2, block=2),
}  # fmt: skip


@pytest.fixture(params=FEATURES)
def feature(request):
    return FEATURES[request.param]


def rows(feature):
    return torch.randn(5, 8, generator=seeded(1)), torch.randn(feature.variables, 5, 8, generator=seeded(2))


def test_a_swap_with_oneself_changes_nothing(feature):
    base, _ = rows(feature)
    assert not feature.swap(base, base.expand(feature.variables, -1, -1)).any()


def test_a_feature_and_its_rest_are_the_whole(feature):
    base, sources = rows(feature)
    both = feature.swap(base, sources) + feature.complement.swap(base, sources)
    torch.testing.assert_close(both, Whole(feature.variables).swap(base, sources))
    assert feature.complement.complement == feature


def test_what_is_read_after_a_swap_is_what_the_source_has(feature):
    base, sources = rows(feature)
    after = base + feature.swap(base, sources)
    if isinstance(feature, Whole):
        torch.testing.assert_close(feature.read(after), feature.read(sources[0]))
        return
    for i, source in enumerate(sources):
        torch.testing.assert_close(feature.read(after, i), feature.read(source, i))


def test_a_twin_is_as_large_and_another(feature):
    twin = feature.twin(seeded(3))
    if isinstance(feature, Whole):
        assert twin is None
        return
    assert (twin.size, twin.variables) == (feature.size, feature.variables)
    base, sources = rows(feature)
    assert not torch.allclose(twin.swap(base, sources), feature.swap(base, sources))


def test_it_survives_being_kept(feature):
    base, sources = rows(feature)
    again = type(feature).of_tensors(feature.tensors())
    assert (again.size, again.variables) == (feature.size, feature.variables)
    assert torch.equal(again.swap(base, sources), feature.swap(base, sources))


def test_features_of_all_types_change_rows_together_as_they_do_alone():
    every = [f for f in FEATURES.values() if f.variables == 1]
    mixed = [*every, *(f.complement for f in every), *reversed(every)]
    base, sources = rows(every[0])
    for alone, together in zip(mixed, changes(mixed, base, sources), strict=True):
        torch.testing.assert_close(together, alone.swap(base, sources))


def test_parts_of_a_space_hold_what_lies_in_it_and_what_does_not():
    f = subspace(rank=2)
    base, sources = rows(f)
    inside = f.parts(f.columns(0), base, sources)
    assert inside.share == pytest.approx(1)
    torch.testing.assert_close(inside.inside.swap(base, sources), f.swap(base, sources), atol=1e-5, rtol=1e-4)
    away = f.parts(f.basis[:, 0, 2:], base, sources)
    assert away.share == pytest.approx(0, abs=1e-6)
    assert away.inside.swap(base, sources).norm() < 1e-4
    assert Whole().parts(f.columns(0), base, sources) is None


def test_the_rest_of_a_feature_has_no_coordinates_and_is_not_kept():
    for asked in (lambda f: f.read(torch.zeros(1, 8)), lambda f: f.tensors(), lambda f: Rest.of_tensors({})):
        with pytest.raises(NotImplementedError):
            asked(subspace().complement)


@pytest.mark.parametrize("name", ["neurons", "neurons of two", "heads"])
def test_units_are_the_columns_of_their_entries(name):
    f = FEATURES[name]
    base, sources = rows(f)
    columns = subspace_of(f)
    assert columns.size == f.size
    torch.testing.assert_close(columns.swap(base, sources), f.swap(base, sources))
    flat = columns.basis.flatten(1)
    torch.testing.assert_close(flat.T @ flat, torch.eye(flat.shape[1]))
    for i in range(f.variables):
        torch.testing.assert_close(columns.read(base, i), f.read(base, i))
    part, moved = slice(2, 6), torch.randn(5, 4, generator=seeded(4))
    torch.testing.assert_close(f.keep(part, moved), columns.keep(part, moved), atol=1e-4, rtol=1e-4)


def test_a_swap_of_units_takes_their_entries_and_leaves_the_others():
    base, sources = rows(f := units(block=2, k=2, rank=1))
    after = base + f.swap(base, sources)
    own = f.entries()
    assert own.tolist() == [2 * int(f.chosen()[0]), 2 * int(f.chosen()[0]) + 1]
    torch.testing.assert_close(after[:, own], sources[0][:, own])
    rest = [i for i in range(8) if i not in own]
    assert torch.equal(after[:, rest], base[:, rest])


def test_all_units_are_the_whole_vector():
    every = Units(torch.randperm(8, generator=seeded())[None], torch.ones(1, 8), 8)
    base, sources = rows(every)
    torch.testing.assert_close(every.swap(base, sources), Whole().swap(base, sources))


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": torch.tensor([[0, 0, 1]])}, {"units": torch.tensor([[-1, 0, 1]])}, {"units": torch.tensor([[0, 1, 8]])},
        {"hard": torch.ones(1, 2)}, {"sizes": torch.tensor([8, 3])}, {"sizes": torch.tensor([8, 0])},
    ],
)  # fmt: skip
def test_units_that_cannot_be_are_not_read_from_a_file(wrong):
    kept = {"units": torch.tensor([[0, 1, 2]]), "hard": torch.ones(1, 3), "sizes": torch.tensor([8, 1])}
    assert Units.of_tensors(kept).size == 3
    with pytest.raises(ValueError, match="units"):
        Units.of_tensors(kept | wrong)
