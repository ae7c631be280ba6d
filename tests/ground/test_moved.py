"""Scripts of 0.1 find what they import, and are told where it is now."""

import importlib
import sys

import pytest
import torch

import das
from das import Full
from das.find.alignment import Alignment, Cell
from das.ground.moved import MOVED
from das.interchange.feature import Whole
from das.network.site import Site


@pytest.mark.parametrize("old", MOVED)
def test_a_module_is_found_by_its_old_name_and_says_the_new_one(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"das.{old}", raising=False)
    homes = MOVED[old].split()
    with pytest.warns(DeprecationWarning, match=rf"das\.{old} is now das\.{homes[0]}"):
        module = importlib.import_module(f"das.{old}")
    for home in homes:
        new = importlib.import_module(f"das.{home}")
        public = [name for name, value in vars(new).items() if getattr(value, "__module__", None) == new.__name__]
        for name in public:
            assert hasattr(module, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_this_name'"):
        module.nothing_of_this_name  # noqa: B018


def test_no_old_name_stands_before_a_public_one():
    """A module that is imported as `das.fit` would take the place of the function."""
    assert not set(MOVED) & set(das.__all__)


def test_what_never_was_there_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"das\.never"):
        importlib.import_module("das.never")


def test_wings_that_bear_an_old_name_hand_on_what_it_held():
    from das.causal import CausalModel
    from das.pairs import FAMILIES, Family, Pairs, make_pairs, split_pools
    from das.planted import Planted, plant
    from das.task import Hypothesis, Task, ask, load_task

    assert all(callable(f) for f in (make_pairs, split_pools, plant, ask, load_task))
    assert all(isinstance(c, type) for c in (CausalModel, Family, Pairs, Planted, Hypothesis, Task))
    assert "flip" in FAMILIES


def test_what_is_swapped_is_found_by_its_old_names():
    feature = Whole()
    base, source = torch.randn(3, 4), torch.randn(1, 3, 4)
    with pytest.warns(DeprecationWarning, match="is now Alignment.feature"):
        assert Alignment(Cell("h", Site(0, "last"), Full()), feature).hard is feature
    with pytest.warns(DeprecationWarning, match="is now swap"):
        assert torch.equal(feature.delta(base, source), feature.swap(base, source))
