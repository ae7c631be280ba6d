"""Where one of two bits lies at each of two places, a site of one place is partly right and the site of both wholly."""

from functools import cache

import matplotlib
import pytest
import torch

from das import Experiment
from das.draw.heatmaps import grid, heatmap
from das.errors import DasError
from das.find.alignment import Alignment, Cell
from das.find.kinds import Boundless, Fixed, Nested, parse_kind, plain_kind
from das.find.rotations import SubspaceStack
from das.find.sites import sites_of
from das.interchange.feature import Whole
from das.interchange.score import score
from das.interchange.subspace import Subspace, random_basis
from das.network.site import Site
from das.planted.joined import two_heads, two_layers
from das.planted.structures import spanned
from das.run.plan import plan

BOTH = {
    "tokens": (spanned, {"positions": ["noise.first", "noise.last", "noise.first+noise.last"]}),
    "heads": (two_heads, {"components": ["heads.0", "heads.1", "heads.0+heads.1"]}),
    "layers": (two_layers, {"layers": [0, 1, "0+1"]}),
}
SIZES = {
    "train_pairs": 512,
    "val_pairs": 200,
    "test_pairs": 200,
    "seed": 0,
    "chosen_seeds": 1,
    "closed_forms": [],
    "logger": "none",
}


@cache
def case(name):
    make, axis = BOTH[name]
    made = make(0)
    experiment = Experiment(made.task, made.lm, **{**made.search, **axis}, **SIZES)
    return made, experiment, experiment.material()


def iia(name, site, features):
    _, experiment, m = case(name)
    return score(m.engine, m.data["test"], {0: (experiment.hypotheses[0], site, features)})[0].mean(1).tolist()


@pytest.mark.parametrize("name", ["heads", "layers"])
def test_the_planted_columns_do_everything_together_and_each_a_part(name):
    basis, site = case(name)[0].basis[:, None], case(name)[1].sites[-1]
    masks = [torch.tensor([mask]) for mask in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0])]
    both, one, other = iia(name, site, [Subspace(basis, mask) for mask in masks])
    assert both == 1
    assert all(0.55 < part < 0.85 for part in (one, other))
    random = Subspace(random_basis(len(basis), 2, torch.Generator().manual_seed(0))[:, None], masks[0])
    assert iia(name, site, [random])[0] < 0.7


def test_at_two_layers_the_later_swap_must_leave_what_the_earlier_one_did():
    """A whole vector put at the later layer undoes it."""
    assert iia("layers", case("layers")[1].sites[-1], [Whole()])[0] < 0.6


@cache
def finished(name, folder, **settings):
    made, experiment, _ = case(name)
    axis = {k: getattr(experiment.settings, k) for k in ("layers", "positions", "components")}
    wanted = {"subspace": "nested:k=4", "steps": 80, "check_every": 40, **SIZES, **settings}
    return Experiment(made.task, made.lm, **axis, **wanted).run(folder)


@pytest.mark.slow
def test_a_run_chooses_the_site_of_both_layers_and_supports_it_there_alone(tmp_path):
    matplotlib.use("Agg")
    run = finished("layers", tmp_path / "run", nulls=2, budget=1.0, train_pairs=256, val_pairs=100, test_pairs=100)
    entry = run.summary["hypotheses"]["code"]
    assert (entry["layer"], entry["verdict"]["verdict"], entry["rank"]) == ("0+1", "supported", 2)
    table = run.table().set_index("layer")["test_iia"]
    assert table.loc["0+1"].min() > 0.97
    assert all(0.55 < table.loc[layer] < 0.85 for layer in (0, 1))
    assert {site.layer for site in sites_of(run.screened())} == {0, 1, "0+1"}
    rows, positions, values = grid(run, "code")
    assert (rows, positions) == ([(0, "block_output"), (1, "block_output"), ("0+1", "block_output")], ["last"])
    assert values.argmax() == 2
    labels = [tick.get_text() for tick in heatmap(run, "code").get_yticklabels()]
    assert labels == ["0", "1", "0+1"]
    cell = run.table()["cell"][run.table()["layer"] == "0+1"].iloc[0]
    assert run.alignment(cell).cell.site == Site("0+1", "last")
    assert run.look("code", task=case("layers")[0].task, lm=case("layers")[0].lm).explained["share"].max() > 0.5


