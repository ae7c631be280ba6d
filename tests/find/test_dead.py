"""Dead sites are not trained and have the no-op's IIA; what could hold anything is alive, and comes out as it would have."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from das import CausalModel, DasError, Experiment, Hypothesis, Net, Range, Run, Task, Tensors
from das.cli import main
from das.draw.heatmaps import grid
from das.find.dead import SHARE, bounds, mark
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.feature import Whole
from das.interchange.score import score
from das.interchange.subspace import Subspace
from das.planted.planting import plant
from das.text import short

GRID = {
    "positions": ["x", "y", "last"], "subspace": "nested:k=4", "steps": 20, "batch": 32, "check_every": 10, "chosen_seeds": 1, "closed_forms": ["diffmeans"],
    "nulls": 2, "train_pairs": 300, "val_pairs": 60, "test_pairs": 60, "logger": "none",
}  # fmt: skip
TINY = {
    "steps": 10,
    "batch": 16,
    "check_every": 5,
    "chosen_seeds": 1,
    "closed_forms": [],
    "train_pairs": 120,
    "val_pairs": 40,
    "test_pairs": 40,
}
SCORES = [
    "val_iia",
    "val_whole",
    "val_random",
    "val_noop",
    "test_iia",
    "test_whole",
    "test_random",
    "test_noop",
    "test_normalised",
]
PLACES = {"undone": 0, "read": 1, "unread": 2, "constant": 3, "flat": 4}


# --- planted truth ---


def held(a):
    return a + 0


def answer(held, c):
    return np.where(held + c >= 0, 1, 0)


def render(a, c):
    each = [(a, -a), (c, 0 * c), (a, c), (0 * a + 3, 0 * c + 2), (a, a)]
    return np.stack([np.stack(pair, 1) for pair in each], 1).astype(np.float32)


class Head(nn.Module):
    """Adds up what undo each other, what is read and what is the same in all prompts, and the excess of a difference that no
    prompt has: a slope of 0 wherever a whole vector is put."""

    def forward(self, given):
        excess = ((given[:, 4, 0] - given[:, 4, 1]).abs() - 1.5).relu()
        total = given[:, 0].sum(1) + given[:, 1, 0] + given[:, 3].sum(1) - 5 + 4 * excess
        return torch.stack([-total, total], 1)


@cache
def vectors():
    """Material and sites of a network whose places are what their names say."""
    first = nn.Linear(2, 2, bias=False)
    first.weight.data = torch.eye(2)
    model = CausalModel(held, answer, inputs={"a": Range(-3, 3), "c": Range(-3.5, 3.5)})
    task = Task(Tensors(render, places=5, positions=PLACES), {"held": Hypothesis(model, "held")}, positions=list(PLACES))
    e = Experiment(task, Net(nn.Sequential(first, Head()), blocks=["0"]), train_pairs=80, val_pairs=20, test_pairs=20)
    return e.material(), {site.position: site for site in e.sites}


def test_what_is_not_read_or_always_the_same_is_dead_and_what_undoes_itself_is_not():
    m, sites = vectors()
    table = mark(bounds(m.engine, m.data["train"], ["held"], list(sites.values())))
    assert table["position"][table["dead"]].tolist() == ["unread", "constant"]
    assert (table["reach"][table["dead"]] == 0).all()
    assert table["reason"][table["dead"]].eq("dead: a swap moves no answer's lead by more than 0.0%").all()


@pytest.mark.parametrize("position", ["undone", "flat"])
def test_a_site_is_alive_where_the_whole_swap_changes_nothing_and_a_part_does(position):
    m, sites = vectors()
    data, site = m.data["train"], sites[position]
    part, nothing = (Subspace(torch.eye(2)[:, None, :1], torch.ones(1, 1) * swapped) for swapped in (1, 0))
    own, whole, noop = score(m.engine, data, {0: ("held", site, [part, Whole(), nothing])})[0]
    np.testing.assert_array_equal(whole, noop)
    assert (own != noop).any()
    assert bounds(m.engine, data, ["held"], [site])["reach"].item() > SHARE


def test_both_engines_find_the_same_sites_dead():
    e = Experiment("arithmetic", "arithmetic-tiny", layers=[1, 2, 3], positions=["c.last", "last"], **TINY)
    m = e.material()
    data = m.data["train"]
    hook, resume = (
        bounds(engine, data, list(data.pairs), e.sites, pairs=32) for engine in (HookEngine(m.lm), ResumeEngine(m.lm))
    )
    pd.testing.assert_frame_equal(hook, resume, rtol=1e-2, atol=1e-4)
    assert (resume[(resume["layer"] == e.layers[-1]) & (resume["position"] == "c.last")]["reach"] == 0).all()


# --- a run ---


@pytest.fixture(scope="module")
def planted():
    return plant(2)


def experiment(planted, **changes):
    return Experiment(planted.task, planted.lm, **(GRID | changes))


@pytest.fixture(scope="module")
def skipped(planted, tmp_path_factory):
    return experiment(planted).run(tmp_path_factory.mktemp("skipped") / "run")


@pytest.fixture(scope="module")
def trained(planted, tmp_path_factory):
    return experiment(planted, dead="train").run(tmp_path_factory.mktemp("trained") / "run")


def test_living_cells_come_out_the_same_to_the_last_digit_and_so_does_the_verdict(skipped, trained):
    mine = skipped.found()
    assert set(mine["position"]) == {"last"}
    pd.testing.assert_frame_equal(mine, trained.table()[trained.table()["cell"].isin(mine["cell"])].reset_index(drop=True))
    entries = [run.summary["hypotheses"]["code"] for run in (skipped, trained)]
    assert [entry.pop("grid") for entry in entries] == [
        {"trained": 2, "skipped": 0, "dead": 4}, {"trained": 6, "skipped": 0, "dead": 0},
    ]  # fmt: skip
    assert entries[0] == entries[1]


def test_a_dead_cell_is_said_to_score_what_it_scores_when_it_is_trained(skipped, trained):
    table = skipped.table()
    off = table[table["dead"]].set_index("cell")
    assert sorted(set(off["position"])) == ["x", "y"]
    pd.testing.assert_frame_equal(off[SCORES], trained.table().set_index("cell").loc[off.index, SCORES])
    assert off["rank"].isna().all()
    assert not trained.table()["dead"].any()
    assert trained.screened() is None


def test_a_heatmap_shows_dead_cells_dotted_with_the_no_ops_iia(skipped):
    axes = skipped.heatmap("code.code")
    assert "dotted: dead, no swap can change an answer" in " ".join(axes.get_xlabel().split())
    assert "grey" not in axes.get_title()
    noop = short(skipped.summary["hypotheses"]["code"]["baselines"]["noop"])
    assert sum(patch.get_hatch() == ".." for patch in axes.patches) == 4
    assert [text.get_text() for text in axes.texts if text.get_color() == "#777777"] == [noop] * 4
    assert np.isfinite(grid(skipped, "code")[2]).all()


def test_a_finished_run_stays_as_it_is_whatever_becomes_of_dead_sites_now(planted, trained, skipped, tmp_path):
    before = trained.table()
    pd.testing.assert_frame_equal(experiment(planted).run(trained.folder).table(), before)
    assert Run(trained.folder).screened() is None


def test_what_was_dead_may_be_trained_later(planted, trained, tmp_path):
    small = {"nulls": 0, "closed_forms": []}
    run = experiment(planted, **small).run(tmp_path / "run")
    assert run.table()["dead"].any()
    run = experiment(planted, **small, dead="train").run(tmp_path / "run")
    assert not run.table()["dead"].any()
    assert set(run.table()["position"]) == {"x", "y", "last"}


def test_a_budget_is_spent_among_the_living(planted, tmp_path):
    run = experiment(planted, budget=0.35, nulls=0, closed_forms=[]).run(tmp_path / "run")
    table = run.screened()
    assert table[table["trained"]]["position"].tolist() == ["last", "last"]
    assert table[table["dead"]]["reason"].str.startswith("dead: ").all()
    assert run.summary["hypotheses"]["code"]["grid"] == {"trained": 2, "skipped": 0, "dead": 4}


def test_cells_are_the_same_in_a_network_that_is_resumed(tmp_path):
    wanted = {"layers": [3], "positions": ["c.last", "last"], **TINY}
    one, other = (
        Experiment("arithmetic", "arithmetic-tiny", **wanted, dead=dead).run(tmp_path / dead) for dead in ("skip", "train")
    )
    mine = one.found()
    assert 0 < len(mine) < len(other.table())
    pd.testing.assert_frame_equal(mine, other.table()[other.table()["cell"].isin(mine["cell"])].reset_index(drop=True))


def test_kinds_that_train_nothing_have_no_dead_sites(planted, tmp_path):
    run = experiment(planted, subspace="full", nulls=0, closed_forms=[]).run(tmp_path / "run")
    assert run.screened() is None
    assert not run.table()["dead"].any()


def test_another_word_for_what_becomes_of_them_is_one_clear_error(planted, capsys):
    with pytest.raises(DasError, match="dead 'never'"):
        experiment(planted, dead="never")
    assert main(["plan", "arithmetic", "--lm", "arithmetic-tiny", "--dead", "trian"]) == 2
    assert "train" in capsys.readouterr().err


# --- the rule ---


def rows(*far, hypothesis="a"):
    return [
        {"hypothesis": hypothesis, "layer": i, "position": "last", "component": "block_output", "reach": r}
        for i, r in enumerate(far)
    ]


def test_a_site_is_dead_where_it_is_for_every_hypothesis():
    table = mark(pd.DataFrame([*rows(0, 0.01, 0.01), *rows(0.01, SHARE, 5, hypothesis="b")]))
    assert table["dead"].tolist() == [True, True, False] * 2
    assert (table["trained"] != table["dead"]).all()


def test_one_site_is_always_alive():
    assert mark(pd.DataFrame(rows(0, 0.01, 0)))["dead"].tolist() == [True, False, True]
    assert mark(pd.DataFrame(rows(0, 0, 0)))["dead"].tolist() == [False, True, True]
