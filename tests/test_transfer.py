"""Transfer: alignments tested under shifts, as they are; the tables, the matrix and the paper's table that come of it."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from das import LM, DasError, Experiment, Prompt, Shift, load_task
from das.cli import main
from das.evaluate import accuracy
from das.paper import ROWS, figures, paper_table
from das.robustness import NOT_SOLVED, Robustness
from das.scored import Scored
from das.settings import Settings

TINY = {
    "layers": [0, 1], "positions": ["c.last", "last-2", "last"], "steps": 60, "batch": 32, "check_every": 30, "chosen_seeds": 2,
    "train_pairs": 300, "val_pairs": 80, "test_pairs": 100, "threads": 1, "subspace": {"kind": "nested", "k": 4},
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
        assert np.array_equal(home.base[hypothesis][same.rows[hypothesis]], same.base[hypothesis])
    for hypothesis in shifted.hypotheses:
        assert len(same.rows[hypothesis]) == 100
        row = shifted.row(hypothesis, "base", "same")
        assert row["correlation"] == pytest.approx(1)
        assert (row["correlation_low"], row["correlation_high"]) == pytest.approx((1, 1))
        assert row["outcome"] in ("carries over", "nothing to carry over")


CONTEXT = "Pricing tag game! "
HEAD = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    f"{CONTEXT}Please say yes only if it costs between "
)


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
        basis = alignment.hard.basis[:, 0][:, alignment.hard.mask[0] > 0]
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
def unsolved(run):
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
    assert shifted.row("sum", "base", "base")["anew"] is None
    assert shifted.row("sum", "base", "same")["anew"] is None


def test_no_tested_prompt_was_trained_on(shifted):
    run, folder = shifted.trained["rain"], shifted.run
    seen = np.concatenate(list(run.prompts("sum", ("train", "val")).values()))
    tested = folder.prompts("sum", ["test"])
    rows = shifted.scored("rain", "base").rows["sum"]
    assert not any(np.isin(codes[rows], seen).any() for codes in tested.values())


def test_variance_and_wrong_maps(shifted):
    row = shifted.row("sum", "base", "rain")
    assert set(row["wrong"]) == {"left_product"}
    assert row["variance"] == pytest.approx(np.var(shifted.map("base", "rain", "sum")))
    home, away = shifted.map("base", "base", "sum"), shifted.map("base", "rain", "sum")
    assert row["correlation"] == pytest.approx(np.corrcoef(home, away)[0, 1], abs=0.05)
    assert row["correlation_low"] <= row["correlation_high"]


def test_what_is_there_is_not_done_again(shifted):
    folder = shifted.run.folder / "shifts"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "run/" not in str(path)}
    again = shifted.run.shift(RAIN, retrain=1.0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(again.table()[["iia", "low"]], shifted.run.robustness().table()[["iia", "low"]])


def test_figures_and_table_are_written(shifted):
    names = {path.name for path in shifted.run.folder.iterdir()}
    assert {"shift.json", "shift_matrix.png", "shift_rain.png", "shift_same.png"} <= names
    body = json.loads((shifted.run.folder / "shift.json").read_text())
    assert body["shifts"]["rain"]["coverage"]["last"] == 1
    assert {row["outcome"] for row in body["rows"]}
    assert not list(shifted.run.folder.rglob(".partial*"))
    assert {"shift_rain.png", "heatmaps.png"} <= {path.name for path in shifted.run.figures()}


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


def test_a_position_that_a_shift_lacks_is_left_out_and_said(tmp_path):
    run = train(tmp_path / "run", positions=["last-9", "last"], hypotheses=["sum"], layers=[2])
    short = {"short": {"replace": {"Compute ": ""}}}
    robustness = run.shift(short)
    assert set(robustness.map("base", "short", "sum").index.get_level_values("position")) == {"last"}
    assert robustness.folders["short"].about["coverage"] == {"last-9": 0, "last": 1}
    assert "short: last-9 do not exist in every prompt" in robustness.text()


# --- errors, before weights are loaded ---

WRONG = {
    "unknown shift": (["--shifts", "[rian]"], "unknown shift 'rian': did you mean 'rain'?|unknown shift 'rian'"),
    "unknown words": (["--shifts", "{frogs: {context: Zebras.}}"], "shift 'frogs': .* unknown to the tokenizer"),
    "no shift": (["--shifts", "{frogs: 3}"], "shift 'frogs': shift 3 cannot be read"),
    "retrain unknown": (["--shifts", "[words]", "--retrain", "{word: 1.0}"], "retrain names 'word'"),
    "retrain too much": (["--shifts", "[words]", "--retrain", "2"], "retrain is 2.* expected a share"),
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


def test_check_says_which_shift_is_unsound(tmp_path, capsys):
    source = (ROOT / "tasks" / "arithmetic.py").read_text()
    path = tmp_path / "odd.py"
    path.write_text(source.replace('"words"', '"odd": Shift(prompt=Prompt("Zebra {a} {b} {c} =", str)),\n        "words"'))
    assert main(["check", str(path), "--lm", "arithmetic-tiny", "--accuracy", "false"]) == 2
    assert "shift 'odd': " in capsys.readouterr().err


# --- the paper's table ---


def test_the_papers_table_needs_price_tagging(shifted):
    with pytest.raises(DasError, match="is no run of price tagging"):
        paper_table(shifted)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    settings = {"layers": [2, 3], "positions": ["last-12", "last"], "steps": 10, "check_every": 10, "train_pairs": 200}
    settings |= {"val_pairs": 60, "test_pairs": 80, "threads": 1, "subspace": {"kind": "nested", "k": 4}, "chosen_seeds": 1}
    folder = tmp_path_factory.mktemp("paper") / "run"
    run = Experiment("price_tagging", "price-tagger-tiny", logger="none", seeds=2, **settings).run(folder)
    return run.shift(["irrelevant_context", "new_brackets_unseen", "new_brackets"], retrain={"new_brackets": 1.0})


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

    from das.shifts import named_shifts

    values = yaml.safe_load(path.read_text())
    values.pop("out")
    settings = Settings(**values)
    shifts = named_shifts(settings.shifts, price_tagging.shifts)
    assert {row.tested for row in ROWS} <= {"base", *shifts}
    assert {row.trained for row in ROWS} == {"base", "new_brackets"}
    assert settings.retrain["new_brackets"] == 1
