"""Transfer: alignments tested under shifts, as they are; the tables, the matrix and the paper's table that come of it."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from safetensors.numpy import load_file, save_file

from das import LM, Context, DasError, Experiment, Prompt, Shift, load_task
from das.cli import main
from das.draw.paper import ROWS, figures, paper_table
from das.ground.storage import write
from das.interchange.accuracy import accuracy
from das.network.given import Given
from das.progress import Lines
from das.run.material import Material
from das.run.settings import Settings
from das.run.table import prompt_codes
from das.task.plain_shifts import parse_shift
from das.transfer.maps import correlated
from das.transfer.robustness import NOT_SOLVED, NOT_TESTED, Robustness
from das.transfer.scored import Scored
from das.transfer.transfer import FEW
from das.use.run import Run

TINY = {
    "layers": [0, 1], "positions": ["c.last", "last-2", "last"], "steps": 16, "batch": 32, "check_every": 16, "chosen_seeds": 2, "closed_forms": [],
    "train_pairs": 200, "val_pairs": 60, "test_pairs": 100, "threads": 1, "subspace": {"kind": "nested", "k": 4},
    "hypotheses": ["sum", "left_product"], "logger": "none",
}  # fmt: skip
RAIN = {"rain": {"context": "It rains today.", "where": "before"}}


def train(folder, **changes):
    return Experiment("arithmetic", "arithmetic-tiny", **(TINY | changes)).run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("transfer") / "run")


@pytest.fixture(scope="module")
def shifted(run):
    """The run, tested under shifts that change nothing, little, and everything, and trained anew under one."""
    shifts = RAIN | {"same": {"replace": {"Compute": "Compute"}}, "last_only": {"replace": {") *": ") today *"}}}
    return run.shift(shifts, retrain={"rain": 1.0})


# --- laws ---


def test_a_shift_that_changes_nothing_gives_the_runs_own_scores(shifted):
    home, same = shifted.scored("base", "base"), shifted.scored("base", "same")
    for cell, hits in home.hits.items():
        hypothesis = cell.split("-")[0]
        assert np.array_equal(hits[same.rows[hypothesis]], same.hits[cell])
        assert np.array_equal(home.prompts[hypothesis][:, same.rows[hypothesis]], same.prompts[hypothesis])
    spread = {name for name in shifted.hypotheses if home.at(name, "nested4")["iia"].nunique() > 1}
    assert spread
    for hypothesis in shifted.hypotheses:
        assert len(same.rows[hypothesis]) == 100
        row = shifted.row(hypothesis, "base", "same")
        found = row["correlation"], row["correlation_low"], row["correlation_high"]
        one = 1 if hypothesis in spread else np.nan  # a map of one value correlates with nothing
        assert found == pytest.approx((one, one, one), nan_ok=True)
        assert row["outcome"] in ("carries over", "nothing to carry over")


CONTEXT = "Pricing tag game! "
HEAD = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    f"{CONTEXT}Please say yes only if it costs between "
)


@pytest.mark.slow
def test_transfer_equals_hand_computed_positions(priced):
    """IIA under an irrelevant context, as the tables have it, against full forwards with a hook at positions counted by hand."""
    lm, run = LM.load("price-tagger-tiny"), priced.run
    scored = priced.scored("base", "irrelevant_context")
    pairs = pd.read_parquet(run.folder / "pairs.parquet")  # the inputs are as without the context, and so are the pairs
    pairs = pairs[(pairs["split"] == "test") & (pairs["hypothesis"] == "left_boundary")].iloc[scored.rows["left_boundary"]]
    table = scored.at("left_boundary", "nested4").set_index("cell")
    assert len(table) == 8
    bases, sources = ([by_hand(lm, row, role) for row in pairs.to_dict("records")] for role in ("base", "source.above_lower"))
    for cell, row in table.iterrows():
        alignment = run.alignment(cell)
        basis = alignment.feature.basis[:, 0][:, alignment.feature.mask[0] > 0]
        hits = []
        for base, source, answer in zip(bases, sources, pairs["answer"], strict=True):
            logits = patched_by_hand(lm, base, source, basis, row["layer"], row["position"])
            hits.append(lm.tokenizer.convert_ids_to_tokens(logits.argmax().item()) == ("Yes" if answer else "No"))
        assert np.mean(hits) == pytest.approx(row["iia"], abs=1e-6)
        assert np.array_equal(hits, scored.hits[cell])


def by_hand(lm, row, role):
    """Token ids of a prompt with its context written out, and the tokens of two positions, counted in characters."""
    lower, upper, amount = (f"{row[f'{role}.{name}']:.2f}" for name in ("lower", "upper", "amount"))
    middle = f"{lower} and {upper} dollars, otherwise no.\n\n### Input:\n"
    text = f"{HEAD}{middle}{amount} dollars\n\n### Response:\n"
    encoded = lm.tokenizer(text, return_offsets_mapping=True)
    characters = {"last-12": len(HEAD) + len(middle), "last": len(text) - 1}  # the amount's first digit, the end
    tokens = {
        name: next(i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a <= character < b)
        for name, character in characters.items()
    }
    return encoded["input_ids"], tokens


@torch.no_grad()
def patched_by_hand(lm, base, source, basis, layer, position):
    """Logits of a full forward of the base, with the part in the basis of the source's vector put in."""
    block, seen = lm.model.model.layers[layer], {}

    def read(module, inputs, output):
        seen["source"] = (output[0] if isinstance(output, tuple) else output)[0, source[1][position]].clone()

    def swap(module, inputs, output):
        vector = (output[0] if isinstance(output, tuple) else output)[0, base[1][position]]
        vector += basis @ (basis.T @ (seen["source"] - vector))
        return output

    for (ids, _), hook in ((source, read), (base, swap)):
        handle = block.register_forward_hook(hook)
        logits = lm.model(torch.tensor([ids])).logits[0, -1]
        handle.remove()
    return logits


