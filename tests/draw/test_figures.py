"""Figures of a run: what is hatched, drawn and written is what its tables say."""

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from das import DasError, Experiment, Run
from das.cli import main
from das.draw.dose import dose_figure
from das.draw.evidence import NULLS, effects, evidence, levels, luck, rank_curve
from das.draw.heatmaps import METRICS, heatmap
from das.draw.outcome import outcome
from das.text import fitted, plain, short

DRAWS = True
"""The files that runs draw are looked at."""

BASELINES = {"noop": 0.5, "whole": 0.7, "random": 0.51, "majority": 0.52, "lm_base": 0.99, "lm_source": 0.99, "ceiling": 0.98}
SCORECARD = {
    "decoding": {"one": [0.9, 0.6], "two": [0.8, 0.7]}, "natural": 0.9, "cause": {"one": 0.7, "two": 0.8},
    "whole_cause": {"one": 0.75, "two": 0.85}, "isolate": {"one": {"x": 0.9, "two": 0.8}, "two": {"x": 0.7, "one": 0.6}},
    "rest": 0.4, "complete": 0.95, "clean": 0.99, "resampled": 0.5, "expected": 0.48, "wiped": 0.4, "restored": 0.9,
    "averaged": 0.6, "zeroed": 0.55, "arbitrary": {"one": 0.61}, "selectivity": {"one": 0.29},
    "expected_restored": 0.85, "read_share": 0.6, "read_cause": {}, "unread_cause": {}, "dormancy": 0.0, "ablation": 0.49,
    "recovery": 0.85, "disentangle": 0.75,
}  # fmt: skip
CURVE = {"probability": [0.1, 0.5, 0.9], "accuracy": [0.0, 0.5, 1.0]}
DOSE = {"spread": 2.0, "alpha": [-1.0, 0.0, 1.0], "add": CURVE, "random": CURVE, "piecewise": CURVE}
FOUND = {
    "val_iia": 0.8, "test_iia": 0.8, "test_iia_sd": None, "test_ci": [0.77, 0.83], "test_flip_iia": None, "rank": 4.0,
    "test_off_manifold": 0.6, "baselines": BASELINES, "scorecard": SCORECARD,
}  # fmt: skip
FAILURES = [
    {"conditions": "base price = $5_a and $6_b, " * 12, "share": 0.1, "iia": 0.2, "failures": 0.6, "rest": False},
    {"conditions": "source x ≤ 3", "share": 0.2, "iia": 0.5, "failures": 0.3, "rest": True},
]
ENTRY = FOUND | {
    "hypothesis": "h.one+two", "layer": 1, "position": "last", "component": "block_output", "subspace": "boundless8",
    "nulls": {null: {"p": 0.001, "quantile95": q, "draws": [0.5, 0.52]} for null, q in zip(NULLS, (0.55, 0.58, 0.56), strict=True)},
    "failures": FAILURES, "verdict": {"verdict": "partly", "sentence": "h.one+two: partly; it costs $1_a or $2_b.", "p": 0.001},
    "beside": {"nested8": FOUND | {"rank": 3.0, "verdict": {"verdict": "illusory", "sentence": "", "p": None}}},
}  # fmt: skip
NEW = "nulls", "failures", "verdict", "scorecard", "test_off_manifold"
"""What runs of older versions lack."""


def cells(layers, positions):
    """Rows of the results table: IIA .40, .45, … along the grid, ± .035."""
    for at, (layer, position) in enumerate(product(range(layers), positions)):
        iia = min(0.4 + 0.05 * at, 1.0)
        shares = {"iia_correct": iia, "iia_incorrect": 1 - iia, "off_manifold": 0.5, "distance": 2.0 + at, "rank": 4}
        for metric, value in {"iia": iia, "iia_low": iia - 0.035, "iia_high": min(iia + 0.035, 1.0), **shares}.items():
            yield layer, position, "boundless8", "test", metric, 0, value
        yield layer, position, "boundless8", "val", "rank", 0, 4


