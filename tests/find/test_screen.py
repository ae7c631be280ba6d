"""A budget trains the promising sites first, says what it skipped and why, and changes nothing in what it trains."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from das import DasError, Experiment, Run
from das.cli import main
from das.draw.heatmaps import grid
from das.find.budget import cost, spend
from das.find.screen import screen
from das.find.slopes import gradients, standing
from das.find.untrained import untrained
from das.ground.storage import write
from das.interchange.batch import Batch
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.score import captures_for
from das.judge.evaluate import evaluate
from das.planted.planting import plant
from das.progress import silent
from das.run.course import Course
from das.run.launcher import PROCESSES, launched
from das.run.plan import plan
from das.run.workers import Here
from das.text import short

GRID = {
    "positions": ["x", "y", "last"], "subspace": "nested:k=4", "steps": 40, "batch": 64, "check_every": 20, "chosen_seeds": 2, "closed_forms": [],
    "dead": "train", "train_pairs": 500, "val_pairs": 100, "test_pairs": 100, "logger": "none",
}  # fmt: skip
SMALL = {
    "dead": "train",
    "layers": [1, 2],
    "positions": ["c.last", "last"],
    "train_pairs": 300,
    "val_pairs": 40,
    "test_pairs": 40,
}


class Said(list):
    """A reporter that remembers what was said."""

    say = list.append
    task = staticmethod(silent.task)


@pytest.fixture(scope="module")
def planted():
    return plant(2)


def experiment(planted, **changes):
    return Experiment(planted.task, planted.lm, **(GRID | changes))


@pytest.fixture(scope="module")
def whole(planted, tmp_path_factory):
    """The grid without a budget."""
    return experiment(planted).run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def part(planted, tmp_path_factory):
    """The grid with a budget for two sites of six, and what was said."""
    said = Said()
    return experiment(planted, budget=0.35).run(tmp_path_factory.mktemp("part") / "run", said), said


@pytest.fixture(scope="module")
def arithmetic():
    """A real network that can be resumed, with its material and grid."""
    e = Experiment("arithmetic", "arithmetic-tiny", **SMALL)
    return e.material(), e.grid()


def sites(table):
    return list(zip(table["layer"], table["position"], strict=True))


# --- what is found ---


def test_the_planted_site_ranks_first_and_what_is_not_read_moves_nothing(part):
    table = part[0].screened().sort_values("rank")
    assert sites(table)[:2] == [(0, "last"), (1, "last")]
    assert (table["score"].iloc[2:] == 0).all()
    assert (table["move"].iloc[:2] > 1).all()


def test_both_engines_screen_alike(arithmetic):
    m, cells = arithmetic
    tables = [screen(e, m.data["train"], cells, pairs=40, rows=30) for e in (HookEngine(m.lm), ResumeEngine(m.lm))]
    pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)


def test_whole_is_the_iia_of_a_whole_vector_swap(arithmetic):
    m, cells = arithmetic
    data = m.data["train"]
    table = screen(m.engine, data, cells, pairs=len(data.pairs["sum"]))
    full = Experiment("arithmetic", "arithmetic-tiny", **SMALL, subspace="full").grid()
    records = evaluate([untrained(cell, 1, 1) for cell in full], m.engine, {"val": data})
    expected = {
        (r.alignment.cell.hypothesis, r.alignment.cell.site.spot, r.alignment.cell.site.position): r.metrics["val"]
        for r in records
    }
    for row in table.itertuples():
        metrics = expected[row.hypothesis, (row.component, row.layer), row.position]
        assert (row.whole, row.flips) == pytest.approx((metrics["whole"], metrics["flip_whole"]))


def test_attribution_is_the_slope_of_the_swap(arithmetic):
    m, cells = arithmetic
    here = [cell.site for cell in cells if cell.hypothesis == "sum"]
    batch = Batch.capture(m.data["train"], captures_for(m.engine, m.data["train"], here), {"sum": np.arange(20)})
    clean, slopes = gradients(m.engine, batch, "sum", here)
    for site, gradient in zip(here, slopes, strict=True):
        swap = batch.swap("sum", site)
        difference = swap.source[0] - swap.base
        with torch.no_grad():
            replies = [batch.reply(m.engine, site, {"sum": swap}, [h * difference[None]]) for h in (0.01, -0.01)]
        up, down = (standing(reply)[0] for reply in replies)
        torch.testing.assert_close((gradient * difference).sum(1), (up - down) / 0.02, rtol=0.02, atol=0.01)
        torch.testing.assert_close((up + down) / 2, clean[0], rtol=0.01, atol=0.01)


def test_nothing_but_training_pairs_is_looked_at(planted, part, tmp_path):
    e = experiment(planted, budget=0.35)
    m = e.material()
    (tmp_path / "run").mkdir()
    course = Course(e, Run(tmp_path / "run"), Here(), silent)
    course.work.material = replace(m, pairs={}, data={"train": m.data["train"]})
    cells = course.within_budget()
    assert [cell.site.position for cell in cells] == ["last", "last"]
    pd.testing.assert_frame_equal(Run(tmp_path / "run").screened(), part[0].screened())


def test_a_hypothesis_whose_pairs_never_flip_has_no_promise(planted):
    e = experiment(planted, families={"keep": 1.0}, train_pairs=40)
    m = e.material()
    table = screen(m.engine, m.data["train"], e.grid())
    assert (table["score"] == 0).all()


def test_workers_share_the_hypotheses_and_find_the_same(tmp_path):
    tables = []
    for workers in (1, 2):
        run = Run(tmp_path / f"run{workers}")
        e = Experiment("arithmetic", "arithmetic-tiny", **SMALL, budget=0.3, workers=workers, threads=1)
        run.prepare(e.settings)
        with launched(PROCESSES, e.settings) as some:
            cells = Course(e, run, some, silent).within_budget()
        assert 0 < len(cells) < len(e.grid())
        assert [path.name for path in run.folder.glob("screen*")] == ["screen.parquet"]
        tables.append(run.screened())
    pd.testing.assert_frame_equal(*tables)


def test_a_killed_screen_goes_on_with_the_hypotheses_that_are_left(tmp_path, monkeypatch):
    e = Experiment("arithmetic", "arithmetic-tiny", **SMALL, budget=0.3)
    run, asked = Run(tmp_path / "run"), []
    run.prepare(e.settings)
    names = e.hypotheses

    def screened(engine, data, cells, **options):
        asked.append(cells[0].hypothesis)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return screen(engine, data, cells, pairs=20, rows=20)

    monkeypatch.setattr("das.run.work.screen", screened)
    with pytest.raises(KeyboardInterrupt):
        Course(e, run, Here(), silent).within_budget()
    assert run.screened() is None
    Course(e, run, Here(), silent).within_budget()
    assert asked == [*names[:2], *names[1:]]
    assert set(run.screened()["hypothesis"]) == set(names)


# --- what is trained ---


def test_a_budget_trains_the_planted_site_and_skips_others_with_reasons(part):
    run, said = part
    table = run.screened()
    trained = table[table["trained"]]
    assert sites(trained) == [(0, "last"), (1, "last")] == sites(run.table().drop_duplicates(["layer", "position"]))
    assert table["reason"].str.startswith("swap moves the answer by ").all()
    assert table[~table["trained"]]["reason"].str.endswith(" of 6, budget ends at 2").all()
    (line,) = [text for text in said if "budget trains" in text]
    assert line.startswith("code.code: budget trains 2 of 6 sites, skips 4; the best skipped, block_output[0] @ x: swap moves")
    entry = run.summary["hypotheses"]["code"]
    assert entry["grid"] == {"trained": 2, "skipped": 4, "dead": 0}
    assert (entry["layer"], entry["position"]) == (0, "last")


def test_without_a_budget_nothing_is_screened(whole):
    assert whole.screened() is None
    assert whole.summary["hypotheses"]["code"]["grid"] == {"trained": 6, "skipped": 0, "dead": 0}


def test_the_whole_budget_trains_everything_to_the_same_table(planted, whole, tmp_path):
    run = experiment(planted, budget=1.0).run(tmp_path / "run")
    assert run.screened()["trained"].all()
    pd.testing.assert_frame_equal(run.table(), whole.table())


def test_a_cell_comes_out_the_same_whatever_was_skipped(part, whole):
    mine, all_of_them = (run.table().set_index("cell") for run in (part[0], whole))
    assert set(mine.index) < set(all_of_them.index)
    columns = ["val_iia", "test_iia", "test_flip_iia", "rank"]
    np.testing.assert_allclose(mine[columns], all_of_them.loc[mine.index, columns], atol=1e-6)


def test_a_run_that_is_killed_after_its_screen_ends_with_the_same_table(planted, part, tmp_path, monkeypatch):
    e, out = experiment(planted, budget=0.35), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("das.run.work.align", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            e.run(out)
    monkeypatch.setattr("das.run.work.screen", lambda *_, **__: pytest.fail("screened again"))
    pd.testing.assert_frame_equal(e.run(out).table(), part[0].table())
    pd.testing.assert_frame_equal(Run(out).screened(), part[0].screened())


def test_a_screen_that_is_there_counts_whatever_a_new_one_would_say(planted, part, tmp_path):
    e, run = experiment(planted, budget=0.35), Run(tmp_path / "run")
    run.prepare(e.settings)
    table = part[0].screened()
    other = spend(table.assign(score=table["position"].eq("y").astype(float)), 0.35)
    write(run.folder / "screen.parquet", other.to_parquet)
    e.run(run.folder)
    assert sites(run.table().drop_duplicates(["layer", "position"])) == [(0, "y"), (1, "y")]
    pd.testing.assert_frame_equal(run.screened(), other)


def rows(*scores, hypothesis="a", cost=1):
    return [
        {"hypothesis": hypothesis, "layer": i, "position": "last", "component": "block_output", "move": s, "attribution": s, "score": s, "cost": cost}
        for i, s in enumerate(scores)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (0.01, {"a": [1], "b": [0]}),
        (0.6, {"a": [1, 2], "b": [0]}),
        (0.75, {"a": [0, 1, 2], "b": [0]}),
        (1.0, {"a": [0, 1, 2], "b": [0, 1]}),
    ],
)
def test_hypotheses_take_turns_until_the_budget_is_spent(budget, expected):
    table = spend(pd.DataFrame([*rows(1, 3, 2), *rows(5, 4, hypothesis="b", cost=2)]), budget)
    assert {h: mine[mine["trained"]]["layer"].tolist() for h, mine in table.groupby("hypothesis")} == expected


def test_a_cell_costs_what_the_engine_runs_again(arithmetic):
    m, cells = arithmetic
    data, depth = m.data["train"], m.lm.layers
    last = [cell.site for cell in cells if cell.site.position == "last"]
    assert [cost(m.engine, data, site) for site in last[::2]] == [depth - 2, depth - 3]
    assert cost(m.engine, data, replace(last[0], layer=depth - 1)) == 1
    assert cost(m.engine, data, replace(last[0], layer=depth - 1, component="heads")) == 1
    assert cost(m.engine, data, replace(last[0], position="c.last")) > cost(m.engine, data, last[0])
    assert cost(HookEngine(m.lm), data, last[0]) == depth * data.prompts.ids.shape[1]


# --- settings, plan, pictures ---


@pytest.mark.parametrize("budget", [0, -0.5, 1.01, float("nan")])
def test_a_budget_that_is_no_share_is_one_clear_error(planted, budget):
    with pytest.raises(DasError, match=r"budget is .*: expected (more than 0|at most 1|a finite number)"):
        experiment(planted, budget=budget)


def test_the_command_line_has_the_budget(capsys):
    assert main(["plan", "arithmetic", "--lm", "arithmetic-tiny", "--budget", "2"]) == 2
    assert "budget is 2" in capsys.readouterr().err
    assert main(["plan", "arithmetic", "--lm", "arithmetic-tiny", "--budget", "0.25"]) == 0
    assert "about 10 of them in the budget" in capsys.readouterr().out


def test_a_plan_with_a_budget_costs_less():
    small, everything = (plan(Experiment("arithmetic", "arithmetic-tiny", budget=budget)) for budget in (0.25, None))
    assert small.flops["grid"] < 0.5 * everything.flops["grid"]
    assert small.flops["screen"] < 0.1 * everything.flops["grid"]
    assert "screen" not in everything.flops


def test_skipped_cells_are_grey_in_a_heatmap_with_what_the_screen_found(part):
    rows, positions, values = grid(part[0], "code")
    assert [layer for layer, _ in rows] == [0, 1]
    assert positions == ["x", "y", "last"]
    np.testing.assert_array_equal(np.isnan(values), [[True, True, False]] * 2)
    axes = part[0].heatmap("code.code")
    assert "grey: not trained" in axes.get_title()
    whole = part[0].screened().query("not trained")["whole"]
    assert [text.get_text() for text in axes.texts[4:]] == [short(share) for share in whole]
    assert len(axes.texts) == 4 + 4  # numbers and intervals of the two that were trained