# --- what the network no longer solves ---


@pytest.fixture(scope="module")
def unsolved(run, shifted):
    """The same run under a shift that has two numbers change places: the network answers another sum."""
    swapped = Shift(prompt=Prompt("Compute ({c} + {b}) * {a} =", str))
    task = replace(load_task(ROOT / "tasks" / "arithmetic.py"), shifts={"swapped": swapped})
    return run.shift("all", task=task)


def test_a_shift_that_the_network_fails_is_no_fragile_alignment(unsolved):
    share, solved = unsolved.accuracy("swapped")
    assert share < 0.3
    assert not solved
    table = unsolved.table()
    assert set(table[table["tested"] == "swapped"]["outcome"]) == {NOT_SOLVED}
    assert NOT_SOLVED == "task not solved under this shift"
    assert NOT_SOLVED in unsolved.text()


@pytest.mark.slow
def test_nothing_is_trained_under_a_shift_that_is_not_solved(unsolved):
    task = replace(load_task("arithmetic"), shifts={"swapped": Shift(prompt=Prompt("Compute ({c} + {b}) * {a} =", str))})
    assert "swapped" not in unsolved.run.shift("all", retrain=1.0, task=task).trained


def test_accuracy_is_solved_by_the_verdicts_rule():
    task, lm = load_task("arithmetic"), LM.load("arithmetic-tiny")
    known = accuracy(task.variant("base"), lm, 200)
    assert known.solved
    assert 0 < known.commonest < 0.2 < known.share


# --- the folder ---


def test_the_matrix_has_who_was_trained_where_against_tested_where(shifted):
    matrix = shifted.matrix("sum")
    assert list(matrix.index) == ["base", "rain"]
    assert list(matrix.columns)[:4] == ["base", "rain", "same", "last_only"]
    for trained in ("base", "rain"):
        for tested in ("base", "rain", "same", "last_only"):
            row = shifted.row("sum", trained, tested)
            assert matrix.loc[trained, tested] == row["iia"]
            entry = shifted.entry(trained, "sum")
            assert set(shifted.chosen(trained, tested, "sum")["position"]) == {entry["position"]}
            assert row["low"] <= row["iia"] <= row["high"]
    assert matrix.loc["rain", "rain"] == shifted.entry("rain", "sum")["test_iia"]