def make(folder, positions=("a.last", "last"), layers=3, nulls=True, old=False):
    """A run folder as `Summary` and `Experiment` write it."""
    nested = [(1, "last", "nested8", "test", "iia", width, 0.6 + width / 40) for width in range(1, 9)]
    columns = ["layer", "position", "subspace", "split", "metric", "width", "value"]
    table = pd.DataFrame([*cells(layers, positions), *nested], columns=columns)
    table = table.assign(hypothesis="h", component="block_output", seed=0)
    table["cell"] = table["position"] + table["layer"].astype(str) + table["subspace"]
    entry = ENTRY if nulls else ENTRY | {"nulls": {}}
    if old:
        table = table[table["metric"].isin(["iia", "rank"])]
        entry = {name: value for name, value in entry.items() if name not in NEW}
    folder.mkdir()
    table.to_parquet(folder / "results.parquet")
    tokens = {p: "$" if p == "last" else "\n" for p in positions}
    summary = {"hypotheses": {"h": entry}, "tokens": tokens, "task_accuracy": 0.99, "cells": 6}
    (folder / "summary.json").write_text(json.dumps(summary))
    if nulls and not old:
        (folder / "nulls").mkdir()
        for null, draw in product(NULLS, range(2)):
            rows = [{"width": width, "iia": 0.5 + draw / 100 + width / 400} for width in (1, 2, 4, 8)]
            frame = pd.DataFrame(rows).assign(draw=draw, hypothesis="h", layer=1, position="last", component="block_output")
            frame.assign(null=null).to_parquet(folder / "nulls" / f"{null}-{draw}.parquet")
    return Run.open(folder)


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run")


def hatched(axes):
    """(row, column) of the hatched cells."""
    return {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axes.patches if p.get_hatch()}


def texts(axes):
    return [text.get_text() for text in axes.texts]


# --- heatmaps ---


def test_cells_whose_interval_is_not_above_the_null_are_hatched(run):
    axes = heatmap(run, "h")
    assert hatched(axes) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)}  # .60 − .035 is not above .58
    assert "not above the null (.58)" in axes.get_xlabel()
    assert axes.get_title().startswith("h.one+two: partly\n")


def test_without_nulls_the_best_baseline_is_the_null(tmp_path):
    axes = heatmap(make(tmp_path / "run", nulls=False), "h")
    assert hatched(axes) == {(0, 0), (0, 1), (1, 0), (1, 1)}  # .55 − .035 is not above .52
    assert "not above no-op, majority and random (.52)" in " ".join(axes.get_xlabel().split())


def test_every_cell_has_its_interval_under_its_number(run):
    assert sorted(texts(heatmap(run, "h"))) == sorted(
        text
        for at in range(6)
        for iia in [0.4 + 0.05 * at]
        for text in (short(iia), f"{short(iia - 0.035)}–{short(iia + 0.035)}")
    )


def test_where_cells_are_too_small_their_intervals_are_left_out(run):
    axes = heatmap(run, "h", Figure(figsize=(1.2, 1)).add_subplot())
    assert sorted(texts(axes)) == [short(0.4 + 0.05 * at) for at in range(6)]


@pytest.mark.parametrize("metric", ["iia_correct", "iia_incorrect", "off_manifold", "distance"])
def test_other_metrics_show_their_own_numbers_and_hatch_by_the_iia(run, metric):
    axes = run.heatmap("h", metric=metric)
    assert hatched(axes) == hatched(heatmap(run, "h"))
    assert METRICS[metric] in axes.get_title()
    assert len(axes.texts) == 6
    assert axes.images[0].get_clim() == (0, 7 if metric == "distance" else 1)
    assert metric != "distance" or sorted(texts(axes)) == ["2.0", "3.0", "4.0", "5.0", "6.0", "7.0"]


def test_a_metric_that_the_run_lacks_is_one_clear_error(tmp_path):
    with pytest.raises(DasError, match="has no test_distance"):
        make(tmp_path / "run", old=True).heatmap("h", metric="distance")


