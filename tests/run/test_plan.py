"""A plan counts what a run does."""

import importlib
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

from das import DasError, Experiment
from das.cli import main
from das.find.kinds import parse_kind
from das.find.rank import widths
from das.interchange import saelens
from das.interchange.sae import SAE
from das.network.lm import LM
from das.planted.planting import plant
from das.run.amounts import Meter
from das.run.captured import Capturing, every_bytes
from das.run.costs import cell_flops
from das.run.machine import MACHINES, machine_of
from das.run.part import parts_of
from das.run.plan import SHAPELESS, plan, plan_of
from das.run.searched import settling
from das.run.settings import Settings, read_yaml
from das.run.stages import PURPOSES


@pytest.fixture(autouse=True)
def no_calibration(tmp_path, monkeypatch):
    """What was measured on this machine before is not known here."""
    monkeypatch.setenv("DAS_CACHE", str(tmp_path / "cache"))


def planned(machine=None, **changes):
    settings = {"layers": [5], "positions": ["last"], "memory": 0.0} | changes
    return plan(Experiment("price_tagging", "price-tagger-tiny", **settings), machine)


def test_the_layer_of_a_component_itself_is_run_again():
    assert planned(components=["heads"]).flops["grid"] > planned().flops["grid"]


def test_chosen_cells_are_counted():
    assert planned(chosen_seeds=30).flops["chosen cells"] > planned(chosen_seeds=2).flops["chosen cells"]
    assert "chosen cells" not in planned(chosen_seeds=1).flops


def test_a_rank_curve_is_judged_at_its_widths():
    fixed, nested = parse_kind("fixed:k=32"), parse_kind("nested:k=32")
    assert settling(fixed, learned=0.5) == 0
    assert settling(nested, learned=0) == len(widths(32))
    assert settling(nested, learned=0.5) > settling(nested, learned=0)
    assert planned(subspace="nested:k=32").flops["grid"] > planned(subspace="nested:k=4").flops["grid"]


def test_nulls_cost_more_the_more_there_are():
    assert "nulls" not in planned().flops
    assert 0 < planned(nulls=2).flops["nulls"] < planned(nulls=4).flops["nulls"]


def test_a_part_of_the_grid_costs_less():
    whole, part = planned(layers="all"), planned(layers="all", budget=0.2)
    assert part.trained < whole.trained
    assert part.flops["grid"] < whole.flops["grid"]
    assert "screen" in part.flops
    assert "screen" not in whole.flops


@pytest.mark.parametrize("parts", [2, 3, 7, 200])
def test_workers_get_parts_of_like_cost_and_cells_at_one_site_stay_together(parts):
    e = Experiment("price_tagging", "price-tagger-tiny", layers="all", positions=["last", "last-6"], seeds=2)
    cells = e.grid()
    costs = dict(zip(cells, cell_flops(e, cells), strict=True))
    shards = parts_of(cells, list(costs.values()), parts)
    assert len(shards) == parts
    assert sorted(cell.id for shard in shards for cell in shard) == sorted(cell.id for cell in cells)
    at = {cell.site: i for i, shard in enumerate(shards) for cell in shard}
    assert all(at[cell.site] == i for i, shard in enumerate(shards) for cell in shard)
    most = 2 * len(e.hypotheses) * max(costs.values())  # two seeds of each hypothesis at a site
    loads = [sum(costs[cell] for cell in shard) for shard in shards]
    assert max(loads) - min(loads) <= most
    assert max(loads) <= max(1.1 * sum(loads) / parts, most)


def test_kept_captures_take_no_more_than_they_may_and_no_more_than_there_are():
    assert planned(memory=0.0).memory["kept captures"] == 0
    assert planned(memory=0.001).memory["kept captures"] == 0.001 * 2**30
    assert planned(memory=100).memory["kept captures"] < 100 * 2**30


