"""Neurons: a trained mask finds exactly the units that hold a variable, and no others."""

import numpy as np
import pytest

from das import Experiment
from das.find.alignment import Cell
from das.find.kinds import parse_kind
from das.find.schedule import Schedule
from das.find.search import Search, align
from das.interchange.score import score
from das.planted.planting import Plan, Xor

BITS, WIDTH = 2, 24
SIZES = {"train_pairs": 512, "val_pairs": 200, "test_pairs": 400}


def planted(neurons, seed=0):
    order = np.random.default_rng(seed).permutation(2**BITS)
    return Plan(Xor(BITS, order), WIDTH, seed, neurons=neurons).plain()


def found(made, kinds, folder, steps=100):
    """kind → alignment and test IIA, all trained in one grid."""
    e = Experiment(made.task, made.lm, **made.search, **SIZES)
    m, (site,), (name,) = e.material(), e.sites, e.hypotheses
    cells = [Cell(name, site, parse_kind(kind)) for kind in kinds]
    done = align(cells, Search(m.engine, m.data, Schedule(steps=steps, batch=32), folder))
    hits = score(m.engine, m.data["test"], {i: (name, site, [a.feature]) for i, a in enumerate(done)})
    return {kind: (a, hits[i].mean()) for i, (kind, a) in enumerate(zip(kinds, done, strict=True))}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_neurons_that_hold_a_variable_are_found_exactly(seed, tmp_path):
    made = planted(True, seed)
    alignment, iia = found(made, ["neurons:k=8"], tmp_path)["neurons:k=8"]
    assert set(alignment.feature.chosen().tolist()) == set(made.basis.sum(1).nonzero()[:, 0].tolist())
    assert iia >= 0.99
    assert alignment.curve[BITS] > alignment.curve[1] + 0.1


def test_few_neurons_do_not_hold_what_lies_in_other_directions(tmp_path):
    both = found(planted(False), ["neurons:k=4", "fixed:k=2"], tmp_path)
    assert both["neurons:k=4"][1] < 0.8
    assert both["fixed:k=2"][1] >= 0.99
