"""Closed-form finders: means span what tells values apart, components what varies; both are judged as any other finder."""

import pytest
import torch

from das import Experiment
from das.errors import DasError
from das.find.alignment import Cell
from das.find.directions import PCA, Means
from das.find.kinds import KINDS, parse_kind
from das.find.search import Search, align
from das.interchange.subspace import largest_angle
from das.network.site import Site
from das.planted.planting import plant

SIZES = {"train_pairs": 2048, "val_pairs": 400, "test_pairs": 400, "layers": [0], "positions": ["last"], "logger": "none"}
FEW = SIZES | {"train_pairs": 256, "val_pairs": 100, "test_pairs": 50}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network = plant(1)
    kinds = {"subspace": Means(), "beside": [PCA(), "nested:k=8"]}
    made = Experiment(network.task, network.lm, **kinds, **SIZES, nulls=2, chosen_seeds=1, steps=150)
    return network, made.run(tmp_path_factory.mktemp("directions") / "run")


def test_a_planted_direction_is_found_by_the_difference_in_means(run):
    network, found = run
    row = found.table().set_index("subspace").loc["means8"]
    assert row["test_iia"] > 0.95
    assert row["rank"] == 1
    assert largest_angle(found.alignment(row["cell"]).feature.basis[:, 0, :1], network.basis) < 10


def test_closed_forms_have_all_that_rotations_have(run):
    _, found = run
    (summary,) = found.summary["hypotheses"].values()
    assert summary["verdict"]["verdict"] in ("supported", "partly")
    assert set(summary["verdict"]["facts"]["p"]) == {"untrained", "shuffled", "random"}
    for row in found.table().itertuples():
        cell = found.alignment(row.cell).cell
        assert found.scorecard(cell)["decoding"]
        assert set(found.card(cell)["curves"]["val"]) >= {"1"}
    compared = {text for each in found.summary["comparisons"] for text in map(str, each.values())}
    assert any("means8" in text for text in compared)
    assert any("pca8" in text for text in compared)


@pytest.mark.parametrize("kind", [Means(k=4), PCA(k=4)])
@pytest.mark.parametrize("variables", [1, 2])
def test_columns_are_orthonormal_and_no_more_than_were_asked_for(kind, variables, price_tagging):
    hypothesis = "left_boundary" if variables == 1 else "left_and_right"
    m = Experiment(price_tagging, "price-tagger-tiny", **FEW, hypotheses=[hypothesis]).material()
    (a,) = align([Cell(hypothesis, Site(0, "last"), kind)], Search(m.engine, m.data))
    flat = a.feature.basis.flatten(1)
    torch.testing.assert_close(flat.T @ flat, torch.eye(flat.shape[1]), rtol=0, atol=1e-5)
    assert a.feature.variables == variables
    assert flat.shape[1] <= 4 * variables


def test_pairs_that_do_not_know_their_values_are_refused():
    network = plant(1)
    m = Experiment(network.task, network.lm, **SIZES).material()
    for labelled in m.data["train"].pairs.values():
        object.__setattr__(labelled, "classes", None)
    with pytest.raises(DasError, match="which values the variable has"):
        align([Cell(next(iter(m.data["train"].pairs)), Site(0, "last"), Means())], Search(m.engine, m.data))


@pytest.mark.parametrize("name", [name for name in KINDS if name != "given"])  # which is made from a file
def test_every_kind_is_made_from_its_name(name):
    assert type(parse_kind(name)).__name__.lower() == name