@pytest.mark.parametrize("kind", ["fixed:k=1,each=true", "nested:k=4,each=true"])
def test_places_with_columns_of_their_own_are_found_too(tmp_path, kind):
    made, *_ = case("heads")
    settings = {"subspace": kind, "steps": 100, "check_every": 50, **SIZES}
    run = Experiment(made.task, made.lm, **made.search, **settings).run(tmp_path / "run")
    cell = run.table().iloc[0]
    assert cell["test_iia"] > 0.97
    assert cell["rank"] == 2
    feature = run.alignment(cell["cell"]).feature
    columns = feature.columns(0).split(8)
    assert sorted(int(part.norm(dim=0).sum().round()) for part in columns) == [1, 1]
    torch.testing.assert_close(feature.columns(0).T @ feature.columns(0), torch.eye(2), rtol=0, atol=1e-5)


def test_a_plan_counts_sites_and_not_their_places():
    _, experiment, _ = case("heads")
    assert plan(experiment).grid == 3


# --- columns by place ---


@pytest.mark.parametrize("kind", [Fixed(k=3, each=True), Nested(k=3, each=True), Boundless(k=3, each=True)])
def test_columns_by_place_are_orthonormal_and_each_lies_at_one(kind):
    stack = SubspaceStack(kind, [8, 12], 2, [0, 1])
    basis = stack.basis()
    assert basis.shape == (2, 20, 2, 6)
    flat = basis.flatten(2)
    torch.testing.assert_close(flat.mT @ flat, torch.eye(12).expand(2, -1, -1), rtol=0, atol=1e-5)
    first = basis[:, :8].norm(dim=1)
    torch.testing.assert_close(first, torch.tensor([1.0, 0.0] * 3).expand(2, 2, -1), rtol=0, atol=1e-5)
    assert stack.hard_mask().shape == (2, 2, 6)
    mask = stack.training_mask(torch.tensor([0, 1]), 5, 0.5, 1)
    assert torch.equal(mask[..., ::2], mask[..., 1::2])


# --- names ---


def test_cells_of_older_runs_keep_their_ids_and_odd_names_go_by_a_number():
    known = {
        "h-L03.amount.last-nested32.41eb-s0": Cell("h", Site(3, "amount.last"), Nested()),
        "h-L12.heads.3.last-1-boundless8.25d6-s2": Cell("h", Site(12, "last-1", "heads.3"), Boundless(k=8), 2),
        "h-L00.site5ceb86bc-fixed2.814f-s1": Cell("h", Site(0, "last", "a.{layer}/b"), Fixed(k=2), 1),
    }
    assert all(cell.id == name for name, cell in known.items())
    assert Cell("h", Site("3+5", "a.last+last"), Nested()).id == "h-L03+05.a.last+last-nested32.41eb-s0"
    assert Cell("h", Site("4<-3", "last"), Nested()).id.startswith("h-L04.site")
    assert Cell("h", Site(3, "last"), Nested(each=True)).id != Cell("h", Site(3, "last"), Nested()).id
    assert "each" not in plain_kind(Nested())
    assert parse_kind(plain_kind(Nested(each=True))) == parse_kind("nested:each=true") == Nested(each=True)


def test_a_joint_cell_is_kept_and_read_back(tmp_path):
    cell = Cell("h", Site("3+5<-4", "a.last<-last+last"), Nested(k=2, each=True))
    Alignment(cell, Subspace(torch.eye(4)[:, None, :2], torch.ones(1, 2))).save(tmp_path, {})
    assert Alignment.load(tmp_path).cell == cell


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ["0+1"], "positions": ["last+noise.last+noise.first"]}, "give as many of each"),
        ({"layers": ["0+9"]}, "layer 9 does not exist"),
        ({"layers": ["0+"]}, "cannot be read"),
        ({"positions": ["last+last"]}, "named twice"),
        ({"positions": ["noise+noise.last"]}, "must be apart"),
        ({"positions": ["last<-noise"]}, "1 token(s) of the base cannot take the vectors of 3"),
        ({"positions": ["last+"]}, "cannot be read"),
        ({"positions": ["last<-"]}, "cannot be read"),
        ({"positions": ["last"], "subspace": "nested:k=25,each=true"}, "give k up to 24"),
    ],
)
def test_what_cannot_be_joined_is_one_clear_error_before_anything_is_done(settings, message):
    made = case("tokens")[0]
    with pytest.raises(DasError) as error:
        Experiment(made.task, made.lm, **{"layers": [0], "positions": ["last"]} | settings, **SIZES).ready()
    assert message in str(error.value)
