"""Closed forms stand beside every trained cell: in the tables, at the chosen cells, and in what the verdict says of training."""

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL

from das import DasError, Experiment, Run
from das.draw.heatmaps import grid
from das.draw.outcome import outcome
from das.judge.verdict import VERDICTS
from das.network.site import Site
from das.run.settings import Settings
from das.stats import Bootstrap

TINY = {name: value for name, value in SMALL.items() if name != "closed_forms"} | {
    "hypotheses": ["sum", "left_product"],
    "layers": [1],
    "positions": ["c.last", "last"],
    "subspace": "nested:k=8",
    "steps": 8,
}
BOTH = {"diffmeans8", "probe8"}


def experiment(**changes):
    return Experiment("arithmetic", "arithmetic-tiny", **(TINY | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed") / "run"
    bare = experiment(closed_forms=[]).run(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*/alignment.safetensors")}
    assert set(bare.table()["subspace"]) == {"nested8"}
    run = experiment().run(folder)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())  # only what was missing is found
    return run


def test_every_trained_cell_has_them_on_the_same_pairs_and_none_is_chosen(run):
    table = run.table()
    sites = {
        kind: set(map(tuple, mine[["hypothesis", "layer", "position"]].to_numpy())) for kind, mine in table.groupby("subspace")
    }
    assert set(sites) == BOTH | {"nested8"}
    assert sites["diffmeans8"] == sites["probe8"] == sites["nested8"]
    trained = table[table["subspace"] == "nested8"].groupby(["hypothesis", "layer", "position"])["val_iia"].mean()
    for name, entry in run.summary["hypotheses"].items():
        assert entry["subspace"] == "nested8"
        assert set(entry["beside"]) == BOTH
        assert (entry["layer"], entry["position"]) in {key[1:] for key in trained.index if key[0] == name}
        assert all(beside["scorecard"]["decoding"] for beside in entry["beside"].values())


def test_each_kind_beside_is_judged_by_the_same_rule(run):
    for entry in run.summary["hypotheses"].values():
        for found in entry["beside"].values():
            verdict, facts = found["verdict"], found["verdict"]["facts"]
            assert verdict["verdict"] in VERDICTS
            assert verdict["sentence"].startswith(f"{entry['hypothesis']}: {verdict['verdict']}. ")
            assert (facts["iia"], facts["low"]) == (found["test_iia"], found["test_ci"][0])
            assert facts["rival"] == entry["verdict"]["facts"]["rival"]
            assert facts["added"] is None
    assert run.summary["hypotheses"].keys() == {"sum", "left_product"}
    rows = [line.split() for line in outcome(run.summary).split("\n\n")[1].splitlines()[1:]]
    assert [row[1] for row in rows] == 2 * ["nested8", *sorted(BOTH)]


def test_the_verdict_says_what_training_adds_to_the_better_one(run):
    for entry in run.summary["hypotheses"].values():
        added = entry["verdict"]["facts"]["added"]
        better = added["to"]
        assert entry["beside"][better]["val_iia"] == max(entry["beside"][kind]["val_iia"] for kind in BOTH)
        assert added["iia"]["mean"] == pytest.approx(entry["test_iia"] - entry["beside"][better]["test_iia"])
        flips = entry["test_flip_iia"] - entry["beside"][better]["test_flip_iia"]
        assert added["flips"]["mean"] == pytest.approx(flips)
        mean = f"{added['iia']['mean']:+.2f}".replace("-", "−")
        assert f"To {better} training adds {mean} (" in entry["verdict"]["sentence"]
        assert any(
            c["other"] == better and c["mean"] == pytest.approx(added["iia"]["mean"]) for c in run.summary["comparisons"]
        )


def test_the_interval_on_pairs_that_flip_is_that_of_these_pairs_alone(run):
    name, entry = next(iter(run.summary["hypotheses"].items()))
    kind, pairs = entry["verdict"]["facts"]["added"]["to"], pd.read_parquet(run.folder / "pairs.parquet")
    mine = pairs[(pairs["split"] == "test") & (pairs["hypothesis"] == name)]
    flips = (mine["answer"] != mine["base_answer"]).to_numpy()
    table = run.table()
    here = table[(table["hypothesis"] == name) & (table["layer"] == entry["layer"]) & (table["position"] == entry["position"])]
    one, other = (
        np.stack([run.hits(run.alignment(cell).cell)[flips] for cell in here[here["subspace"] == of]["cell"]])
        for of in (entry["subspace"], kind)
    )
    found = Bootstrap(run.test_prompts(name)[:, flips]).difference(one, other)
    assert entry["verdict"]["facts"]["added"]["flips"] == pytest.approx(vars(found))


def test_a_heatmap_shows_them(run):
    name = next(iter(run.summary["hypotheses"]))
    shown = grid(run, name, subspace="diffmeans8")[2]
    mine = run.table()[(run.table()["hypothesis"] == name) & (run.table()["subspace"] == "diffmeans8")]
    assert sorted(shown.flatten()) == sorted(mine["test_iia"])
    run.heatmap(name, subspace="diffmeans8")
    with pytest.raises(DasError, match=r"diffmean9.*diffmeans8"):
        run.heatmap(name, subspace="diffmean9")


def test_a_finished_run_loads_no_network_again(run, monkeypatch):
    monkeypatch.setattr("das.run.material.make_engine", lambda *_: pytest.fail("loaded"))
    assert Run.open(experiment().run(run.folder).folder).summary["cells"] == len(run.table())


def test_what_trains_is_no_closed_form():
    with pytest.raises(DasError, match=r"closed_forms has nested4, which is none: name it under beside"):
        Settings("arithmetic", "arithmetic-tiny", closed_forms=["nested:k=4"])


def asked(**changes):
    e = experiment(**changes)
    return {cell.kind.label for cell in e.closed((name, e.sites[0]) for name in e.hypotheses)}


def test_what_cannot_be_asked_is_left_out(monkeypatch):
    assert asked() == BOTH
    assert asked(subspace="random:k=2") == set()
    assert asked(subspace="probe", closed_forms=["probe", "lat"]) == set()
    e = experiment()
    assert e.closed([("sum", Site(1, "last"))])
    assert not e.closed([("sum", Site(1, "last<-c.last")), ("sum", Site("1<-0", "last"))])
    monkeypatch.setattr("das.run.layout.MANY", 20)  # of a sum's values are seventeen
    assert asked(closed_forms=["probe", "lat"]) == {"lat8"}
