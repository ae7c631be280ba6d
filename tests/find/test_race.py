"""A race stops the worse half of the sites twice; those that are left come out as without one, however the work is shared out."""

import pandas as pd
import pytest

from das import DasError, Experiment, Run
from das.find.race import losers, rungs
from das.find.schedule import Schedule
from das.network.site import Site
from das.run.work import Work

GRID = {
    "positions": ["b.last", "c.last", "last"], "layers": [1, 2], "subspace": "nested:k=4", "steps": 16, "batch": 16, "check_every": 4,
    "chosen_seeds": 1, "dead": "train", "closed_forms": [], "train_pairs": 120, "val_pairs": 40, "test_pairs": 40, "threads": 1, "logger": "none",
}  # fmt: skip


def experiment(**changes):
    return Experiment("arithmetic", "arithmetic-tiny", **(GRID | changes))


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    return experiment(race=True).run(tmp_path_factory.mktemp("raced") / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return experiment().run(tmp_path_factory.mktemp("whole") / "run")


def of(run, mine):
    """The run's rows of other rows' cells."""
    return run.table().set_index("cell").loc[mine["cell"]].reset_index()


def test_the_better_halves_are_left(raced):
    table = raced.table()
    for _, mine in table.groupby("hypothesis"):
        assert sorted(mine["raced"].fillna(99)) == [4, 4, 4, 8, 99, 99]
    assert raced.race()["steps"] == [4, 8]


def test_those_that_are_left_come_out_as_without_a_race_to_the_last_digit(raced, whole):
    left = raced.table()[raced.table()["raced"].isna()]
    pd.testing.assert_frame_equal(
        left.drop(columns="raced").reset_index(drop=True), of(whole, left)[left.columns.drop("raced")]
    )


def test_a_stopped_cell_has_what_it_had_and_is_never_chosen(raced):
    table = raced.table()
    out = table[table["raced"].notna()]
    assert all(raced.alignment(cell).steps == step for cell, step in zip(out["cell"], out["raced"], strict=True))
    for name, entry in raced.summary["hypotheses"].items():
        mine = table[
            (table["hypothesis"] == name) & (table["layer"] == entry["layer"]) & (table["position"] == entry["position"])
        ]
        assert mine["raced"].isna().all()
        assert entry["grid"] == {"trained": 6, "skipped": 0, "dead": 0}


@pytest.mark.slow
def test_a_race_ends_the_same_with_two_workers(raced, tmp_path):
    run = experiment(race=True, workers=2).run(tmp_path / "run")
    pd.testing.assert_frame_equal(run.table(), raced.table())
    assert run.race() == raced.race()


@pytest.mark.parametrize("rung", [0, 1])
def test_a_race_that_is_killed_goes_on(raced, tmp_path, monkeypatch, rung):
    asked, race = [], Work.race

    def killed(self, cells, until, among):
        race(self, cells, until, among)
        asked.append(until)
        if len(asked) == rung + 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Work, "race", killed)
        with pytest.raises(KeyboardInterrupt):
            experiment(race=True).run(tmp_path / "run")
    assert Run(tmp_path / "run").race()["steps"] == [4, 8][:rung]
    pd.testing.assert_frame_equal(experiment(race=True).run(tmp_path / "run").table(), raced.table())


def test_stopped_cells_are_marked_in_a_heatmap(raced):
    axes = raced.heatmap(next(iter(raced.summary["hypotheses"])))
    assert [text.get_text() for text in axes.texts].count("×") == 4
    assert "×: stopped by the race" in axes.get_xlabel()


def test_a_race_is_no_setting_that_may_change(raced):
    with pytest.raises(DasError, match="race"):
        experiment().run(raced.folder)


@pytest.mark.parametrize("changes", [{"check_every": 16}, {"subspace": "full"}])
def test_a_race_that_could_decide_nothing_is_one_clear_error(changes):
    with pytest.raises(DasError, match=r"^race"):
        experiment(race=True, **changes)


def test_a_race_and_a_shard_are_one_clear_error(tmp_path):
    with pytest.raises(DasError, match=r"^shard is given with race"):
        experiment(race=True).run(tmp_path / "run", shard="1/2")


def test_rungs_are_checks_before_the_end():
    assert rungs(Schedule(150, check_every=25)) == [50, 75]
    assert rungs(Schedule(200, check_every=25)) == [50, 100]
    assert rungs(Schedule(40, check_every=40)) == []
    assert rungs(Schedule(60, check_every=40)) == [40]


def test_of_equals_the_first_stays():
    sites = [Site(i, "last") for i in range(5)]
    scores = {("a", site): iia for site, iia in zip(sites, [0.5, 0.5, 0.9, 0.5, 0.5], strict=True)} | {("b", sites[0]): 0.1}
    assert losers(scores) == [("a", sites[3]), ("a", sites[4])]