def test_a_grid_as_large_as_a_real_one_keeps_its_numbers_inside_their_cells(tmp_path):
    positions = [*(f"last-{i}" for i in range(12, 0, -1)), "last"]
    axes = heatmap(make(tmp_path / "run", positions, layers=6), "h")
    axes.get_figure().draw_without_rendering()
    width = axes.get_window_extent().width / 13
    shown = [text for text in axes.texts if "–" in text.get_text()]
    assert len(shown) == 6 * 13
    assert all(text.get_window_extent().width < width for text in shown)


# --- capacity ---


def test_the_capacity_figure_has_every_null_with_its_range_beside_the_alignment(run):
    axes = rank_curve(run, "h")
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["nested8, by rank"].get_xdata(), 2 * np.arange(1, 9))  # two variables
    for null, (label, colour, style) in NULLS.items():
        line = lines[f"{label} ◂ {ENTRY['nulls'][null]['quantile95']:.2f}"]
        np.testing.assert_allclose(line.get_xdata(), [2, 4, 8, 16])
        np.testing.assert_allclose(line.get_ydata(), [0.505 + width / 400 for width in (1, 2, 4, 8)])
        assert (line.get_color(), line.get_linestyle()) == (colour, style)
    assert len({(ink, style) for _, ink, style in NULLS.values()}) == len(NULLS)
    assert sum(line.get_marker() == "<" for line in axes.lines) == len(NULLS)
    assert len(axes.collections) == 1 + len(NULLS)


def test_what_luck_reaches_is_shaded(run, tmp_path):
    for each, limit in ((run, 0.58), (make(tmp_path / "plain", nulls=False), 0.52)):
        (band,) = rank_curve(each, "h").patches
        assert band.get_y() + band.get_height() == pytest.approx(limit)
        assert luck(each.summary["hypotheses"]["h"])[0] == limit


def test_the_legend_covers_no_curve(run):
    axes = rank_curve(run, "h")
    axes.get_figure().draw_without_rendering()
    assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1


# --- evidence ---


def test_causes_and_isolations_stand_in_their_places():
    rows, columns, shares = effects(SCORECARD)
    assert (rows, columns) == (["one", "two"], ["cause", "x", "two", "one"])
    np.testing.assert_array_equal(shares, [[0.7, 0.9, 0.8, np.nan], [0.8, 0.7, np.nan, 0.6]])


def test_the_levels_leave_out_what_was_not_asked():
    steps = {step.label: step for step in levels(SCORECARD)}
    assert (steps["resample ablation"].start, steps["resample ablation"].end, steps["resample ablation"].mark) == (
        0.99,
        0.5,
        0.48,
    )
    assert (steps["recovery"].start, steps["recovery"].end, steps["recovery"].mark) == (0.4, 0.9, 0.85)
    assert steps["decoding two"].words == "commonest class .70 → .80"
    assert steps["decoding one"].words == "commonest class .60 → .90, arbitrary values .61"
    assert [steps[f"{name} ablation"].end for name in ("resample", "mean", "zero")] == [0.5, 0.6, 0.55]
    nothing = (
        SCORECARD | dict.fromkeys(["natural", "resampled", "averaged", "zeroed", "restored"]) | {"decoding": {}, "cause": {}}
    )
    assert levels(nothing) == []


def test_the_evidence_figure_names_the_failing_groups_under_the_verdict():
    figure = evidence(ENTRY)
    figure.draw_without_rendering()
    left, middle, right = figure.axes
    assert {".70", "whole .75", ".60"} <= set(texts(left))
    assert [tick.get_text() for tick in middle.get_yticklabels()] == [step.label for step in levels(SCORECARD)]
    long, other = texts(right)
    assert max(map(len, long.splitlines())) < 70
    assert other == "source x ≤ 3\n.50 on another 20% of the pairs, 30% of the failures"
    assert figure.get_suptitle() == r"h.one+two: partly; it costs \$1_a or \$2_b."


