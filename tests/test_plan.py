"""A plan counts what a run does."""

import pytest

from das import DasError, Experiment
from das.cli import main
from das.lm import LM
from das.plan import plan


def planned(**changes):
    settings = {"layers": [5], "positions": ["last"], "memory": 0.0} | changes
    return plan(Experiment("price_tagging", "price-tagger-tiny", **settings))


def test_the_layer_of_a_component_itself_is_run_again():
    assert planned(components=["heads"]).flops["training"] > planned().flops["training"]


def test_chosen_cells_are_counted():
    assert planned(chosen_seeds=30).flops["training"] > planned(chosen_seeds=1).flops["training"]


def test_a_rank_curve_is_judged_at_many_widths():
    assert planned(subspace="nested:k=32").flops["evaluation"] > 4 * planned(subspace="fixed:k=32").flops["evaluation"]


def test_nulls_cost_more_the_more_there_are():
    assert "nulls" not in planned().flops
    assert 0 < planned(nulls=2).flops["nulls"] < planned(nulls=4).flops["nulls"]


def test_a_part_of_the_grid_costs_less():
    whole, part = planned(layers="all"), planned(layers="all", budget=0.2)
    assert part.trained < whole.trained
    assert part.flops["training"] < whole.flops["training"]


def test_kept_captures_take_no_more_than_they_may_and_no_more_than_there_are():
    assert planned(memory=0.0).memory["kept captures"] == 0
    assert planned(memory=0.001).memory["kept captures"] == 0.001 * 2**30
    assert planned(memory=100).memory["kept captures"] < 100 * 2**30


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
