"""Neurons: a trained mask finds exactly the units that hold a variable, and no others."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from das import Experiment
from das.errors import DasError
from das.find.alignment import Cell
from das.find.kinds import parse_kind
from das.find.neurons import Neurons
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.find.stack import Ground
from das.interchange.batch import Batch
from das.interchange.engine import HookEngine
from das.interchange.score import captures_for, score
from das.interchange.subspace import Subspace
from das.interchange.units import Units
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled
from das.planted.planting import Plan, Xor
from das.planted.structures import STRUCTURES
from das.task.encoded import Encoded

BITS, WIDTH = 2, 24
SIZES = {"train_pairs": 512, "val_pairs": 100, "test_pairs": 200}
FEW = {"train_pairs": 64, "val_pairs": 32, "test_pairs": 32}


def planted(neurons, seed=0):
    order = np.random.default_rng(seed).permutation(2**BITS)
    return Plan(Xor(BITS, order), WIDTH, seed, neurons=neurons).plain()


def found(made, kinds, folder, steps=60, sizes=SIZES):
    """kind → alignment and test IIA, all trained in one grid."""
    e = Experiment(made.task, made.lm, **made.search, **sizes)
    m, (site,), (name,) = e.material(), e.sites, e.hypotheses
    cells = [Cell(name, site, parse_kind(kind)) for kind in kinds]
    done = align(cells, Search(m.engine, m.data, Schedule(steps=steps, batch=32), folder))
    hits = score(m.engine, m.data["test"], {i: (name, site, [a.feature]) for i, a in enumerate(done)})
    return {kind: (a, hits[i].mean()) for i, (kind, a) in enumerate(zip(kinds, done, strict=True))}


def test_the_neurons_that_hold_a_variable_are_found_exactly(tmp_path):
    made = planted(True)
    alignment, iia = found(made, ["neurons:k=8"], tmp_path)["neurons:k=8"]
    assert set(alignment.feature.chosen().tolist()) == set(made.basis.sum(1).nonzero()[:, 0].tolist())
    assert iia >= 0.99
    assert alignment.curve[BITS] > alignment.curve[1] + 0.1


def test_few_neurons_do_not_hold_what_lies_in_other_directions(tmp_path):
    both = found(planted(False), ["neurons:k=4", "fixed:k=2"], tmp_path)
    assert both["neurons:k=4"][1] < 0.8
    assert both["fixed:k=2"][1] >= 0.99


def test_masks_and_rotations_that_train_together_are_what_they_are_alone(tmp_path):
    made, kinds = planted(True), ["neurons:k=4", "fixed:k=2"]
    together = found(made, kinds, tmp_path / "together", 6, FEW)
    for kind in kinds:
        alone = found(made, [kind], tmp_path / kind, 6, FEW)[kind][0].feature.tensors()
        assert all(torch.equal(alone[name], kept) for name, kept in together[kind][0].feature.tensors().items())


def test_principal_components_that_hold_a_variable_are_found_as_a_subspace(tmp_path):
    made = planted(False)
    made.lm.model.embeddings[0].weight.data *= 3  # louder than the noise, so that components are of the variable
    alignment, iia = found(made, ["neurons:k=8,over=pca"], tmp_path, steps=40)["neurons:k=8,over=pca"]
    assert isinstance(alignment.feature, Subspace)
    assert iia >= 0.95


def test_of_a_variable_that_is_not_there_nothing_is_supported(tmp_path):
    made = STRUCTURES["absent"].make(0)
    sizes = FEW | {"test_pairs": 100, "steps": 10, "chosen_seeds": 1, "closed_forms": []}
    run = Experiment(made.task, made.lm, **made.search, **sizes, subspace="neurons:k=4", logger="none").run(tmp_path / "run")
    (entry,) = run.summary["hypotheses"].values()
    assert entry["verdict"]["verdict"] == "not above the null"


# --- heads ---


@pytest.fixture(scope="module")
def heads():
    """A network of four heads a layer, with pairs whose labels are what it says when the second alone is swapped."""
    torch.manual_seed(0)
    options = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    lm = LM(LlamaForCausalLM(LlamaConfig(**options, pad_token_id=0)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    ids, rows = np.random.default_rng(0).integers(3, 50, (320, 5)), np.arange(160)
    prompts = Encoded(ids, np.full(320, 5), {"last": np.full((320, 1), 4)})
    own = lm.logits(prompts).argmax(-1).numpy()
    data = Dataset(prompts, {"h": Labelled(rows, rows[None] + 160, own[rows], own[rows], own[rows + 160])})
    site = Site(1, "last", "heads")
    batch = Batch.capture(data, captures_for(engine := HookEngine(lm), data, [site]), {"h": rows})
    swap = batch.swap("h", site)
    change = Units(torch.tensor([[1]]), torch.ones(1, 1), 32, 8).swap(swap.base, swap.source)
    label = batch.resume(engine, site, {"h": swap}, [change[None]])[0].argmax(-1).numpy()
    return engine, site, Dataset(prompts, {"h": Labelled(rows, rows[None] + 160, label, own[rows], own[rows + 160])})


def test_the_head_that_an_answer_goes_by_is_found(heads, tmp_path):
    engine, site, data = heads
    search = Search(engine, {"train": data, "val": data}, Schedule(steps=30, batch=32), tmp_path)
    (alignment,) = align([Cell("h", site, Neurons(over="heads"))], search)
    assert alignment.feature.chosen().tolist() == [1]
    assert (alignment.rank, alignment.feature.unit) == (8, 8)
    assert set(alignment.curve) == {8, 16, 24, 32}
    assert max(alignment.curve.values()) == 1


def test_a_mask_over_heads_where_there_are_none_is_refused_before_weights_are_loaded():
    with pytest.raises(DasError, match="is not made of heads"):
        Experiment(
            "price_tagging", "price-tagger-tiny", layers=[1], components=["mlp_neurons"], positions=["last"],
            subspace="neurons:over=heads",
        )  # fmt: skip


def test_heads_of_several_places_are_units_side_by_side(heads):
    engine, _, data = heads
    ground = Ground(engine, data, "h", 1, Site("0+1", "last", "heads+heads.2"))
    coordinates = Neurons(over="heads").coordinates(ground)
    assert (coordinates.size, coordinates.block) == (5, 8)
