"""Edits: what they must come to where a variable lies in one direction that we planted, and where it does not."""

from functools import cache

import pytest
import torch

from das import DasError
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.subspace import Subspace, random_basis
from das.judge.edits import Edits
from das.network.site import Site
from das.planted.planting import plant

MOVES = [(0, 1), (1, 0)]


@cache
def planted():
    return plant(1)


def edits(basis=None, moves=MOVES, name="x", variables=1, **more):
    made = planted()
    columns = made.basis if basis is None else basis
    feature = Subspace(columns.unflatten(1, (variables, -1)), torch.ones(variables, columns.shape[1] // variables))
    alignment = Alignment(Cell("code", Site(0, "last"), Fixed(1)), feature)
    return Edits(alignment, made.lm, made.task, name, moves, **more)


@cache
def right():
    """Operator and dose → the share that is answered as it should be, with the planted direction."""
    table = edits(doses=(0.2, 1.0, 1.5)).outcomes()
    assert table["moves"].all()
    return table, table.groupby(["operator", "dose"])["right"].mean().to_dict()


def test_a_planted_variable_is_moved_by_a_swap_and_by_its_direction_and_by_no_other():
    found = right()[1]
    assert found["interchange", 1.0] == found["whole", 1.0] == found["add", 1.0] == found["add", 1.5] == 1
    assert found["add", 0.2] == found["random", 0.2] == 0
    assert found["random", 1.0] < 0.5


def test_one_dose_of_the_direction_is_the_swap_where_nothing_else_lies_along_it():
    table = right()[0].set_index(["operator", "dose"])
    one, other = (table.loc[at, "probability"].to_numpy() for at in (("add", 1.0), ("interchange", 1.0)))
    assert one == pytest.approx(other, abs=1e-4)


def test_every_question_is_asked_under_every_operator():
    table = right()[0]
    assert set(table["edit"]) == {"0 → 1", "1 → 0"}
    assert table.groupby(["operator", "dose"]).size().nunique() == 1
    assert not table[table["operator"] == "add"].duplicated(["x", "y", "noise", "edit", "dose"]).any()


def test_a_direction_without_the_variable_moves_nothing():
    made = planted()
    other = random_basis(len(made.basis), 1, torch.Generator().manual_seed(1))
    other = torch.nn.functional.normalize(other - made.basis @ (made.basis.T @ other), dim=0)
    table = edits(other, doses=(1.0,)).outcomes()
    assert table[table["operator"] != "whole"].groupby("operator")["right"].mean().eq(0).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "amount"}, "input to be moved"),
        ({"moves": [(1, 1)]}, "pairs of two different values of x"),
        ({"moves": []}, "pairs of two different values of x"),
        ({"basis": torch.eye(64)[:, :2], "variables": 2}, "an alignment of one is needed"),
    ],
)
def test_what_is_no_edit_is_said(given, said):
    with pytest.raises(DasError, match=said):
        edits(**given)