def test_against_an_alignment_trained_anew(shifted):
    row = shifted.row("sum", "base", "rain")
    there = shifted.entry("rain", "sum")["test_iia"]
    assert row["anew"] == pytest.approx(there)
    assert row["less"] == pytest.approx(row["iia"] - there)
    assert row["less_low"] <= row["less"] <= row["less_high"]
    if there - row["noop"] > 0.05:
        assert row["relative"] == pytest.approx((row["iia"] - row["noop"]) / (there - row["noop"]))
        assert row["relative_low"] <= row["relative"] <= row["relative_high"]
    else:
        assert np.isnan(row["relative"])
    assert np.isnan(shifted.row("sum", "base", "base")["anew"])
    assert np.isnan(shifted.row("sum", "base", "same")["anew"])


def test_no_tested_prompt_was_trained_on(run, tmp_path):
    """Under inputs of its own a shift has other pools; prompts are compared by their values, however a table holds them."""
    task = load_task(ROOT / "tasks" / "arithmetic.py")
    given = {"few": {"given": {"a": [1, 2, 3, 4]}}}
    scored = run.shift(given).scored("base", "few")
    pairs = pd.read_parquet(run.folder / "pairs.parquet")
    shifted = task.under(parse_shift(given["few"], {}))
    m = Material.make(run.settings(), Given("arithmetic-tiny"), shifted, ["sum", "left_product"], ["last"], ["test"])
    for name in ("sum", "left_product"):
        mine = pairs[(pairs["hypothesis"] == name) & (pairs["split"] != "test")]
        seen = set()
        for role in ("base", *(f"source.{v}" for v in m.pairs["test"][name].sources)):
            seen |= {tuple(row) for row in mine[[f"{role}.{x}" for x in "abc"]].to_numpy(float)}
        tested = m.pairs["test"][name]
        tables = [tested.base, *tested.sources.values()]
        prompts = [[tuple(map(float, row)) for row in zip(*(t[x] for x in "abc"), strict=True)] for t in tables]
        unseen = [i for i, row in enumerate(zip(*prompts, strict=True)) if not set(row) & seen]
        assert 0 < len(unseen) < len(tested)
        if name in scored.rows:
            assert scored.rows[name].tolist() == unseen
        else:
            assert len(unseen) < FEW


def test_numbers_are_one_value_in_any_type():
    whole = pd.DataFrame({"base.a": [1, 2], "base.b": ["x", "y"], "base.c": [True, False]})
    real = pd.DataFrame(
        {"base.a": [1.0, 2.0], "base.b": np.array(["x", "y"], object), "base.c": np.array([True, False], object)}
    )
    assert np.array_equal(prompt_codes(whole)["base"], prompt_codes(real)["base"])


def test_variance_and_wrong_maps(shifted):
    row = shifted.row("sum", "base", "rain")
    assert set(row["wrong"]) == {"left_product"}
    assert row["variance"] == pytest.approx(np.var(shifted.map("base", "rain", "sum")))
    home, away = shifted.map("base", "base", "sum"), shifted.map("base", "rain", "sum")
    assert row["correlation"] == pytest.approx(np.corrcoef(home, away)[0, 1])
    assert row["correlation_low"] <= row["correlation"] <= row["correlation_high"]


