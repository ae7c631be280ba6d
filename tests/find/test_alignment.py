"""Training finds what was planted, keeps bases orthonormal, and saves what it found."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from das import Alignment, Boundless, Experiment, Nested
from das.errors import DasError
from das.find.alignment import Cell
from das.find.grid import GridTrainer
from das.find.schedule import Schedule
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, largest_angle, random_basis
from das.network.site import Site
from das.planted.planting import plant

SETTINGS = {
    "layers": [0],
    "positions": ["last"],
    "chosen_seeds": 1,
    "closed_forms": [],
    "logger": "none",
    "steps": 300,
    "batch": 128,
}
PAIRS = {"train_pairs": 8192, "val_pairs": 300, "test_pairs": 300, "check_every": 300}


@pytest.fixture(scope="module", params=[1, *(pytest.param(rank, marks=pytest.mark.slow) for rank in (2, 4, 8))])
def found(request, tmp_path_factory):
    """A planted rank and the run that looked for it."""
    network = plant(request.param)
    experiment = Experiment(network.task, network.lm, subspace=Nested(), beside=[Boundless()], **SETTINGS, **PAIRS)
    return request.param, network, experiment.run(tmp_path_factory.mktemp("planted") / "run")


@pytest.mark.parametrize("kind", ["nested32", "boundless32"])
def test_a_planted_subspace_is_found(found, kind):
    planted, network, run = found
    row = run.table().set_index("subspace").loc[kind]
    assert row["test_iia"] >= 0.99
    assert row["rank"] == planted
    alignment = run.alignment(row["cell"])
    columns = alignment.feature.basis[:, 0, :planted]
    assert largest_angle(columns, network.basis) < 10


def test_a_random_subspace_of_that_rank_is_worth_less(found):
    assert (found[2].table()["test_flip_random"] < 0.7).all()


def test_bases_stay_orthonormal_through_training_saving_and_loading(found):
    _, _, run = found
    for cell in run.found()["cell"]:
        flat = run.alignment(cell).feature.basis.flatten(1)
        torch.testing.assert_close(flat.T @ flat, torch.eye(flat.shape[1]), rtol=0, atol=1e-5)


def test_an_alignment_survives_saving(found, tmp_path):
    _, _, run = found
    alignment = run.alignment(run.table()["cell"][0])
    alignment.save(tmp_path, {})
    again = Alignment.load(tmp_path)
    assert again.cell == alignment.cell
    assert again.steps == alignment.steps
    assert torch.equal(again.feature.basis, alignment.feature.basis)
    assert torch.equal(again.feature.mask, alignment.feature.mask)


@pytest.mark.parametrize("feature", [Subspace(random_basis(8, 3, torch.Generator())[:, None], torch.ones(1, 3)), Whole(2)])
def test_a_folder_of_before_there_were_features_loads(feature, tmp_path):
    Alignment(Cell("h", Site(0, "last"), Nested(k=3)), feature, steps=7).save(tmp_path, {})
    card = json.loads((tmp_path / "card.json").read_text())
    card.pop("feature")
    (tmp_path / "card.json").write_text(json.dumps(card))
    tensors = feature.tensors()
    save_file(tensors | {"soft": tensors["hard"].clone()}, tmp_path / "alignment.safetensors")
    again = Alignment.load(tmp_path)
    assert type(again.feature) is type(feature)
    assert (again.rank, again.boundary, again.steps) == (feature.size, feature.size, 7)


def test_a_feature_that_nobody_knows_is_refused(tmp_path):
    Alignment(Cell("h", Site(0, "last"), Nested()), Whole()).save(tmp_path, {})
    card = (tmp_path / "card.json").read_text().replace('"Whole"', '"Unheard"')
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(DasError, match="feature of type 'Unheard': expected one of Subspace"):
        Alignment.load(tmp_path)


@pytest.fixture(scope="module")
def trainer():
    """A grid on a planted network, not yet trained: two hypothesis-free sites of two kinds."""
    network = plant(2)
    experiment = Experiment(network.task, network.lm, **SETTINGS, **PAIRS)
    m = experiment.material()
    cells = [
        Cell("code", Site(layer, "last"), kind, s) for layer in (0, 1) for kind in (Nested(k=4), Boundless(k=4)) for s in (0, 1)
    ]
    return GridTrainer(cells, m.engine, m.data["train"], m.data["val"], {"code": 1}, Schedule(steps=100, batch=50))


def test_the_network_is_no_child_of_the_module(trainer):
    names = [name for name, _ in trainer.named_parameters()]
    assert all(name.startswith(("stacks.", "kept.")) for name in names)


def test_cells_of_one_kind_share_a_stack_and_each_kind_has_its_own_rates(trainer):
    assert len(trainer.stacks) == 2
    optimizer = trainer.configure_optimizers()["optimizer"]
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.01, 0.02, 0.06]


def test_every_pair_is_used_once_before_any_comes_again(trainer):
    n = 200
    first = np.concatenate([trainer._rows(n, step) for step in range(4)])
    second = np.concatenate([trainer._rows(n, step) for step in range(4, 8)])
    assert sorted(first) == sorted(second) == list(range(n))
    assert list(first) != list(second)


def test_a_stopped_cell_leaves_the_batch(trainer):
    before = trainer.active
    trainer.stopped[0] = 10
    try:
        assert trainer.active == before[1:]
        assert all(0 not in members for group in trainer.groups().values() for members in group.values())
    finally:
        trainer.stopped[0] = trainer.schedule.steps