def test_the_evidence_figure_stands_with_little_to_show():
    nothing = {k: {} if isinstance(v, dict) else None for k, v in SCORECARD.items()} | {"decoding": {"one": [1.0, 0.5]}}
    figure = evidence(ENTRY | {"scorecard": nothing, "failures": []})
    figure.draw_without_rendering()
    assert texts(figure.axes[2]) == ["no group of pairs stands out"]


def test_the_dose_figure_has_a_row_for_each_variable_and_a_panel_for_each_answer_and_measure():
    card = SCORECARD | {"dose": {"one": DOSE, "two_$a": DOSE}}
    figure = dose_figure(ENTRY | {"scorecard": card})
    figure.draw_without_rendering()
    assert len(figure.axes) == 8
    assert [len(ax.lines) for ax in figure.axes[:4]] == [3, 3, 2, 2]  # and the line of no dose
    assert [line.get_ydata()[-1] for line in figure.axes[1].lines[:2]] == [1, 1]
    without = {name: {"accuracy": CURVE["accuracy"]} if isinstance(part, dict) else part for name, part in DOSE.items()}
    assert len(dose_figure(ENTRY | {"scorecard": card | {"dose": {"one": without}}}).axes) == 2


def test_text_from_users_is_no_formula():
    assert fitted("a_b costs $1 or $2", 9, 9) == plain("a_b costs $1 or $2") == r"a_b costs \$1 or \$2"
    assert [short(share) for share in (0, 0.804, 0.995)] == [".00", ".80", "1.0"]


# --- all of them ---


def names(run):
    return {Path(path).name for path in run.figures()}


def test_all_figures_are_drawn(run):
    assert names(run) == {"heatmap_h.png", "heatmaps.png", "rank_h.png", "evidence_h.png"}


def test_an_old_run_is_drawn_and_told_without_what_it_lacks(tmp_path):
    old = make(tmp_path / "run", old=True)
    assert names(old) == {"heatmap_h.png", "heatmaps.png", "rank_h.png"}
    assert not hatched(heatmap(old, "h"))
    assert "verdict" not in outcome(old.summary)


@pytest.mark.slow
def test_a_real_run_is_drawn_with_its_nulls_and_without(tmp_path, capsys):
    settings = {
        "layers": [1],
        "positions": ["c.last", "last"],
        "steps": 5,
        "batch": 32,
        "check_every": 5,
        "chosen_seeds": 1,
        "closed_forms": [],
    }
    sizes = {"train_pairs": 100, "val_pairs": 60, "test_pairs": 60, "threads": 1, "nulls": 2, "hypotheses": ["sum"]}
    kinds = {"subspace": {"kind": "boundless", "k": 4}, "beside": [{"kind": "nested", "k": 4}]}
    run = Experiment("arithmetic", "arithmetic-tiny", **settings, **sizes, **kinds).run(tmp_path / "real")
    assert (run.folder / "evidence_sum.png").exists()
    assert len(rank_curve(run, "sum").collections) == 1 + len(NULLS)
    shutil.rmtree(run.folder / "nulls")
    assert len(rank_curve(run, "sum").collections) == 1
    assert main(["plot", str(run.folder)]) == 0
    assert "evidence_sum.png" in capsys.readouterr().out


# --- the console ---


def test_the_console_shows_scores_scorecards_and_verdicts(run):
    scores, evidence, verdicts = outcome(run.summary).split("\n\n")
    assert scores.splitlines()[-1].split()[-5:] == ["–", "3", "0.50", "0.70", "0.51"]
    head, line, beside = evidence.splitlines()
    assert head.split()[:6] == ["hypothesis", "subspace", "verdict", "p", "cause", "isolate"]
    figures = "h.one+two boundless8 partly 0.001 0.75 0.75 0.75 0.85 0.29 0.49 0.85 0.95 0.60 0.60"
    assert line.split() == figures.split()
    assert beside.split()[:4] == ["h.one+two", "nested8", "illusory", "–"]
    assert verdicts == ENTRY["verdict"]["sentence"]
