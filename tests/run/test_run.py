"""A run through the public API and the command line: its folder, its tables, and what happens when it is killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from das import LM, DasError, Experiment, Run, load_task
from das.cli import main
from das.find.train import make_logger
from das.run.plan import plan
from das.run.settings import read_yaml

DRAWS = True
"""The files that runs draw are looked at."""

TINY = {
    "layers": [1, 2], "positions": ["c.last", "last"], "steps": 12, "batch": 32, "check_every": 6, "chosen_seeds": 2, "closed_forms": [],
    "train_pairs": 200, "val_pairs": 64, "test_pairs": 100, "threads": 1, "nulls": 2,
    "subspace": {"kind": "boundless", "k": 8},
    "beside": [{"kind": "nested", "k": 8}, {"kind": "random", "k": 2}, {"kind": "full"}],
}  # fmt: skip


FEW = {
    "hypotheses": ["sum"], "positions": ["last"], "beside": [{"kind": "nested", "k": 8}], "chosen_seeds": 1, "closed_forms": [], "train_pairs": 150,
    "val_pairs": 64, "test_pairs": 64,
}  # fmt: skip
"""Changes that leave a run all its stages, and a grid to be shared out, at a small part of the cost."""


def experiment(**changes):
    return Experiment("arithmetic", "arithmetic-tiny", **(TINY | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return experiment().run(tmp_path_factory.mktemp("run") / "arithmetic")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return experiment(**FEW).run(tmp_path_factory.mktemp("small") / "arithmetic")


def config(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"task": "arithmetic", "lm": "arithmetic-tiny"} | TINY | changes))
    return path


def assert_same_tables(a, b):
    for name in ("results", "examples", "pairs"):
        pd.testing.assert_frame_equal(*(pd.read_parquet(r.folder / f"{name}.parquet") for r in (a, b)))
    pd.testing.assert_frame_equal(*(pd.json_normalize(r.summary).drop(columns="wall_seconds") for r in (a, b)))


def test_the_folder_holds_what_it_promises(run):
    names = {path.name for path in run.folder.iterdir()}
    files = "config.yaml pairs.parquet texts.parquet prompt.json audit.json cells results.parquet examples.parquet summary.json heatmaps.png logs nulls"
    assert set(files.split()) <= names
    assert {f"{figure}_{name}.png" for figure in ("heatmap", "rank") for name in ("sum", "left_product")} <= names
    assert not any("partial" in name for name in names)
    assert "checkpoints" not in names
    cells = {path.name for path in (run.folder / "cells").iterdir()}
    assert cells == set(run.found()["cell"])
    assert all((run.folder / "cells" / cell / "alignment.safetensors").exists() for cell in cells)


def test_chosen_cells_keep_what_was_answered_and_a_hit_is_the_expected_answer(run):
    texts, examples = (pd.read_parquet(run.folder / f"{name}.parquet") for name in ("texts", "examples"))
    kept = {path.parent.name: pd.read_parquet(path)["reply"] for path in run.folder.glob("cells/*/replies.parquet")}
    assert kept.keys() == {path.parent.name for path in run.folder.glob("cells/*/scorecard.json")}
    for cell, replies in kept.items():
        name = run.table().set_index("cell").loc[cell, "hypothesis"]
        expected = texts[texts["hypothesis"] == name]["answer"]
        hits = examples[examples["cell"] == cell]["hit"].to_numpy()
        assert ((replies.to_numpy() == expected.to_numpy()) == hits).all()


def test_every_cell_of_grid_and_refinement_is_there(run):
    table = run.table()
    grid = table[(table["subspace"] == "boundless8") & (table["seed"] == 0)]
    assert len(grid) == 2 * 2 * 2
    for name, entry in run.summary["hypotheses"].items():
        here = table[
            (table["hypothesis"] == name) & (table["layer"] == entry["layer"]) & (table["position"] == entry["position"])
        ]
        assert here.groupby("subspace").size().to_dict() == dict.fromkeys(["boundless8", "nested8", "random2", "full"], 2)


def test_the_chosen_cell_is_the_best_on_validation(run):
    table = run.table()
    for name, entry in run.summary["hypotheses"].items():
        grid = table[(table["hypothesis"] == name) & (table["subspace"] == "boundless8") & (table["seed"] == 0)]
        best = grid.loc[grid["val_iia"].idxmax()]
        assert (
            grid[(grid["layer"] == entry["layer"]) & (grid["position"] == entry["position"])]["val_iia"].item()
            == best["val_iia"]
        )


def test_summary_figures_follow_from_the_examples(run):
    examples, table = pd.read_parquet(run.folder / "examples.parquet"), run.table()
    share = examples.groupby("cell", observed=True)["hit"].mean()
    np.testing.assert_allclose(table.set_index("cell")["test_iia"].sort_index(), share.sort_index())
    for name, entry in run.summary["hypotheses"].items():
        here = table[(table["hypothesis"] == name) & (table["subspace"] == "boundless8")]
        here = here[(here["layer"] == entry["layer"]) & (here["position"] == entry["position"])]
        assert entry["test_iia"] == pytest.approx(here["test_iia"].mean())
        assert entry["test_iia_sd"] == pytest.approx(here["test_iia"].std())
        assert entry["test_ci"][0] <= entry["test_iia"] <= entry["test_ci"][1]
        assert set(entry["baselines"]) == {"noop", "whole", "random", "majority", "lm_base", "lm_source", "ceiling"}


def test_baselines_are_on_the_same_pairs(run):
    pairs = pd.read_parquet(run.folder / "pairs.parquet")
    pairs = pairs[pairs["split"] == "test"]
    for name, entry in run.summary["hypotheses"].items():
        mine = pairs[pairs["hypothesis"] == name]
        assert entry["baselines"]["majority"] == pytest.approx(mine["answer"].value_counts().max() / len(mine))
        if entry["baselines"]["lm_base"] == 1:
            assert entry["baselines"]["noop"] == pytest.approx((mine["answer"] == mine["base_answer"]).mean())


def test_swapping_everything_beside_is_the_whole_vector_baseline(run):
    table = run.table()
    full = table[table["subspace"] == "full"]
    assert len(full)
    np.testing.assert_allclose(full["test_iia"], full["test_whole"])


def test_the_same_seed_gives_the_same_table_and_two_workers_do_too(small, tmp_path):
    assert main(["run", str(config(tmp_path, **FEW, workers=2)), "--out", str(tmp_path / "again")]) == 0
    assert_same_tables(small, Run.open(tmp_path / "again"))


def test_a_rank_curve_passes_through_what_was_found_at_the_rank(run):
    table, results = run.table(), run.results()
    nested = table[table["subspace"] == "nested8"]
    assert len(nested) == 2 * 2
    for row in nested.itertuples():
        mine = results[(results["cell"] == row.cell) & (results["metric"] == "iia")].set_index(["split", "width"])["value"]
        for split in ("val", "test"):
            assert mine[split].index.tolist() == [0, *range(1, 9)]
            assert mine[split, int(row.rank)] == pytest.approx(mine[split, 0])


@pytest.mark.slow
def test_another_seed_gives_another_table(tmp_path):
    small = {
        "hypotheses": ["sum"],
        "layers": [1],
        "positions": ["last"],
        "beside": [],
        "chosen_seeds": 1,
        "closed_forms": [],
        "nulls": 0,
        "steps": 10,
    }
    one, other = (experiment(seed=seed, **small).run(tmp_path / str(seed)).results()["value"] for seed in (0, 1))
    assert not other.equals(one)


def test_a_finished_run_is_not_done_again(run):
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "cells").rglob("*")}
    seconds = run.summary["wall_seconds"]
    experiment().run(run.folder)
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "cells").rglob("*")} == before
    assert run.summary["wall_seconds"] == seconds > 0


def test_time_adds_up_over_sittings_and_an_interrupted_stage_counts(tmp_path):
    run = Run(tmp_path)

    def sitting(end):
        with run.timed("grid"):
            time.sleep(0.2)
            raise end

    for past in (0.0, 0.2, 0.4):
        with pytest.raises(KeyboardInterrupt):
            sitting(KeyboardInterrupt)
        assert run.seconds >= past + 0.15
        assert run.stage_seconds["grid"]["seconds"] == pytest.approx(run.seconds, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["checkpoints/*/last.ckpt", "cells/*/card.json", "nulls/[!.]*.parquet"])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_table(small, tmp_path, moment):
    out, path = tmp_path / "killed", config(tmp_path, **FEW)
    command = [sys.executable, "-m", "das", "run", str(path), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob(moment)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "summary.json").exists()
    done = {p: p.stat().st_mtime_ns for p in out.glob("cells/[!.]*/card.json")}
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert_same_tables(small, Run.open(out))


def test_every_draw_of_every_null_is_there_and_gives_a_p_value(run):
    table = run.nulls()
    assert {path.suffix for path in (run.folder / "nulls").glob("[!.]*")} == {".parquet"}
    assert set(table["null"]) == {"untrained", "shuffled", "random"}
    cells = table[table["width"] == 0]
    assert cells.groupby(["null", "draw", "hypothesis"]).size().eq(4).all()  # all sites of this small grid
    for name, entry in run.summary["hypotheses"].items():
        mine = cells[cells["hypothesis"] == name]
        for null, found in entry["nulls"].items():
            best = mine[mine["null"] == null].groupby("draw")["iia"].max()
            assert found["draws"] == pytest.approx(best.tolist())
            assert 0 <= found["p"] <= 1
        assert entry["verdict"]["p"] == max(found["p"] for found in entry["nulls"].values())
        assert entry["verdict"]["facts"]["p"].keys() == entry["nulls"].keys()


def test_every_cell_has_its_interval_and_how_natural_it_is(run):
    table = run.table()
    assert (table["test_iia_low"] <= table["test_iia_high"]).all()
    by_site = table.groupby(["hypothesis", "layer", "position", "subspace"])
    assert (by_site["test_iia"].mean() <= by_site["test_iia_high"].max()).all()
    assert table["test_off_manifold"].between(0, 1).all()
    assert (table[table["subspace"] == "full"]["test_off_manifold"] < 0.4).all()


def test_chosen_cells_have_scorecards_failures_and_comparisons(run):
    for name, entry in run.summary["hypotheses"].items():
        for kind in (entry, *entry["beside"].values()):
            assert {"cause", "isolate", "decoding", "ablation", "recovery", "rest"} <= kind["scorecard"].keys()
        assert {row["variable"] for row in run.failures(name)["by_value"]} >= {"a", "b", "c"}
    kinds = {(row["one"], row["other"]) for row in run.summary["comparisons"] if row["pairs"] == "test"}
    assert ("sum.total: boundless8", "full") in kinds
    assert sum(row["pairs"] == "natural" for row in run.summary["comparisons"]) == 1


def test_cells_are_compared_on_the_same_pairs(run):
    table = run.table()
    at = {name: table[(table["hypothesis"] == name) & (table["seed"] == 0)] for name in ("sum", "left_product")}
    one, other = at["sum"]["cell"].iloc[0], at["sum"]["cell"].iloc[1]
    iia = table.set_index("cell")["test_iia"]
    assert run.compare(one, other).mean == pytest.approx(iia[one] - iia[other])
    chosen = {
        name: next(c for c in cells["cell"] if (run.folder / "cells" / c / "scorecard.json").exists())
        for name, cells in at.items()
    }
    found = run.compare(chosen["sum"], chosen["left_product"])
    assert found.low <= found.mean <= found.high
    with pytest.raises(DasError, match="no chosen cell"):
        run.compare(next(c for c in at["sum"]["cell"] if run.scorecard(run.alignment(c).cell) is None), chosen["left_product"])


@pytest.mark.slow
def test_nulls_may_be_added_to_a_finished_run(tmp_path):
    small = {"hypotheses": ["sum"], "layers": [1], "positions": ["last"], "beside": [], "chosen_seeds": 1, "closed_forms": []}
    plain = experiment(**small, nulls=0).run(tmp_path / "run")
    before = plain.summary["hypotheses"]["sum"]
    assert plain.nulls() is None
    assert before["nulls"] == {}
    assert "No nulls were run" in before["verdict"]["sentence"]
    after = experiment(**small, nulls=2).run(tmp_path / "run").summary["hypotheses"]["sum"]
    assert set(after["nulls"]) == {"untrained", "shuffled", "random"}
    assert after["test_iia"] == before["test_iia"]


def test_a_folder_of_other_settings_is_refused(run):
    with pytest.raises(DasError, match="steps = 12, not 21"):
        experiment(steps=21).run(run.folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DasError, match="other than a run"):
        experiment().run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": [9]}, "layers 0 to 3"),
        ({"positions": ["d.last"]}, "unknown field"),
        ({"positions": ["last-40"]}, "outside the prompt"),
        ({"hypotheses": ["summ"]}, "'sum'"),
        ({"subspace": "bondless"}, "'boundless'"),
        ({"families": {"flop": 1.0}}, "'flip'"),
        ({"stepps": 3}, "'steps'"),
        ({"steps": 0}, "at least 1"),
        ({"logger": "tensorbord"}, "'tensorboard'"),
        ({"dtype": "float31"}, "float32"),
        ({"layers": []}, "empty"),
    ],
)
def test_wrong_settings_are_one_clear_error_before_anything_is_written(change, says, tmp_path):
    with pytest.raises(DasError, match=says):
        experiment(**change).run(tmp_path / "out")
    assert not (tmp_path / "out" / "cells").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_says_so(name, tmp_path):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(DasError, match=f"logger '{name}' needs a package that is not installed"):
        make_logger(name, tmp_path, "run")


def test_an_unfinished_folder_says_so(tmp_path):
    with pytest.raises(DasError, match="is no run folder"):
        Run.open(tmp_path)


def test_several_workers_need_names(tmp_path):
    with pytest.raises(DasError, match="by name or path"):
        Experiment(load_task("arithmetic"), LM.load("arithmetic-tiny"), **(TINY | {"workers": 2})).run(tmp_path / "out")


@pytest.mark.slow
def test_only_prompts_that_the_network_answers_correctly(tmp_path):
    done = experiment(only_correct=True, steps=10, chosen_seeds=1, beside=[], layers=[3], positions=["last"]).run(
        tmp_path / "out"
    )
    assert all(entry["baselines"]["ceiling"] == 1 for entry in done.summary["hypotheses"].values())


def test_a_plan_needs_no_weights_and_counts_the_cells(run):
    e = experiment()
    outline = plan(e)
    assert outline.grid == len(e.grid())
    assert outline.grid + outline.chosen == len(run.table())
    assert all(seconds > 0 for seconds in outline.seconds.values())
    assert "memory" in outline.text()


def test_figures_are_functions_of_the_tables(run, capsys):
    figure = run.folder / "heatmap_sum.png"
    figure.unlink()
    assert main(["plot", str(run.folder)]) == 0
    assert str(figure) in capsys.readouterr().out
    assert figure.exists()


def test_a_heatmap_shows_every_number_and_outlines_the_chosen_cell(run):
    axes, table, entry = run.heatmap("sum.total"), run.table(), run.summary["hypotheses"]["sum"]
    grid = (
        table[(table["hypothesis"] == "sum") & (table["subspace"] == "boundless8")]
        .groupby(["layer", "position"])["test_iia"]
        .mean()
    )
    shown = sorted(t for text in axes.texts if "–" not in (t := text.get_text()))
    assert shown == sorted(f"{v:.2f}".replace("0.", ".", 1) if v < 0.995 else "1.0" for v in grid)
    (outline,) = [p for p in axes.patches if p.get_linewidth() == 2.5]
    assert (outline.get_y() + 0.5, outline.get_x() + 0.5) == (
        [1, 2].index(entry["layer"]),
        ["c.last", "last"].index(entry["position"]),
    )
    assert axes.images[0].get_clim() == (0, 1)


def test_an_unknown_hypothesis_names_the_nearest(run):
    with pytest.raises(DasError, match="'sum'"):
        run.heatmap("summ")


def test_cards_are_plain_json(run):
    cell = run.table()["cell"][0]
    card = json.loads((run.folder / "cells" / cell / "card.json").read_text())
    assert {"cell", "steps", "rank", "metrics", "curves"} <= set(card)


@pytest.mark.slow
def test_the_demo_chooses_the_same_cell_in_bf16(tmp_path):
    """Of one of its layers, at two of its positions, with fewer steps and pairs."""
    values = read_yaml(ROOT / "configs" / "demo.yaml") | {
        "hypotheses": ["left_boundary"], "layers": [3], "positions": ["last-12", "last"], "steps": 20, "train_pairs": 128,
        "batch": 32, "val_pairs": 48, "test_pairs": 48, "beside": [], "chosen_seeds": 1, "closed_forms": [], "workers": 1, "nulls": 0, "memory": 1,
        "logger": "none",
    }  # fmt: skip
    values.pop("out")
    runs = {
        dtype: Experiment(**(values | {"task": ROOT / "tasks" / "price_tagging.py", "dtype": dtype})).run(tmp_path / dtype)
        for dtype in ("float32", "bfloat16")
    }
    chosen = {dtype: run.summary["hypotheses"]["left_boundary"] for dtype, run in runs.items()}
    assert len({(c["layer"], c["position"]) for c in chosen.values()}) == 1
    assert chosen["bfloat16"]["test_iia"] > 0.6
    assert all(run.alignment(run.table()["cell"][0]).feature.basis.dtype == torch.float32 for run in runs.values())
