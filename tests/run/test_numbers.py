"""Networks that give numbers: a swap is right within the tolerance, and a run finds what was planted, of one number or several."""

import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from das import CausalModel, DasError, Experiment, Hypothesis, Net, Task, Tensors, Uniform
from das.cli import main
from das.ground.storage import read_table
from das.interchange.score import score
from das.interchange.subspace import Subspace, random_basis

QUICK = {
    "layers": [0], "subspace": "nested:k=2", "steps": 90, "batch": 48, "train_pairs": 160, "val_pairs": 60, "test_pairs": 80,
    "check_every": 45, "chosen_seeds": 1, "nulls": 2, "logger": "none",
}  # fmt: skip
ROTATION = random_basis(8, 8, torch.Generator().manual_seed(0))


def both(x, y):
    return x + y


def one(both, z):
    return np.maximum(both, 0) + z


def two(both, z):
    return np.stack([np.maximum(both, 0) + z, both - z], 1)


def render(x, y, z):
    return np.stack([x, y, z], 1).astype(np.float32)


def task(answer, tolerance=0.1, **given):
    model = CausalModel(both, answer, inputs=dict.fromkeys("xyz", Uniform(-1, 1)))
    return Task(Tensors(render, tolerance=tolerance, **given), {"both": Hypothesis(model, "both")})


@cache
def network(size):
    """Holds x + y in the first direction of a rotation, z in the second and x − y, which nothing reads, in the third."""
    first, second, head = nn.Linear(3, 8, bias=False), nn.Linear(8, 3, bias=False), nn.Linear(3, size, bias=False)
    first.weight.data = ROTATION[:, :3] @ torch.tensor([[1.0, 1, 0], [0, 0, 1], [1, -1, 0]])
    second.weight.data = torch.stack([ROTATION[:, 0], -ROTATION[:, 0], ROTATION[:, 1]])
    second = nn.Sequential(second, Halves())
    head.weight.data = torch.tensor([[1.0, 0, 1], [1, -1, -1]])[:size]
    model = nn.Sequential(first, second, head)
    return Net(nn.Sequential(model, nn.Flatten(0)) if size == 1 else model, blocks=["0.0"] if size == 1 else ["0"])


class Halves(nn.Module):
    def forward(self, given):
        return torch.cat([given[:, :2].relu(), given[:, 2:]], 1)


@pytest.mark.parametrize(("size", "answer"), [(1, one), (2, two)])
def test_the_planted_direction_of_a_regression_gives_its_numbers_and_no_other_does(size, answer):
    experiment = Experiment(task(answer), network(size), **QUICK)
    material = experiment.material()
    site, data = experiment.sites[0], material.data["test"]
    planted = [Subspace(ROTATION[:, [i]][:, None], torch.ones(1, 1)) for i in range(3)]
    right, *wrong = score(material.engine, data, {0: ("both", site, planted)})[0].mean(1)
    assert right == 1
    assert max(wrong) < 0.7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """From a file, as on the command line."""
    own = tmp_path_factory.mktemp("numbers") / "own.py"
    own.write_text("import test_numbers as own\n\ntask, network = own.task(own.one), own.network(1)\n")
    return Experiment(own, own, **QUICK).run(own.parent / "run")


def test_a_run_finds_the_direction_and_none_in_a_random_network(run):
    row = run.table().iloc[0]
    assert row["test_iia"] >= 0.95
    assert row["test_lm_base"] == row["test_ceiling"] == 1
    assert max(row["test_noop"], row["test_random"]) < 0.7
    entry = run.summary["hypotheses"]["both"]
    assert entry["verdict"] not in ("refuted", "illusory")
    nulls = run.nulls()
    assert nulls[(nulls["null"] == "untrained") & (nulls["width"] == 0)]["iia"].max() < 0.7


