"""Rank: what a subspace is cut to, and that the finders find the rank that was planted, whatever it is."""

import sys
from functools import cache

import pytest
import torch
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import codes
import rank as benchmark

import das.find.rank
from das import Boundless, Experiment, Nested
from das.find.alignment import Alignment, Cell
from das.find.grid import FOCUS, GridTrainer
from das.find.rank import Scores, choose_rank, curves, cut, narrowest, settle, widths
from das.interchange.accuracy import task_accuracy
from das.interchange.subspace import Subspace, largest_angle
from das.network.site import Site

SIZES = {"train_pairs": 512, "val_pairs": 300, "test_pairs": 50, "layers": [0], "positions": ["last"]}
LAST = Site(0, "last")


@cache
def case(reading, planted, **settings):
    """A network and its experiment's pairs."""
    network = codes.planted(reading, planted, 64, seed=0)
    return network, Experiment(network.task, network.lm, **SIZES).material()


def alignment(network, kind, boundary=32, order=None):
    """A cell that was found: the planted columns, by default first, and others beside them."""
    rest = torch.linalg.qr(network.basis, mode="complete")[0][:, network.basis.shape[1] :]
    columns = torch.cat([network.basis, rest], 1)
    basis = columns[:, : kind.k] if order is None else columns[:, order]
    subspace = Subspace(basis[:, None], (torch.arange(kind.k) < boundary).float()[None])
    return Alignment(Cell("code", LAST, kind), subspace, subspace if isinstance(kind, Boundless) else None)


@pytest.mark.parametrize("reading", codes.READINGS)
def test_the_networks_solve_their_tasks(reading):
    network, _ = case(reading, 3)
    assert task_accuracy(network.task, network.lm, 200, ["base"])["base"] == 1


@pytest.mark.parametrize("planted", [1, 2, 5, 9])
def test_nested_is_given_any_rank_and_its_curve_has_it(planted):
    network, m = case("signed", planted)
    a = alignment(network, Nested())
    settle([a], m.engine, m.data["val"])
    assert a.rank == planted
    assert {*widths(32), planted} <= set(a.curve)
    assert list(a.curve) == sorted(a.curve)
    assert a.curve[planted] == 1
    (again,) = curves([a], Scores.of([a], m.engine, m.data["val"])).values()
    assert again == a.curve


def test_a_part_is_scored_once_wherever_its_columns_lie(monkeypatch):
    network, m = case("signed", 2)
    a = alignment(network, Nested(k=8), boundary=8)
    scores, asked = Scores.of([a], m.engine, m.data["val"]), []
    plain = das.find.rank.score

    def counted(engine, data, wanted, **more):
        asked.append(sum(len(features) for _, _, features in wanted.values()))
        return plain(engine, data, wanted, **more)

    monkeypatch.setattr(das.find.rank, "score", counted)
    first = scores({0: [cut(a.feature, 2), cut(a.feature, 4), cut(a.feature, 2)]})
    order = torch.tensor([[1, 0, 3, 2, 4, 5, 6, 7]])
    scores.sort(0, order)
    assert scores({0: [cut(a.feature.sorted(order), width) for width in (2, 4, 2)]}) == first
    scores({0: [cut(a.feature.sorted(order), 1)]})
    assert asked == [2, 0, 1]


def test_ranks_that_the_grid_of_widths_skips_are_tried():
    assert 9 not in widths(32)


@pytest.mark.parametrize(("planted", "boundary"), [(1, 4), (3, 7), (5, 5), (9, 22)])
def test_columns_below_the_boundary_that_add_nothing_are_cut(planted, boundary):
    network, m = case("signed", planted)
    a = alignment(network, Boundless(), boundary)
    settle([a], m.engine, m.data["val"])
    assert not a.curve
    assert (a.rank, a.boundary) == (planted, boundary)


@pytest.mark.parametrize("kind", [Nested(k=8), Boundless(k=8)])
@pytest.mark.parametrize("reading", codes.READINGS)
def test_a_column_that_is_not_needed_is_cut_wherever_it_stands_and_no_other(reading, kind):
    network, m = case(reading, 3)
    a = alignment(network, kind, 6, order=[10, 0, 1, 11, 12, 2, 13, 14])
    settle([a], m.engine, m.data["val"])
    assert a.rank == 3
    assert largest_angle(a.feature.basis[:, 0, :3], network.basis) < 0.1
    assert a.soft is None or torch.equal(a.soft.basis, a.feature.basis)
    torch.testing.assert_close(a.feature.basis[:, 0].T @ a.feature.basis[:, 0], torch.eye(8), rtol=0, atol=1e-5)


def test_a_boundary_below_its_first_column_stays_there():
    network, m = case("signed", 3)
    a = alignment(network, Boundless(), 0)
    settle([a], m.engine, m.data["val"])
    assert a.rank == 0


def test_the_narrowest_width_is_measured_from_the_best_not_from_the_widest():
    network, m = case("signed", 3)
    y = network.lm.model.layers[1].y.weight.T
    rest = torch.linalg.qr(torch.cat([network.basis, y], 1), mode="complete")[0][:, 6:]
    columns = torch.cat([network.basis, rest[:, :6], y], 1)
    scores = Scores({0: ("code", LAST)}, m.engine, m.data["val"])
    (curve,) = narrowest({0: (Subspace(columns[:, None], torch.ones(1, 12)), 0.02)}, scores).values()
    assert curve[12] < curve[3]
    assert choose_rank(curve, 0.02) == 3


def test_the_smallest_width_within_the_tolerance_of_the_best_is_chosen():
    curve = {1: 0.5, 2: 0.96, 3: 0.97, 8: 0.98, 16: 0.9}
    assert [choose_rank(curve, tolerance) for tolerance in (0.0, 0.011, 0.03, 1.0)] == [8, 3, 2, 1]


# --- training ---


@pytest.mark.slow
def test_both_kinds_find_ranks_at_their_defaults():
    rows = list(benchmark.rows([3], [96], ["signed"], 1))
    assert len(rows) == 2
    assert all(row["found"] == row["planted"] and row["iia"] > 0.98 for row in rows), rows
    assert {row["exact, to 8"] for row in benchmark.summary(rows)} == {"1/1", "0/0"}


@pytest.mark.parametrize(("kind", "focused"), [(Nested(k=8), True), (Boundless(k=8), False)])
def test_a_cell_that_has_learned_something_trains_to_the_end_and_one_that_has_not_stops(kind, focused, monkeypatch, tmp_path):
    seen, focus = [], GridTrainer.focus

    def noted(self):
        focus(self)
        seen.append((self.global_step, [bool(width) for width in self.stacks[0].focus]))

    monkeypatch.setattr(GridTrainer, "focus", noted)
    network = codes.planted("signed", 2, 64, seed=0)
    sizes = SIZES | {"positions": ["x.first", "last"], "steps": 80, "check_every": 10, "patience": 2, "dead": "train"}
    run = Experiment(network.task, network.lm, **sizes, subspace=kind, chosen_seeds=1, closed_forms=[], logger="none").run(
        tmp_path / "run"
    )
    steps = {e.position: run.card(run.alignment(e.cell).cell)["steps"] for e in run.found().itertuples()}
    assert steps["last"] == 80
    assert steps["x.first"] < 80
    looks = [(round(share * 80), [False, focused]) for share in FOCUS]
    assert seen == looks, "a focus comes where something was learned"
