"""A run that is watched: it shows what there is as soon as it is there, and comes out as it would unwatched."""

import numpy as np
import pytest
from test_run import FEW, assert_same_tables, experiment

from das.draw.early import early_heatmaps
from das.draw.gallery import maps, pictures
from das.interchange.feature import Whole
from das.interchange.score import score
from das.run.early import Watch
from das.run.stages import DONE, OPEN

DRAWS = True
"""The files that runs draw are looked at."""

SHORT = FEW | {
    "layers": [1], "positions": ["c.last", "last"], "steps": 8, "check_every": 4, "train_pairs": 100, "val_pairs": 40, "test_pairs": 40,
    "subspace": {"kind": "nested", "k": 4}, "beside": [], "chosen_seeds": 2, "closed_forms": [],
}  # fmt: skip


class Seen:
    """What a watched run showed, in turn."""

    def __init__(self):
        self.early, self.stages, self.maps, self.iia = [], [], [], []

    def look(self, folder, early):
        assert not (folder / "summary.json").exists()
        self.early.append(early)

    def after(self, run, stage):
        self.stages.append((stage, run.summary["hypotheses"]["sum"]["verdict"]["verdict"]))
        self.iia.append(run.table().set_index("cell")["test_iia"])
        self.maps.append(set(maps(run)))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("das.run.early.EVERY", 0.0)
        run = experiment(**SHORT).run(tmp_path_factory.mktemp("watched") / "run", after=[seen.after], look=seen.look)
    return run, seen


@pytest.mark.slow
def test_watching_changes_nothing(watched, tmp_path):
    assert_same_tables(watched[0], experiment(**SHORT).run(tmp_path / "unwatched"))
    assert not (watched[0].folder / "checkpoints").exists()


def test_stages_are_told_in_turn_and_the_verdict_comes_last(watched):
    stages = watched[1].stages
    assert [stage for stage, _ in stages] == ["grid", "chosen cells", "nulls", DONE]
    assert [verdict for _, verdict in stages[:-1]] == 3 * [OPEN]
    assert stages[-1][1] == watched[0].summary["hypotheses"]["sum"]["verdict"]["verdict"] != OPEN


def test_tables_grow_and_never_change(watched):
    for before, after in zip(watched[1].iia, watched[1].iia[1:], strict=False):
        assert set(before.index) <= set(after.index)
        assert after[before.index].equals(before)
    assert watched[1].maps == 4 * [{"heatmap_sum.png", "heatmaps.png"}]


def test_the_first_look_is_at_whole_swaps_and_the_others_at_checks(watched):
    first, *others = watched[1].early
    assert first.table["iia"].isna().all()
    made = experiment(**SHORT)
    val, engine = made.material().data["val"], made.material().engine
    sites = {cell.site for cell in made.grid()}
    whole = {s: hits.mean() for s, hits in score(engine, val, {s: ("sum", s, [Whole()]) for s in sites}).items()}
    for row in first.table.itertuples():
        site = next(s for s in sites if (s.layer, s.position) == (row.layer, row.position))
        assert row.whole == pytest.approx(whole[site])  # 40 pairs: all are looked at
    assert [early.steps for early in others] == sorted(early.steps for early in others)
    assert others[-1].steps == 8
    assert others[-1].table["iia"].between(0, 1).all()


def test_what_is_not_checked_yet_is_grey(watched):
    early = watched[1].early[-1]
    table = early.table.assign(iia=np.where(np.arange(len(early.table)) == 0, np.nan, early.table["iia"]))
    axes = early_heatmaps(type(early)(table, 10, early.names, early.tokens)).axes[0]
    assert "10 steps, grey: not yet (whole swap)" in axes.get_title().replace("\n", " ")
    assert np.isnan(axes.get_images()[0].get_array().filled(np.nan)).sum() == 1
    assert len(axes.texts) == len(table)


def test_pictures_are_drawn_between_stages_alone(watched, tmp_path):
    run = watched[0].so_far(watched[0].summary, watched[0].results())
    run.folder = tmp_path
    pictures(run, DONE)
    assert not list(tmp_path.iterdir())
    pictures(run, "grid")
    assert {path.name for path in tmp_path.glob("*.png")} == watched[1].maps[0]


def test_a_look_costs_nothing_where_nothing_is_new(tmp_path):
    now, seen = [0.0], []
    watch = Watch(tmp_path, lambda: seen.append(now[0]), lambda: now[0])
    (tmp_path / "checkpoints" / "one").mkdir(parents=True)
    for now[0] in range(0, 100, 5):
        if now[0] == 30:
            (tmp_path / "checkpoints" / "one" / "looks.json").touch()
        watch.look()
    assert seen == [30]