def test_a_swap_between_values_of_ones_own_gives_numbers_as_the_run_scored_them(run):
    pairs = read_table(run.folder / "pairs.parquet").query("split == 'test'")
    base, source = ({v: pairs[f"{prefix}.{v}"].tolist() for v in "xyz"} for prefix in ("base", "source.both"))
    found, cell = run.apply("both", base, source), run.alignment(run.table()["cell"][0]).cell
    assert (found.as_expected == run.hits(cell)).all()
    x, s, z = (np.array(values) for values in (base["x"], source["x"], base["z"]))
    own, wanted = x + base["y"], np.maximum(s + source["y"], 0) + z
    assert np.allclose(found.answers["before"], np.maximum(own, 0) + z, atol=1e-5)
    table = found.table()
    assert np.allclose(table["expected"], wanted)
    assert np.allclose(table["off"], np.abs(table["after"] - wanted), atol=1e-6)
    assert (table["flips"] == (np.abs(table["after"] - table["before"]) > 0.1)).all()
    assert ((table["off"] <= 0.1) == found.as_expected).all()
    assert 0 < table["flips"].sum() < len(table)


def test_on_the_command_line_a_swap_shows_numbers_and_how_far_off_they_are(run, capsys):
    asked = ["apply", str(run.folder), "both", "--base", "{x: 0.5, y: 0.25, z: 0.1}", "--source", "{x: -0.5, y: 0.125}"]
    main(asked)
    shown = capsys.readouterr().out
    main([*asked, "--json"])
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["prompts"] == {"before": "x: 0.5, y: 0.25, z: 0.1", "source": "x: -0.5, y: 0.125, z: 0.1"}
    assert abs(pair["answers"]["before"] - 0.85) < 1e-5
    assert abs(pair["answers"]["after"] - 0.1) < 0.1
    assert (pair["expected"], pair["flips"], pair["as_expected"]) == (0.1, True, True)
    assert re.search(r"^before  0\.85 +at 'last' of 'x: 0\.5, y: 0\.25, z: 0\.1'$", shown, re.MULTILINE)
    assert re.search(r"^as the causal model says: 0\.1, [0-9.e-]+ off \(tolerance 0\.1\)$", shown, re.MULTILINE)


def test_within_the_tolerance_is_by_hand_what_a_swap_gives():
    experiment = Experiment(task(two, 0.3), network(2), **QUICK)
    data = (material := experiment.material()).data["test"]
    feature = Subspace(random_basis(8, 2, torch.Generator().manual_seed(1))[:, None], torch.ones(1, 2))
    found = score(material.engine, data, {0: ("both", experiment.sites[0], [feature])})[0][0]
    pairs, x = material.pairs["test"]["both"], {}
    for name, table in (("base", pairs.base), ("source", pairs.sources["both"])):
        x[name] = torch.from_numpy(render(*(table[v] for v in "xyz")))
    first, *rest = network(2).model
    hidden = {name: first(given) for name, given in x.items()}
    basis = feature.basis[:, 0]
    swapped = hidden["base"] + (hidden["source"] - hidden["base"]) @ basis @ basis.T
    with torch.no_grad():
        given = nn.Sequential(*rest)(swapped).numpy()
    s, z = pairs.sources["both"]["x"] + pairs.sources["both"]["y"], pairs.base["z"]
    expected = (np.abs(given - np.stack([np.maximum(s, 0) + z, s - z], 1)) <= 0.3).all(1)
    assert 0 < expected.sum() < len(expected)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        (lambda: task(two), {}, r"an answer is 2 number\(s\), and .* gives 1"),
        (lambda: task(one, None), {}, "or tolerance= if the network gives numbers"),
        (lambda: task(one, answers=lambda v: f"{v}"), {}, "with a tolerance, each answer is a number"),
        (lambda: task(one, -1.0), {}, "tolerance of das.Tensors"),
        (lambda: task(one), {"measures": ["probability"]}, "measure 'probability' goes by the scores of classes"),
        (lambda: task(one), {"loss": "kl"}, "loss 'kl' goes by the scores of classes"),
    ],
)
def test_what_does_not_fit_numbers_is_refused_before_anything_is_run(made, settings, words):
    with pytest.raises(DasError, match=words):
        Experiment(made(), network(1), **QUICK, **settings)
