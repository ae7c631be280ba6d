"""Closed-form finders: means span what tells values apart, components what varies; both are judged as any other finder."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from das import Experiment
from das.errors import DasError
from das.find.alignment import Cell
from das.find.diffmeans import DiffMeans
from das.find.directions import Direction
from das.find.kinds import KINDS, parse_kind
from das.find.lat import LAT
from das.find.pca import PCA
from das.find.probe import Probe
from das.find.search import Search, align
from das.interchange.score import score
from das.interchange.subspace import largest_angle
from das.interchange.vectors import vectors
from das.network.site import Site
from das.planted.planting import Plan, Sum, Xor, plant

SIZES = {"train_pairs": 2048, "val_pairs": 400, "test_pairs": 400, "layers": [0], "positions": ["last"], "logger": "none"}
FEW = SIZES | {"train_pairs": 256, "val_pairs": 100, "test_pairs": 50}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network = plant(1)
    kinds = {"subspace": DiffMeans(), "beside": [PCA(), "nested:k=8"]}
    made = Experiment(network.task, network.lm, **kinds, **SIZES, nulls=2, chosen_seeds=1, closed_forms=[], steps=150)
    return network, made.run(tmp_path_factory.mktemp("directions") / "run")


def test_a_planted_direction_is_found_by_the_difference_in_means(run):
    network, found = run
    row = found.table().set_index("subspace").loc["diffmeans8"]
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
        assert ("1" in found.card(cell)["curves"].get("val", ())) == (found.alignment(row.cell).feature.mask.shape[1] > 1)
    compared = {text for each in found.summary["comparisons"] for text in map(str, each.values())}
    assert any("diffmeans8" in text for text in compared)
    assert any("pca8" in text for text in compared)


@cache
def prices():
    return Experiment("price_tagging", "price-tagger-tiny", **FEW, hypotheses=["left_boundary", "left_and_right"]).material()


@pytest.mark.parametrize("variables", [1, 2])
def test_columns_are_orthonormal_and_no_more_than_were_asked_for(variables):
    m, kinds = prices(), [DiffMeans(k=4), PCA(k=4), LAT(k=4), Probe(k=4), Probe(k=4, logistic=False)]
    cells = [Cell(["left_boundary", "left_and_right"][variables - 1], Site(0, "last"), kind) for kind in kinds]
    for a in align(cells, Search(m.engine, m.data)):
        flat = a.feature.basis.flatten(1)
        torch.testing.assert_close(flat.T @ flat, torch.eye(flat.shape[1]), rtol=0, atol=1e-5)
        assert a.feature.variables == variables
        assert flat.shape[1] <= 4 * variables


@dataclass(frozen=True)
class Uneven(Direction):
    """One column of the first variable and four of the second."""

    k: int = 4

    def columns(self, seen):
        axes = torch.eye(seen.base.shape[1])
        return [axes[:, :1], axes[:, 1:5]]


def test_a_variable_with_more_columns_than_another_keeps_them_all():
    """What fills up the other's is random, and made orthonormal behind them."""
    m = prices()
    (a,) = align([Cell("left_and_right", Site(0, "last"), Uneven())], Search(m.engine, m.data))
    one, other = a.feature.basis.unbind(1)
    assert abs(float(one[0, 0])) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(other[1:5].square().sum(0), torch.ones(4), rtol=0, atol=1e-5)


@dataclass(frozen=True)
class Mixed(Direction):
    """The first column of each variable is the second one of the other."""

    k: int = 2

    def columns(self, seen):
        axes = torch.eye(seen.base.shape[1])
        return [axes[:, [0, 1]], axes[:, [1, 0]]]


def test_no_variable_takes_another_ones_first_column():
    m = prices()
    (a,) = align([Cell("left_and_right", Site(0, "last"), Mixed())], Search(m.engine, m.data))
    torch.testing.assert_close(a.feature.basis[[0, 1], [0, 1], 0].abs(), torch.ones(2), rtol=0, atol=1e-5)


def test_pairs_that_do_not_know_their_values_are_refused():
    network = plant(1)
    m = Experiment(network.task, network.lm, **SIZES).material()
    for labelled in m.data["train"].pairs.values():
        object.__setattr__(labelled, "classes", None)
    with pytest.raises(DasError, match="which values the variable has"):
        align([Cell(next(iter(m.data["train"].pairs)), Site(0, "last"), DiffMeans())], Search(m.engine, m.data))


MADE_OF = "given", "dictionary", "means"
"""Two that are made from a file or folder, and an old name."""


@pytest.mark.parametrize("name", [name for name in KINDS if name not in MADE_OF])
def test_every_kind_is_made_from_its_name(name):
    assert type(parse_kind(name)).__name__.lower() == name


def test_runs_from_before_the_name_was_changed_are_read():
    assert parse_kind({"kind": "means", "k": 4, "tolerance": 0.02}) == DiffMeans(k=4)


