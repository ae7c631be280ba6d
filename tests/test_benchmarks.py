"""The benchmarks run, at tiny sizes, and write what they say they write."""

import json
import sys
from collections import namedtuple
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import calibration
import circuits
import edge_rivals
import finders
import gauge
import gpu
import honesty
import llama7b
import losses
import many_cells
import paper_faults
import plan
import remembering
import rome
import scaling
import speed
import superposition
import synthetic
import time_to_iia

from das import Boundless, Experiment
from das.interchange.engine import HookEngine, ResumeEngine
from das.network.site import Site
from das.task.files import run_file


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a benchmark as from the command line, but in this process; what it wrote with --json."""

    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script.__name__, *options, "--json", str(tmp_path / "out.json")])
        script.main()
        return json.loads((tmp_path / "out.json").read_text())

    return run


def test_gpu_dry_run_measures_both_libraries_and_the_grid(run, capsys):
    found = run(gpu, "--dry-run")
    out = capsys.readouterr().out
    assert [row["cells"] for row in found["rows"]] == [1, 1, 1, 12]
    assert all(row["seconds"] > 0 and row["hours"] > 0 and row["what"] in out for row in found["rows"])
    assert found["dry_run"]
    assert "torch" in found["machine"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_names_the_dry_run(run, capsys):
    with pytest.raises(SystemExit) as stop:
        run(gpu)
    assert stop.value.code == 2
    assert "--dry-run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_at_the_shape_of_llama_is_measured_in_a_process_of_its_own(run):
    (row,) = run(llama7b, "--dry-run")["rows"]
    assert row["cells"] == 7 * 2
    assert row["seconds"] > 0
    assert 0.1 < row["peak_gib"] < 4
    assert row["planned_seconds"] > 0
    assert row["planned_gb"] > 0


def test_scaling_fits_an_exponent_to_everything_it_varies(run):
    found = run(scaling, "--quick")
    assert {row["what"] for row in found["rows"]} == set(found["exponents"])
    assert {"positions", "seeds", "width", "depth", "shared", "own", "k"} == set(found["exponents"])


@pytest.fixture(scope="module")
def lm():
    return synthetic.network(32, 2, 2, 1, 48, 50)


@pytest.fixture(scope="module")
def data():
    return synthetic.dataset(2, 8, length=12, prefix=6, positions=3, vocab=50)


def test_random_prompts_share_their_prefix_and_are_patched_behind_it(data):
    assert len(data.shared_prefix()) == 6
    assert list(data.prompts.positions) == ["last-2", "last-1", "last"]
    assert data.first([Site(0, position) for position in data.prompts.positions]) == 9
    assert len({row.tobytes() for row in data.prompts.ids}) == len(data.prompts) == 32


def test_a_step_moves_every_cell_and_no_weight_of_the_network(lm, data):
    module = synthetic.trainer(lm, data, [0, 1], ["last-1", "last"], Boundless(k=4), batch=4, seeds=2)
    before, weights = module.stacks[0].weight.detach().clone(), [p.clone() for p in lm.model.parameters()]
    synthetic.grid_step(module)
    assert len(module.cells) == 16
    assert module.global_step == 1
    moved = (module.stacks[0].weight.detach() - before).abs().flatten(1).amax(1)
    assert bool((moved[[cell.site.layer == 0 for cell in module.cells]] > 0).all())
    assert all(torch.equal(p, old) for p, old in zip(lm.model.parameters(), weights, strict=True))


def test_pyvene_learns_on_the_same_pairs(lm, data):
    step = synthetic.pyvene_step(lm, data, 0, "last", batch=8)
    losses = [step() for _ in range(10)]
    assert losses[-1] < losses[0]
    assert HookEngine(lm).capture(data.prompts.take(slice(2)), []).logits.isfinite().all()


def test_operations_of_products_exponentials_and_qr():
    a, b = torch.randn(10, 20), torch.randn(20, 30)
    assert gauge.operations(lambda: a @ b) == 2 * 10 * 20 * 30
    assert gauge.operations(lambda: torch.linalg.qr(b)) == 4 * 30 * 20**2 - 4 * 20**3 // 3
    identity = torch.eye(8)
    assert gauge.operations(lambda: torch.linalg.matrix_exp(identity)) == 2 * 8**3 * 4
    assert gauge.operations(lambda: torch.linalg.matrix_exp(16 * identity)) == 2 * 8**3 * (5 + 3)


def test_peak_memory_counts_what_a_function_took_but_not_what_this_process_did():
    here = torch.ones(400 * 2**18)
    assert 600 < gauge.peak_memory_mb(partial(torch.ones, 600 * 2**18)) < 600 + 800
    assert len(here)


def test_tables_are_aligned(capsys):
    gauge.table([{"what": "a", "n": 1}, {"what": "long", "n": 10.5}])
    assert capsys.readouterr().out == "what     n\na        1\nlong  10.5\n"


@pytest.mark.slow
def test_speed_compares_a_grid_step_with_pyvenes_cells(run, monkeypatch):
    tiny = speed.Scale((32, 2, 2, 2, 48, 50), range(2), (0, 1), 1)
    monkeypatch.setattr(speed, "SCALES", {"small": tiny})
    (row,) = run(speed, "--scales", "small", "--no-memory")["rows"]
    assert row["cells"] == 2 * 13 * 4
    assert row["ratio"] == pytest.approx(row["pyvene_s"] / row["ours_s"])
    assert row["reached"] == pytest.approx(row["ratio"] / row["ratio_by_operations"])
    assert all(row[name] > 0 for name in ("ratio_last_position", "captures_s", "ratio_by_operations"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_time_to_iia_runs_both_to_the_end_on_the_same_cells(run, monkeypatch):
    small = {"layers": [3], "positions": ["last"], "steps": 4, "train_pairs": 128, "val_pairs": 64, "test_pairs": 64}
    monkeypatch.setattr(time_to_iia, "RUN", time_to_iia.RUN | small)
    for name, value in {"CELLS": [(3, "last")], "STEPS": 4, "CHECK": 2, "EXAM": 300}.items():
        monkeypatch.setattr(time_to_iia, name, value)
    found = run(time_to_iia)
    (row,) = found["rows"]
    assert row["pyvene_steps"] in (2, 4)
    assert 0.3 < row["pyvene_iia"] < 1
    assert row["low"] <= row["gain"] <= row["high"]
    assert row["gain"] == pytest.approx(row["ours_iia"] - row["pyvene_iia"], abs=1e-6)
    assert 250 < found["pairs"] <= 300
    assert found["ratio"] == pytest.approx(row["pyvene_s"] * found["grid_cells"] / found["ours_grid_s"])


@pytest.mark.slow
def test_paper_faults_trains_and_scores_every_arm_on_the_same_pairs(run):
    found = run(paper_faults, "--quick")
    rows = {(row["fault"], row["cell"]): row for row in found["rows"]}
    assert len(rows) == len(paper_faults.ARMS) * len(paper_faults.SITES)
    assert found["mislabelled"] == pytest.approx(1 / 12)
    for (fault, cell), row in rows.items():
        arm, none = paper_faults.ARMS[fault], rows["none", cell]
        assert row["difference"] == pytest.approx(row["iia"] - none["iia"])
        assert arm.labels or row["reported"] == row["iia"]
        assert arm.hard != paper_faults.Arm() or row["hard"] == none["hard"]
    assert [row["fault"] for row in found["costs"]] == [name for name in paper_faults.ARMS if name != "none"]


def test_the_released_rate_peaks_after_four_fifths_and_barely_falls():
    rates = [paper_faults.released_rate(step, 100) for step in range(101)]
    assert max(rates) == rates[80] == 1
    assert rates[40] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(7 / 7.2)


def test_the_released_mask_is_a_blend_at_its_temperature_and_hard_when_cold():
    boundary = torch.tensor([0.5])
    warm, cold = (paper_faults.released_mask(boundary, 8, temperature)[0] for temperature in (50.0, 0.01))
    assert warm[2] == pytest.approx(float(torch.sigmoid(torch.tensor(2 / 50)) ** 2))
    assert cold.tolist() == pytest.approx([0.5, 1, 1, 1, 0.5, 0, 0, 0], abs=1e-6)


def test_calibration_says_what_was_found_and_what_is_asked(run, capsys):
    rows = run(calibration, "--draws", "20", "--parts", "nulls", "differences")["rows"]
    out = capsys.readouterr().out
    assert len(rows) == 4 * 8 + 6
    assert all(row["law"] in out and 0 <= row["found"] <= 1 and row["draws"] == 20 for row in rows)
    assert all(row["holds"] == (row["found"] >= float(row["asked"][2:])) for row in rows if row["asked"].startswith("≥"))
    law = calibration.Law("base and source", 0.3, 0.3, mean=0.8)
    hits = law.draw(calibration.of_pool(5000, 20_000, 0), np.random.default_rng(0))
    assert hits.mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.slow
def test_features_that_are_rare_share_directions(tmp_path):
    """The toy model's phases; of a density's models that one counts that errs least, as the others are stuck."""
    densities = (1.0, 0.72, 0.19, 0.01)
    w = superposition.trained(densities, seeds=5, steps=2500, batch=512)
    table = list(superposition.rows(densities, w))
    found = {row["density"]: row for row in table}
    assert [found[p]["phase"] for p in densities] == ["2 orthogonal", "2 orthogonal", "4 in antipodal pairs", "pentagon"]
    assert found[0.01]["seeds"]["pentagon"] >= 4
    superposition.figure(table, tmp_path / "phases.png")
    assert (tmp_path / "phases.png").stat().st_size > 10_000


def test_phases_are_told_apart():
    def of(*degrees):
        angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float))
        w = torch.stack([angles.cos(), angles.sin()])
        return superposition.phase(torch.nn.functional.pad(w, (0, 5 - len(degrees))))

    assert of(10, 100) == "2 orthogonal"
    assert of(10, 130) == "2 otherwise"
    assert of(0, 180, 90, 270) == "4 in antipodal pairs"
    assert of(0, 72, 144, 216, 288) == "pentagon"
    assert of(0, 72, 144, 216, 250) == "5 otherwise"


# --- finders ---


@pytest.mark.slow
def test_finders_are_held_against_the_first_at_one_cell_and_go_on_where_they_were(run, monkeypatch, tmp_path, capsys):
    sizes = {"train_pairs": 256, "val_pairs": 64, "test_pairs": 100, "steps": 40, "check_every": 40}
    monkeypatch.setattr(finders, "CASES", {"plain": replace(finders.CASES["plain"], sizes=sizes, sae=None)})
    names = "nested", "lat", "dictionary", "full"
    monkeypatch.setattr(finders, "FINDERS", {name: finders.FINDERS[name] for name in names})
    rows = {row["finder"]: row for row in run(finders)["rows"]}
    assert set(rows) == set(names)
    assert rows["lat"]["verdict"] == "supported"
    assert rows["full"]["verdict"] != "supported"
    assert "no dictionary" in rows["dictionary"]["refused"]
    assert f"refused: {rows['dictionary']['refused']}" in capsys.readouterr().out
    for name in ("lat", "full"):
        row = rows[name]
        assert row["to_first"] == pytest.approx(row["iia"] - rows["nested"]["iia"])
        assert row["low"] <= row["to_first"] <= row["high"]
    assert all(row["seconds"] >= 0 and row["captures"] >= 0 for row in rows.values() if "refused" not in row)
    monkeypatch.setattr(finders, "rows_of", lambda *_: pytest.fail("computed again"))
    run(finders, "--figure", str(tmp_path / "figure.png"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_what_was_captured_is_not_captured_again_but_counted():
    lm, data = synthetic.network(32, 2, 2, 1, 48, 50), synthetic.dataset(2, 8, length=12, prefix=6, positions=3, vocab=50)
    engine, spots = remembering.Remembering(HookEngine(lm)), [("block_output", 0)]
    one, same = (engine.capture(data.prompts, spots) for _ in range(2))
    assert one is same
    assert engine.asked == pytest.approx(2 * engine.ran)
    assert engine.capture(data.prompts.take(slice(2)), spots) is not one
    torch.testing.assert_close(one.logits, HookEngine(lm).capture(data.prompts, spots).logits)


@pytest.mark.slow
def test_cells_of_closed_forms_are_timed_beside_cells_that_train():
    small = {
        "layers": [1],
        "positions": ["last"],
        "train_pairs": 128,
        "val_pairs": 64,
        "test_pairs": 8,
        "steps": 2,
        "check_every": 2,
    }
    rows = {row["kind"]: row for row in many_cells.rows(2, **small)}
    assert set(rows) == {"nested", "probe", "lat"}
    for row in rows.values():
        assert row["cells"] == 2
        assert row["ratio"] == pytest.approx(rows["nested"]["seconds"] / row["seconds"])
        assert row["seconds"] == pytest.approx(sum(row["each"]) / 2)


def test_honesty_reads_what_is_planted_and_nothing_where_there_is_nothing():
    facts, generator = run_file(ROOT / "tasks" / "honesty.py"), torch.Generator().manual_seed(0)
    manners = [*zip(facts.HONEST, facts.UNTRUTHFUL, strict=True)]
    parts = {"fit": ["animals", "body", "food"], "choose": ["time"], "held out": ["space", "people"]}
    asked = {part: honesty.settings(facts, topics, manners) for part, topics in parts.items()}
    for columns in asked.values():
        assert columns["honest"].tolist() == [facts.MANNERS[manner] for manner in columns["manner"]]
        assert columns["true"].tolist() == [facts.KNOWN[statement][0] for statement in columns["statement"]]
    held = {}
    for part, columns in asked.items():
        noise = torch.randn(len(columns["true"]), 2, 16, generator=generator)
        noise[:, 1, 0] += 9 * torch.from_numpy(columns["true"])
        held[part] = dict.fromkeys(honesty.POSITIONS, noise)
    found = {(row["variable"], row["finder"]): row for row in honesty.best(honesty.read(held, asked, 2))}
    for finder in ("lat", "diffmeans", "probe"):
        assert found["true", finder]["layer"] == 1
        assert found["true", finder]["auroc"] >= 0.99
        assert found["true", finder]["above"] >= 0.99
        assert 0.3 < found["honest", finder]["auroc"] < 0.7


def test_losses_are_held_against_the_difference_in_means_at_every_site(run, monkeypatch):
    small = {"train_pairs": 60, "val_pairs": 20, "test_pairs": 40, "steps": 2}
    monkeypatch.setitem(losses.CASES, "price_tagging", replace(losses.CASES["price_tagging"], layers=[3, 5], sizes=small))
    monkeypatch.setattr(losses, "WAYS", losses.WAYS[::3])
    rows = run(losses, "--cases", "price_tagging")["rows"]
    found = [(row["layer"], row["found by"], row["flipping"]) for row in rows]
    each = [("diffmeans", None), ("cross_entropy", 0.5), ("probability", 0.6)]
    assert found == [(layer, *way) for layer in (3, 5) for way in each]
    for row in rows:
        assert row["iia"] == pytest.approx((row["flip"] + row["stay"]) / 2)
        assert row["rank"] == 1


def test_scores_of_edges_stand_beside_each_edges_own_swap():
    sys.path.append(str(ROOT / "tests" / "circuits"))
    import induction

    found = induction.pairs(8)
    streams = circuits.Streams(ResumeEngine(induction.network(4)), found.prompts)
    table = circuits.rows(streams, found)
    assert [row["scores"] for row in table] == ["each edge by itself", *circuits.STEPS]
    assert all(row["seconds"] > 0 for row in table)
    assert table[-1]["r"] > 0.9


def test_rome_counts_questions_as_they_were_and_tells_whether_tracing_foretold_them():
    rng = np.random.default_rng(0)
    countries, layers = [f"c{i}" for i in range(12)], [2, 6, 10]
    traces = [{"country": c, "layer": n, "kind": "mlp", "effect": float(rng.random())} for c in countries for n in layers]
    rows = []
    for t in traces:
        head = {"edit": f"{t['country']} → {countries[0]}x", "layer": t["layer"], "method": "rome"}
        right = round(10 * t["effect"])
        rows.append(head | {"outcome": "efficacy", "questions": 10, "right": right, "preferred": 10, "preferable": 10})
        rows.append(head | {"outcome": "made", "seconds": 1.0})
    table = rome.table_of(rows)
    assert table[table["layer"] == "all"]["share"].item() == pytest.approx(np.mean([row["right"] / 10 for row in rows[::2]]))
    assert len(rome.unfolded(rows, "preferred")) == 10 * len(traces)
    found = rome.foretold(rows, traces)
    assert [row["how"] for row in found] == ["over all", "within layers"]
    assert all(row["low"] < row["r"] and row["low"] > 0.9 for row in found)
    assert rome.by_layer_figure(table[table["layer"] != "all"], rome.mean_traces(traces)).axes


Node = namedtuple("Node", ["kind", "layer", "head", "position"])
"""As TransformerLens has them."""


def test_scores_of_another_implementation_are_summed_over_tokens():
    graph = edge_rivals.Graph(1, 2, 2)
    one, two = (Node("attn_head_out", 0, 1, position) for position in (3, 4))
    mlp, query, out = Node("mlp_in", 0, None, 3), Node("q_input", 0, 1, 3), Node("logits", 0, None, 4)
    embedding = Node("embed", None, None, 3)
    found = edge_rivals.by_edge(graph, {(one, mlp): 0.5, (two, mlp): 0.25, (two, out): 1.0, (embedding, query): 2.0})
    head, end = graph.nodes.index("head 0.1"), graph.ends.index
    assert (found[end("MLP 0"), head], found[end("logits"), head], found[end("query 0.1"), 0]) == (0.75, 1, 2)
    assert np.count_nonzero(found) == 3
    assert edge_rivals.by_node(graph, {one: 0.5, two: 0.25}).tolist() == [0, 0, 0.75, 0]


def test_equal_scores_are_not_apart():
    sys.path.append(str(ROOT / "tests" / "circuits"))
    import induction

    found = induction.pairs(4)
    streams = circuits.Streams(ResumeEngine(induction.network(4)), found.prompts)

    class Theirs:
        def of(self, granularity, steps):
            assert granularity == "edge"
            return edge_rivals.ours(streams, found, steps)

    table = edge_rivals.rows(streams, found, Theirs(), 1)
    assert [(row["scores"], row["of"], row["apart"]) for row in table] == [(name, "edges", 0) for name in edge_rivals.STEPS]
    assert all(row["das"] > 0 and row["TransformerLens"] > 0 for row in table)


def test_a_plan_is_held_against_the_seconds_of_a_finished_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAS_CACHE", str(tmp_path / "cache"))
    small = {"hypotheses": ["left_boundary"], "layers": [5], "positions": ["last"], "subspace": "fixed:k=1", "closed_forms": []}
    small |= {"steps": 2, "check_every": 2, "chosen_seeds": 1, "train_pairs": 16, "val_pairs": 16, "test_pairs": 16}
    Experiment("price_tagging", "price-tagger-tiny", logger="none", **small).run(tmp_path / "run")
    found = run(plan, str(tmp_path / "run"))
    assert [row["stage"] for row in found["rows"]] == ["pairs", "dead sites", "grid", "evidence"]
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["planned seconds"] / row["measured seconds"])
        assert row["measured processor"] > 0
    assert "off by more than a factor 1.5" in capsys.readouterr().out


def test_a_stage_is_off_where_it_took_long_and_the_plan_said_otherwise():
    took = [{"run": "a", "stage": s, "measured processor": m, "processor ratio": r} for s, m, r in
            (("pairs", 1.0, 9.0), ("grid", 10.0, 1.4), ("nulls", 10.0, 1.6), ("evidence", 10.0, 0.5), ("shifts", 10.0, ""))]  # fmt: skip
    assert [row["stage"] for row in plan.off(took, 1.5, 5.0)] == ["nulls", "evidence"]