def test_the_interval_of_a_correlation_holds_it_and_a_new_sample_of_pairs():
    """Maps of 40 sites that are truly the same, scored on 300 pairs each, anew in every draw."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(40):
        share = rng.uniform(0.4, 0.9, 40)
        home, away = (scored_by_chance(share, 300, rng) for _ in range(2))
        found = correlated(home, away, "h", "k")
        assert found["correlation_low"] <= found["correlation"] <= found["correlation_high"]
        held += found["correlation_low"] <= expected_correlation(share, 300) <= found["correlation_high"]
    assert held >= 32


def scored_by_chance(share, pairs, rng):
    cells = [f"c{i}" for i in range(len(share))]
    table = pd.DataFrame({"cell": cells, "hypothesis": "h", "layer": range(len(share)), "component": "b", "position": "p"})
    hits = {cell: rng.random(pairs) < p for cell, p in zip(cells, share, strict=True)}
    table = table.assign(subspace="k", seed=0, iia=[hits[cell].mean() for cell in cells])
    return Scored(table, hits, {"h": np.arange(pairs)}, {"h": rng.integers(0, 10**9, (2, pairs))})


def expected_correlation(share, pairs):
    """Of two noisy maps of the same shares: the share of the variance that is not noise."""
    noise = (share * (1 - share)).mean() / pairs
    return share.var() / (share.var() + noise)


def test_prompts_of_every_role_are_kept(shifted):
    scored = shifted.scored("base", "rain")
    assert {h: ways.shape for h, ways in scored.prompts.items()} == {h: (2, len(rows)) for h, rows in scored.rows.items()}
    run = shifted.run
    cells = [run.alignment(cell).cell for cell in run.found()["cell"]]
    natural = [run.natural(cell) for cell in cells if run.scorecard(cell)]
    assert natural
    assert all(n.prompts.shape == (2, len(n.hits)) and (n.prompts[0] != n.prompts[1]).any() for n in natural)


def test_folders_that_hold_base_prompts_alone_still_open(shifted, tmp_path):
    shutil.copytree(shifted.run.folder, tmp_path / "old")
    run = Run(tmp_path / "old")
    cell = next(c for c in map(run.alignment, run.found()["cell"]) if run.scorecard(c.cell)).cell
    for path in (
        run.folder / "shifts" / "rain" / "from-base.safetensors",
        run.folder / "cells" / cell.id / "natural.safetensors",
    ):
        old = {k.replace("prompts", "base"): v[0] if k.startswith("prompts") else v for k, v in load_file(path).items()}
        write(path, lambda made, old=old: save_file(old, made))
    assert run.natural(cell).prompts.shape == (1, len(run.natural(cell).hits))
    row = Robustness(run).row("sum", "base", "rain")
    assert row["low"] <= row["iia"] <= row["high"]
    assert row["correlation_low"] <= row["correlation"] <= row["correlation_high"]


def test_what_is_there_is_not_done_again(shifted):
    folder = shifted.run.folder / "shifts"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "run-" not in str(path)}
    again = shifted.run.shift(RAIN, retrain=1.0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(again.table()[["iia", "low"]], shifted.run.robustness().table()[["iia", "low"]])


def test_figures_and_table_are_written(shifted, drawing):
    drawn = {path.name for path in shifted.run.figures()}
    names = {path.name for path in shifted.run.folder.iterdir()}
    assert {"shift.json", "shift_matrix.png", "shift_rain.png", "shift_same.png"} <= names
    body = json.loads((shifted.run.folder / "shift.json").read_text())
    assert body["shifts"]["rain"]["coverage"]["last"] == 1
    assert {row["outcome"] for row in body["rows"]}
    assert not list(shifted.run.folder.rglob(".partial*"))
    assert {"shift_rain.png", "heatmaps.png"} <= drawn


@pytest.mark.slow
def test_two_workers_find_the_same(run, shifted, tmp_path):
    other = train(tmp_path / "two", workers=2, shifts=RAIN | {"same": {"replace": {"Compute": "Compute"}}})
    for name in ("rain", "same"):
        one, two = (Robustness(r).scored("base", name) for r in (run, other))
        pd.testing.assert_frame_equal(one.table, two.table)


def test_a_run_under_a_shift_is_trained_there(shifted):
    run = shifted.trained["rain"]
    assert run.settings().under == RAIN["rain"]
    scored = Scored.of_run(run)
    assert set(scored.table["hypothesis"]) == {"sum", "left_product"}
    assert run.summary["tokens"]["last"] == "="


# --- positions ---


@pytest.mark.slow
def test_a_position_that_a_shift_lacks_is_left_out_and_said(tmp_path):
    run = train(tmp_path / "run", positions=["last-9", "last"], hypotheses=["sum"], layers=[2])
    short = {"short": {"replace": {"Compute ": ""}}}
    robustness = run.shift(short)
    assert set(robustness.map("base", "short", "sum").index.get_level_values("position")) == {"last"}
    assert robustness.folders["short"].about["coverage"] == {"last-9": 0, "last": 1}
    assert "short: last-9 do not exist in every prompt" in robustness.text()


@pytest.mark.slow
def test_a_shift_that_nothing_can_be_tested_under_leaves_the_rest_usable(tmp_path, drawing):
    run = train(tmp_path / "run", positions=["last-9"], hypotheses=["sum"], layers=[0])
    with pytest.raises(DasError, match="shift 'short': none of the run's positions exists in every prompt: last-9"):
        run.shift({"short": {"replace": {"Compute ": ""}}})
    assert list(run.shift(RAIN).folders) == ["rain"]
    assert run.figures()


def test_what_no_pair_is_left_for_is_not_tested(run, monkeypatch):
    monkeypatch.setattr("das.transfer.transfer.FEW", 101)
    robustness = run.shift({"one": {"given": {"a": [1, 2]}}})
    row = robustness.row("sum", "base", "one")
    assert row["outcome"] == NOT_TESTED
    assert row["pairs"] == 0
    assert "not tested" in robustness.text()


def test_objects_may_be_given_from_python(run):
    robustness = run.shift({"object": Context("It rains today.", "before")})
    assert robustness.folders["object"].about["spec"].startswith("Context(")
    same = run.shift(RAIN)
    assert same.row("sum", "base", "object")["iia"] == same.row("sum", "base", "rain")["iia"]


@pytest.mark.slow
def test_a_run_under_a_shift_is_tested_as_it_was_trained(tmp_path):
    run = train(tmp_path / "run", under=RAIN["rain"], hypotheses=["sum"], layers=[0], positions=["last-2", "last"])
    robustness = run.shift(["words"], retrain={"words": 1.0})
    about = json.loads((run.folder / "shifts" / "base" / "shift.json").read_text())
    assert about["template"].startswith("It rains today. ")
    assert set(robustness.matrix("sum").index) == {"base", "words"}
    assert not robustness.matrix("sum").isna().any().any()


@pytest.mark.slow
def test_training_anew_leaves_out_positions_that_are_lost_and_may_grow(tmp_path):
    run = train(tmp_path / "run", positions=["last-9", "last"], hypotheses=["sum"], layers=[0, 1])
    short = {"short": {"replace": {"Compute ": ""}}}
    half = run.shift(short, retrain=0.5)
    assert set(half.trained["short"].table()["position"]) == {"last"}
    whole = run.shift(short, retrain=1.0)
    assert len(whole.trained["short"].table()) > len(half.trained["short"].table())


@pytest.mark.slow
def test_a_hypothesis_without_flips_and_a_task_without_shifts(tmp_path, capsys):
    run = train(tmp_path / "run", families={"keep": 1.0}, hypotheses=["sum"], layers=[0], positions=["last"])
    assert np.isnan(run.shift(RAIN).row("sum", "base", "rain")["flip_iia"])
    run.shift("all", report=Lines(), task=replace(load_task("arithmetic"), shifts={}))
    assert "the task declares no shifts" in capsys.readouterr().out


# --- errors, before weights are loaded ---

WRONG = {
    "unknown shift": (["--shifts", "[rian]"], "unknown shift 'rian': did you mean 'rain'?|unknown shift 'rian'"),
    "unknown words": (["--shifts", "{frogs: {context: Zebras.}}"], "shift 'frogs': .* unknown to the tokenizer"),
    "no shift": (["--shifts", "{frogs: 3}"], "shift 'frogs': shift 3 cannot be read"),
    "retrain unknown": (
        ["--shifts", "[words]", "--retrain", "{word: 1.0}"],
        "unknown shift in retrain 'word': did you mean 'words'?",
    ),
    "retrain too much": (["--shifts", "[words]", "--retrain", "2"], "retrain is 2: expected at most 1"),
    "another of this name": (["--shifts", "{rain: words}"], "holds another shift called 'rain'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_tested_says_why(name, shifted, capsys):
    arguments, message = WRONG[name]
    assert main(["shift", str(shifted.run.folder), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_shift_of_no_run(tmp_path, capsys):
    assert main(["shift", str(tmp_path / "none")]) == 2
    assert "is no run folder" in capsys.readouterr().err


def test_under_an_unknown_shift(tmp_path):
    with pytest.raises(DasError, match="under 'rian': unknown shift 'rian'"):
        train(tmp_path / "run", under="rian")


def test_the_command_prints_the_table(shifted, capsys):
    assert main(["shift", str(shifted.run.folder), "--shifts", "[words]"]) == 0
    out = capsys.readouterr().out
    assert "outcome" in out
    assert "words" in out


# --- check ---


def test_check_reports_accuracy_and_coverage_of_every_shift(capsys):
    assert main(["check", "arithmetic", "--lm", "arithmetic-tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line for line in lines}
    for name in ("base", "irrelevant_context", "words"):
        assert float(rows[name].split()[-1]) > 0.9
        assert "5 of 5" in rows[name]


def test_check_says_which_shift_cannot_be_asked(tmp_path, capsys):
    source = (ROOT / "tasks" / "arithmetic.py").read_text()
    path = tmp_path / "odd.py"
    path.write_text(source.replace('"words"', '"odd": Shift(prompt=Prompt("Zebra {a} {b} {c} =", str)),\n        "words"'))
    assert main(["check", str(path), "--lm", "arithmetic-tiny", "--accuracy", "false"]) == 0
    assert "shift 'odd' is left out: " in capsys.readouterr().out


# --- the paper's table ---


def test_the_papers_table_needs_price_tagging(shifted):
    with pytest.raises(DasError, match="is no run of price tagging"):
        paper_table(shifted)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    settings = {"layers": [2, 3], "positions": ["last-12", "last"], "steps": 10, "check_every": 10, "train_pairs": 200}
    settings |= {
        "hypotheses": ["left_boundary", "midpoint"],
        "val_pairs": 60,
        "test_pairs": 80,
        "threads": 1,
        "subspace": {"kind": "nested", "k": 4},
        "chosen_seeds": 1,
        "closed_forms": [],
    }
    folder = tmp_path_factory.mktemp("paper") / "run"
    run = Experiment("price_tagging", "price-tagger-tiny", logger="none", seeds=2, **settings).run(folder)
    return run.shift(["irrelevant_context", "new_brackets_unseen", "new_brackets"], retrain={"new_brackets": 1.0})


@pytest.mark.slow
def test_the_papers_statistics_and_ours(priced):
    left = figures(priced, ROWS[0])
    table = priced.run.table()
    mine = table[table["hypothesis"] == "left_boundary"]
    assert left["iia"] == mine["test_iia"].max()
    assert left["correlation"] == pytest.approx(1)
    assert left["chosen"] == pytest.approx(priced.entry("base", "left_boundary")["test_iia"])
    assert left["iia"] >= left["chosen"]
    best = mine.groupby(["layer", "position"])["test_iia"].max()
    assert left["variance"] == pytest.approx(100 * best.var(ddof=0))
    unseen = figures(priced, next(row for row in ROWS if row.tested == "new_brackets_unseen"))
    assert unseen["iia"] == priced.scored("new_brackets", "new_brackets_unseen").at("left_boundary", "nested4")["iia"].max()
    right = figures(priced, next(row for row in ROWS if row.metric == "iia_correct"))
    assert right["iia"] == mine["test_iia_correct"].max()
    assert figures(priced, ROWS[-1]) is None


@pytest.mark.slow
def test_the_papers_table_is_printed(priced, capsys):
    assert main(["paper-table", str(priced.run.folder)]) == 0
    out = capsys.readouterr().out
    assert all(row.name in out for row in ROWS)
    assert "not trained or tested" in out
    assert "0.90" in out


CONFIGS = sorted((ROOT / "configs" / "paper").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_papers_configurations_name_every_row(path, price_tagging):
    import yaml

    from das.task.plain_shifts import named_shifts

    values = yaml.safe_load(path.read_text())
    values.pop("out")
    settings = Settings(**values)
    shifts = named_shifts(settings.shifts, price_tagging.shifts)
    assert {row.tested for row in ROWS} <= {"base", *shifts}
    assert {row.trained for row in ROWS} == {"base", "new_brackets"}
    assert settings.retrain["new_brackets"] == 1