def test_a_variable_of_too_many_values_is_refused():
    m = prices()
    pairs = m.data["train"].pairs["left_boundary"]
    data = {"train": replace(m.data["train"], pairs={"left_boundary": replace(pairs, classes=np.arange(len(pairs))[None] * 2)})}
    with pytest.raises(DasError, match=r"511 in 256 pairs, and at most 256 can be told apart: name lat"):
        align([Cell("left_boundary", Site(0, "last"), Probe())], Search(m.engine, data | {"val": m.data["val"]}))


# --- what is planted ---

ALIKE = {"only": 0.5, "keep": 0.5}
"""Half of the pairs are alike in all but the variable."""


def search(network, **settings):
    made = Experiment(network.task, network.lm, **network.search, logger="none", **SIZES_OF_A_SEARCH | settings)
    m = made.material()
    return made.grid()[-1], Search(m.engine, m.data)


SIZES_OF_A_SEARCH = {"train_pairs": 512, "val_pairs": 100, "test_pairs": 400, "families": ALIKE}


def found(cell, searched, kind):
    (alignment,) = align([Cell(cell.hypothesis, cell.site, parse_kind(kind))], searched)
    return alignment


@pytest.mark.slow
def test_lat_finds_a_planted_direction_in_256_pairs_whatever_the_seed():
    for seed in range(20):
        network = plant(1, 64, seed)
        cell, searched = search(network, train_pairs=256, val_pairs=20, test_pairs=20, seed=seed)
        one, other = (found(cell, searched, "lat") for _ in range(2))
        assert abs(float(one.feature.basis[:, 0, 0] @ network.basis[:, 0])) >= 0.98
        assert torch.equal(one.feature.basis, other.feature.basis)


@pytest.mark.parametrize("kind", ["probe", "probe:logistic=false"])
def test_a_probe_finds_the_direction_that_tells_values_apart(kind):
    network = plant(1, 64)
    cell, searched = search(network)
    assert abs(float(found(cell, searched, kind).feature.basis[:, 0, 0] @ network.basis[:, 0])) >= 0.98


def test_without_pairs_that_are_alike_lat_goes_by_all_in_which_the_variable_differs():
    """What else differs is added up too, and here it varies more."""
    network = plant(1, 64)
    cell, searched = search(network, families={"flip": 1.0})
    assert abs(float(found(cell, searched, "lat:k=1").feature.basis[:, 0, 0] @ network.basis[:, 0])) < 0.9


def test_lat_goes_without_a_causal_model():
    """Which pairs differ is then not known: all that are swapped are looked at."""
    cell, searched = search(plant(1, 64), families={"only": 1.0})
    known = found(cell, searched, "lat")
    pairs = searched.data["train"].pairs[cell.hypothesis]
    for name in ("classes", "changed", "alone"):
        object.__setattr__(pairs, name, None)
    torch.testing.assert_close(found(cell, searched, "lat").feature.basis[:, 0, 0].abs(), known.feature.basis[:, 0, 0].abs())
    with pytest.raises(DasError, match="lat goes without"):
        found(cell, searched, "probe")


# --- reading without acting ---


class Swelling(torch.nn.Module):
    """Adds a louder copy of what is read, its loudness drawn anew for each prompt by what else is there: it tells the variable
    better than what is read, and nothing reads it."""

    def __init__(self, read, copy, noise):
        super().__init__()
        self.read, self.copy, self.noise = read, copy, noise

    def forward(self, hidden):
        loudness = torch.exp(hidden @ self.noise)
        return hidden + 10 * loudness * (hidden @ self.read) @ self.copy.T


def swelling():
    """Two bits of x, the louder copy in other directions; a swap along the directions that both span moves what is read by what
    little of it lies in them."""
    plan = Plan(Xor(1), 24, 0, spare=1)
    spread = (plan.noise @ plan.rest).std(0)[0]
    module = Swelling(plan.x, plan.spare[0], plan.rest[:, :1] / spread)
    return plan.planted(plan.code(plan.x), [torch.nn.Sequential(Sum(), module), plan.multiply()], plan.x)


def test_a_louder_copy_that_varies_is_read_by_lat_and_drives_nothing_and_training_finds_what_is_read(tmp_path):
    network = swelling()
    cell, searched = search(network, families={"only": 0.5, "flip": 0.5}, train_pairs=2048)
    lat, trained = found(cell, searched, "lat:k=1"), found(cell, searched, "fixed:k=1")
    test = searched.data["val"]
    pairs = test.pairs[cell.hypothesis]
    (rows,) = (rows for _, rows in vectors(searched.engine, test, pairs.base, [cell.site]))
    side = (lat.feature.read(rows)[:, 0] > 0).numpy()
    assert max(np.mean(side == pairs.classes[0]), np.mean(side != pairs.classes[0])) >= 0.99
    hits = score(searched.engine, test, {0: (cell.hypothesis, cell.site, [lat.feature, trained.feature])})[0]
    flips = hits[:, pairs.flips].mean(1)
    assert flips[0] <= 0.5
    assert flips[1] >= 0.98