def test_what_is_kept_is_captured_once_and_every_worker_captures_for_itself():
    e = Experiment("price_tagging", "price-tagger-tiny", train_pairs=64, batch=64, hypotheses=["left_boundary"])
    meter = Meter(e)
    kept, none = (Capturing(meter, room).steps(100, 1)["captured"] for room in (1e12, 0.0))
    assert 80 * kept < none < 100 * kept  # of a batch, some prompts come twice
    half = replace(e.settings, workers=2)
    assert Capturing(Meter(Experiment.from_settings(half)), every_bytes(e, meter.own)).kept == 0.5


def test_hypotheses_share_a_pool_of_prompts():
    one, four = (planned(memory=100, hypotheses=names).memory["kept captures"] for names in (["left_boundary"], None))
    assert 2 * one < four < 3 * one  # a pool has three prompts for each pair of a hypothesis


# --- bytes, as they are written ---

FEW = {"layers": [3], "positions": ["last"], "train_pairs": 16, "val_pairs": 8, "test_pairs": 8, "closed_forms": []}
WRITTEN = ["nested:k=8", "lat:k=4", "neurons:k=8", "neurons:over=pca,k=8", "dictionary:by=mask,k=2"]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    """A random one."""
    at, d = tmp_path_factory.mktemp("dictionaries") / "random", LM.load("price-tagger-tiny").width
    columns = torch.randn(d, 200, generator=torch.Generator().manual_seed(0))
    saelens.write(at, SAE(columns, torch.zeros(200), columns.T, torch.zeros(d)), ("block_output", 3))
    return at


@pytest.mark.parametrize("kind", WRITTEN)
def test_bytes_are_those_that_are_written(kind, dictionary, tmp_path, monkeypatch):
    settings = FEW | {"subspace": kind.replace("dictionary:", f"dictionary:{dictionary},"), "steps": 2, "chosen_seeds": 1}
    experiment = Experiment("price_tagging", "price-tagger-tiny", hypotheses=["left_boundary"], logger="none", **settings)
    checkpoints, train = [], importlib.import_module("das.find.train")
    monkeypatch.setattr(train, "write", lambda path, write: (write(path), checkpoints.append(path.stat().st_size)))
    (cell,) = (experiment.run(tmp_path / "run").folder / "cells").iterdir()
    tensors = sum(tensor.nbytes for tensor in load_file(cell / "alignment.safetensors").values())
    found, beside = plan(experiment).disk, FEW["test_pairs"] + 2**12  # its hits, its cards
    most = found["alignments"] - beside
    shared = (
        "dictionary" in kind
    )  # latents may have neighbours in common, which are kept once; which are chosen, a processor tells
    assert (0.5 if shared else 0.98) * most <= tensors <= 1.02 * most
    assert max(checkpoints, default=0) == pytest.approx(found["checkpoints"], abs=2**13)  # Lightning's own words


def test_only_what_trains_is_planned_to_train():
    found = planned(subspace="lat:k=1", beside=["diffmeans"])
    assert set(found.flops) == {"pairs", "grid", "evidence", "chosen cells"}
    assert found.memory["subspaces"] == found.disk["checkpoints"] == 0
    few, all_ = (
        planned(layers=[4, 5], **kinds) for kinds in ({"subspace": "lat", "beside": ["neurons"]}, {"subspace": "neurons"})
    )
    assert 0 < few.memory["subspaces"] < all_.memory["subspaces"]
    assert few.flops["grid"] < all_.flops["grid"]


# --- components that the network does not have ---


@pytest.mark.parametrize("wrong", ["heads.9", "heads.²", "model.layers.{layer}.nothing", "mlp_ouput", "model.norm"])
def test_a_component_that_the_network_lacks_is_found_before_weights_load(wrong, monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(DasError, match="component"):
        Experiment("price_tagging", "price-tagger-tiny", components=[wrong])


def test_a_wrong_component_does_not_spoil_the_folder(tmp_path, capsys):
    small = [
        "--layers",
        "[2]",
        "--positions",
        "[last]",
        "--steps",
        "2",
        "--train_pairs",
        "20",
        "--val_pairs",
        "20",
        "--test_pairs",
        "20",
        "--chosen_seeds",
        "1",
    ]
    command = [
        "run",
        "price_tagging",
        "--lm",
        "price-tagger-tiny",
        "--hypotheses",
        "[left_boundary]",
        "--subspace",
        "nested:k=4",
    ]
    command += [*small, "--out", str(tmp_path / "r"), "--components"]
    assert main([*command, "[heads.9]"]) == 2
    assert "heads 0 to 3" in capsys.readouterr().err
    assert main([*command, "heads.1"]) == 0
    assert "heads.1, layer 2, last" in capsys.readouterr().out


@pytest.mark.parametrize("memory", [float("nan"), float("inf"), -1])
def test_memory_that_is_no_size_is_one_clear_error(memory):
    with pytest.raises(DasError, match="memory"):
        planned(memory=memory)


# --- a network that is not here ---

ALPACA = Settings(**{k: v for k, v in read_yaml(ROOT / "configs" / "alpaca" / "price_tagging.yaml").items() if k != "out"})


@pytest.fixture
def absent(monkeypatch):
    """A machine without Alpaca, the hub and a GPU."""
    monkeypatch.setattr("das.network.source._hub_answers", lambda: False)
    monkeypatch.setattr("das.network.named.Named.cached", False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_alpaca_is_planned_from_its_published_shape(absent, capsys):
    assert main(["plan", str(ROOT / "configs" / "alpaca" / "price_tagging.yaml")]) == 0
    out = capsys.readouterr().out
    assert "alpaca-7b is not here: planned from its published shape" in out
    assert "which makes 82 tokens of a prompt" in out
    assert "364 in the grid" in out  # 4 hypotheses × 7 layers × 13 positions
    assert "on an A100 with 80 GB (assumed, not measured)" in out


def test_memory_and_disk_are_those_of_the_shape(absent):
    found = plan_of(replace(ALPACA, closed_forms=[]))
    weights = 2 * 32000 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008)  # without norms and the padding token's row
    assert found.memory["weights"] == pytest.approx(2 * weights, rel=1e-3)
    assert found.memory["kept captures"] <= 0.25 * 80 * 2**30
    assert found.disk["alignments"] == pytest.approx(4 * 4096 * 64 * found.memory["subspaces"] / (6 * 4 * 4096 * 64), rel=0.01)
    assert set(found.seconds) == set(found.flops) == {"pairs", "dead sites", "grid", "chosen cells", "evidence"}


def test_closed_forms_are_counted_and_cost_a_small_part():
    bare, found = planned(closed_forms=[]), planned()
    assert (bare.closed, found.closed) == (0, 4)  # two hypotheses have variables of too many values
    assert found.grid == bare.grid
    assert found.flops["grid"] == bare.flops["grid"]
    assert 0 < found.flops["closed forms"] < 0.5 * found.flops["grid"]
    assert found.disk["alignments"] > bare.disk["alignments"]


def test_a_plan_that_does_not_fit_says_so(absent):
    assert "MORE THAN" not in plan_of(ALPACA).text()
    assert "MORE THAN THE 80 GiB THAT ARE FREE" in plan_of(replace(ALPACA, seeds=30)).text()


def test_only_a_network_of_known_shape_is_planned_without_its_tokenizer(absent, monkeypatch):
    monkeypatch.setattr("das.network.named.Named.file", None)
    with pytest.raises(DasError, match="make smollm2 installs it"):
        plan_of(Settings("ioi", "smollm2-135m"))


def test_a_run_of_a_network_that_is_not_here_names_the_page_and_leaves_nothing(absent, capsys, tmp_path):
    out = tmp_path / "run"
    assert main(["run", str(ROOT / "configs" / "alpaca" / "price_tagging.yaml"), "--out", str(out)]) == 2
    assert "configs/alpaca/README.md says how to get it" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_time_on_this_machine_is_rough_until_it_is_measured():
    assert planned().machine == "this machine"
    assert "--calibrate" in planned().text()
    assert planned(device="cuda").machine.startswith("an A100")
    assert "--calibrate" not in planned(device="cuda").text()


# --- other machines ---


def test_a_faster_machine_takes_less_time_for_the_same_work():
    e = Experiment("price_tagging", "price-tagger-tiny", dtype="bfloat16", layers=[5], positions=["last"])
    found = {name: plan(e, machine_of(name)) for name in MACHINES}
    assert found["h100"].limit == found["a100"].limit == 80 * 2**30
    assert all(p.seconds["grid"] > 0 and p.calibrated == "" for p in found.values())
    assert sum(found["h100"].seconds.values()) < sum(found["a100"].seconds.values())
    assert "assumed, not measured" in found["laptop"].text()


def test_an_unknown_machine_is_one_clear_error(capsys):
    command = ["plan", "price_tagging", "--lm", "price-tagger-tiny", "--machine"]
    assert main([*command, "a10"]) == 2
    assert "did you mean 'a100'?" in capsys.readouterr().err
    assert main([*command, "a100", "--calibrate"]) == 2
    assert "give one of them" in capsys.readouterr().err


# --- networks without a configuration of their own ---


@pytest.mark.parametrize("bits", [1, 3])
def test_a_planted_network_is_planned_from_its_parameters(bits):
    planted = plant(bits)
    e = Experiment(planted.task, planted.lm, subspace="nested:k=4", nulls=2, **planted.search)
    found = plan(e)
    assert found.notes == [SHAPELESS]
    assert all(seconds > 0 for seconds in found.seconds.values())
    own = sum(4 * p.numel() for p in planted.lm.model.parameters())
    assert found.memory["weights"] == pytest.approx(own, rel=0.1)


# --- seconds of stages ---


def test_every_stage_of_a_run_is_planned_under_its_own_name(tmp_path):
    small = {"layers": [5], "positions": ["last"], "train_pairs": 32, "val_pairs": 16, "test_pairs": 40, "logger": "none"}
    small |= {"hypotheses": ["left_boundary"], "subspace": "fixed:k=2", "steps": 2, "check_every": 2, "chosen_seeds": 2}
    small |= {"budget": 1.0, "shifts": ["true_false"], "nulls": 2}
    e = Experiment("price_tagging", "price-tagger-tiny", **small)
    found, run = plan(e), e.run(tmp_path / "run")
    assert set(found.seconds) == set(run.stage_seconds) == set(PURPOSES) - {"trace", "race"}
    assert list(found.seconds) == [name for name in PURPOSES if name not in ("trace", "race")]
    assert found.seconds == found.processor


LAPTOP = machine_of("laptop")  # a machine whose speed does not change from one plan to the next


def test_workers_share_a_stage_but_each_loads_the_network():
    one, two = planned(LAPTOP, layers="all"), planned(LAPTOP, layers="all", workers=2)
    assert two.processor["grid"] > one.processor["grid"]
    assert 0.5 * one.seconds["grid"] < two.seconds["grid"] < one.seconds["grid"]


def test_seconds_grow_with_what_there_is_to_do():
    few, many = planned(LAPTOP, steps=50), planned(LAPTOP, steps=200)
    assert few.seconds["grid"] < many.seconds["grid"]
    assert few.seconds["closed forms"] == pytest.approx(many.seconds["closed forms"])
    assert planned(LAPTOP, shifts="all").seconds["shifts"] > planned(LAPTOP, shifts=["true_false"]).seconds["shifts"]
    retrained = planned(LAPTOP, shifts=["true_false"], retrain=0.5)
    assert retrained.seconds["shifts"] > 2 * planned(LAPTOP, shifts=["true_false"]).seconds["shifts"]
