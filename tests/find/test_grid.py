"""Training a grid: what shares a batch, a shard or a machine does not change a cell's result, and a killed run goes on."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch

import das.run.work
from das import Experiment
from das.find.alignment import Cell
from das.find.diffmeans import DiffMeans
from das.find.grid import GridTrainer
from das.find.kinds import Fixed, Full, Nested
from das.find.schedule import Schedule
from das.find.screen import screen
from das.find.search import Search, align
from das.find.train import train
from das.find.untrained import untrained
from das.interchange.batch import Batch
from das.interchange.captures import Captures
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.feature import Whole
from das.interchange.measures import LOSSES
from das.interchange.score import captures_for, score
from das.network.site import Site
from das.planted.planting import plant

PAIRS = {"train_pairs": 64, "val_pairs": 32, "test_pairs": 32}
STOPS = {
    **PAIRS,
    "steps": 60,
    "batch": 16,
    "check_every": 5,
    "patience": 1,
    "logger": "none",
    "chosen_seeds": 1,
    "closed_forms": [],
}
WHOLE = Whole(2)


@pytest.fixture(scope="module")
def price():
    sizes = {"train_pairs": 64, "val_pairs": 200, "test_pairs": 16}
    e = Experiment(
        "price_tagging", "price-tagger-tiny", **sizes, layers=[3, 5], positions=["last"], hypotheses=["left_and_right"]
    )
    return e, e.material()


# --- the whole vector, with two variables each of which has a source of its own ---


@pytest.mark.parametrize("layer", [3, 5])
def test_where_the_first_variable_stays_the_second_source_is_taken(price, layer):
    _, m = price
    data, site = m.data["val"], Site(layer, "last")
    pairs = data.pairs["left_and_right"]
    second = torch.from_numpy(pairs.sources[0] == pairs.base)
    batch = Batch.capture(data, captures_for(m.engine, data, [site]), {"left_and_right": np.arange(len(second))})
    s = batch.swap("left_and_right", site)
    torch.testing.assert_close(WHOLE.swap(s.base, s.source)[second], (s.source[1] - s.base)[second])


def test_the_whole_baseline_is_that_of_full_forwards(price):
    _, m = price
    want = {0: ("left_and_right", Site(3, "last"), [WHOLE])}
    resumed, full = (score(engine, m.data["val"], want)[0][0].mean() for engine in (m.engine, HookEngine(m.lm)))
    assert resumed == pytest.approx(full, abs=0.01)


def test_a_score_does_not_depend_on_the_sites_of_the_shard(price):
    _, m = price
    data, want = m.data["val"], {0: ("left_and_right", Site(3, "last"), [WHOLE])}
    alone, beside = ([Site(3, "last")], [Site(3, "last"), Site(5, "last")])
    hits = [score(m.engine, data, want, captures=captures_for(m.engine, data, sites))[0] for sites in (alone, beside)]
    assert (hits[0] == hits[1]).all()


def test_the_whole_vector_counts_as_no_learned_columns():
    assert untrained(Cell("h", Site(0, "last"), Full()), 8, 1).rank == 0


# --- killed runs ---


def trained(folder, monkeypatch, stop=None, kind="nested"):
    """Four cells' alignments and the steps that were taken; stop: killed there once, and run again."""
    network = plant(2)
    e = Experiment(network.task, network.lm, **PAIRS, subspace=kind)
    m, steps, step = e.material(), [], GridTrainer.training_step

    def killed(self, *args):
        if self.global_step == stop and stop not in steps:
            steps.append(stop)
            raise KeyError("killed")
        steps.append(self.global_step)
        return step(self, *args)

    monkeypatch.setattr(GridTrainer, "training_step", killed)
    schedule = Schedule(steps=14, batch=8, check_every=3, patience=2)
    everything = e.grid()[:4], Search(m.engine, m.data, schedule, folder, "x")
    if stop is not None:
        with pytest.raises(KeyError):
            train(*everything)
        assert list(folder.rglob("*.ckpt")), "a checkpoint was left"
    done = train(*everything)
    monkeypatch.undo()
    return done, steps


@pytest.mark.parametrize(
    ("stop", "kind"), [(5, "nested"), (7, "nested"), (9, "nested"), (7, "neurons"), (7, "neurons:over=pca")]
)
def test_a_training_killed_in_its_middle_goes_on_from_the_last_check_to_the_same_end(tmp_path, monkeypatch, stop, kind):
    whole, _ = trained(tmp_path / "whole", monkeypatch, kind=kind)
    again, steps = trained(tmp_path / "again", monkeypatch, stop, kind)
    assert steps[steps.index(stop) + 1] == stop // 3 * 3
    assert [(a.steps, a.about) for a in whole] == [(a.steps, a.about) for a in again]
    for one, other in zip(whole, again, strict=True):
        assert all(torch.equal(kept, other.feature.tensors()[name]) for name, kept in one.feature.tensors().items())


def test_a_cell_whose_gradient_is_no_number_stops_with_a_word_and_the_others_go_on(tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole", monkeypatch)
    stop = GridTrainer._stop_broken

    def poisoned(self):
        if self.global_step == 4:
            next(self.stacks[0].parameters()).grad[1] = torch.nan
        stop(self)

    monkeypatch.setattr(GridTrainer, "_stop_broken", poisoned)
    found, _ = trained(tmp_path / "poisoned", monkeypatch)
    assert [a.about.get("broken") for a in found] == [None, 1.0]
    assert found[1].steps == 4
    assert all(tensor.isfinite().all() for tensor in found[1].feature.tensors().values())
    assert found[0].steps == whole[0].steps
    for name, kept in whole[0].feature.tensors().items():
        assert torch.equal(kept, found[0].feature.tensors()[name])


def test_a_run_killed_while_it_judges_cells_that_stopped_early_goes_on(tmp_path, monkeypatch):
    network = plant(2)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(das.run.work, "evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            Experiment(network.task, network.lm, **STOPS).run(tmp_path / "r")
    Experiment(network.task, network.lm, **STOPS).run(tmp_path / "r")


# --- memory ---


def test_the_trainers_captures_are_gone_after_training(tmp_path, monkeypatch):
    network, made, alive = plant(2), [], []
    init, evaluate = Captures.__init__, das.run.work.evaluate

    def noted(self, *args, **kwargs):
        init(self, *args, **kwargs)
        made.append(weakref.ref(self))

    def counted(*args, **kwargs):
        alive.append(sum(one() is not None for one in made))
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(Captures, "__init__", noted)
    monkeypatch.setattr(das.run.work, "evaluate", counted)
    gc.collect()
    Experiment(network.task, network.lm, **STOPS, memory=1).run(tmp_path / "r")
    assert alive[0] == 0


def test_what_is_kept_is_no_view_of_something_larger(price):
    _, m = price
    capture = captures_for(m.engine, m.data["val"], [Site(3, "last")], 1e9).bases(np.array([0]))
    for tensor in capture.inputs.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_the_screen_takes_gradients_of_no_more_rows_than_the_engine_takes(price, monkeypatch):
    e, m = price
    expected = screen(m.engine, m.data["train"], e.grid(), rows=64)
    monkeypatch.setattr("das.interchange.engine.WORKING", 500_000)
    most, seen, gradients = m.engine.rows_at_once(("block_output", 3), 1), [], ResumeEngine.gradients

    def noted(self, capture, spots, objective, rows):
        seen.append(rows.stop - rows.start)
        return gradients(self, capture, spots, objective, rows)

    monkeypatch.setattr(ResumeEngine, "gradients", noted)
    pd.testing.assert_frame_equal(screen(m.engine, m.data["train"], e.grid(), rows=64), expected, rtol=1e-4, atol=1e-5)
    assert 0 < max(seen) <= most < 64


def test_scoring_runs_as_many_rows_as_one_layer_has_room_for_and_gives_the_same(price, monkeypatch):
    _, m = price
    want = {0: ("left_and_right", Site(3, "last"), [WHOLE] * 20)}
    expected = score(m.engine, m.data["val"], want)[0]
    monkeypatch.setattr("das.interchange.engine.WORKING", 500_000)
    most, seen, patched = m.engine.rows_at_once(("block_output", 3), 1, gradients=False), [], ResumeEngine.patched

    def noted(self, capture, patches, *rows):
        seen.append(patches[0].values.shape[0] * patches[0].values.shape[1])
        return patched(self, capture, patches, *rows)

    monkeypatch.setattr(ResumeEngine, "patched", noted)
    assert (score(m.engine, m.data["val"], want, rows=4)[0] == expected).all()
    assert max(seen) == most // 4 * 4
    assert most > m.engine.rows_at_once(("block_output", 3), 1)


def test_a_network_is_tried_once_per_component_and_layer_not_per_position(monkeypatch):
    from das.network.lm import LM

    e = Experiment(
        "price_tagging", "price-tagger-tiny", **PAIRS, layers=[3], positions=["last", "last-1"], components=["mlp_output"],
        hypotheses=["left_and_right"], subspace=Nested(k=2),
    )  # fmt: skip
    m, runs, logits = e.material(), [], LM.logits
    monkeypatch.setattr(LM, "logits", lambda self, *args: runs.append(1) or logits(self, *args))
    GridTrainer(e.grid(), m.engine, m.data["train"], m.data["val"], {"left_and_right": 2}, e.schedule)
    assert len(runs) <= 1


def test_a_search_without_a_folder_leaves_nothing_and_goes_on_from_nothing(price, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (cell,), m = [Cell("left_and_right", Site(5, "last"), Fixed(1))], price[1]
    once, other = (train([cell], Search(m.engine, m.data, Schedule(2, 8, 2, seed=seed)))[0].feature for seed in (0, 1))
    assert not torch.equal(once.basis, other.basis)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_loss_with_a_bound_is_not_ruled_by_pairs_that_no_swap_gets_right():
    """There cross-entropy learns to move little; the difference in means flips more. Figures: docs/answers-and-measures.md."""
    at, name = {"layers": [5], "positions": ["last"], "hypotheses": ["left_boundary"]}, "left_boundary"
    e = Experiment("price_tagging", "price-tagger-tiny", **at, test_pairs=2000)
    m, (site,) = e.material(), e.sites
    test = m.data["test"]
    losses = {name: Schedule(125, 64, 25, loss=LOSSES[name]) for name in ("cross_entropy", "probability")}
    (means,) = align([Cell(name, site, DiffMeans())], Search(m.engine, m.data))
    trained = {
        loss: train([Cell(name, site, Fixed(1))], Search(m.engine, m.data, schedule))[0] for loss, schedule in losses.items()
    }
    wanted = {key: (name, site, [a.feature]) for key, a in {"means": means, **trained}.items()}
    hits = {key: found[0] for key, found in score(m.engine, test, wanted).items()}
    iia, flips = ({key: found[some].mean() for key, found in hits.items()} for some in (slice(None), test.pairs[name].flips))
    assert flips["cross_entropy"] < flips["means"] - 0.05
    assert flips["probability"] > flips["means"] - 0.02
    assert iia["probability"] > max(iia["means"], iia["cross_entropy"]) - 0.01
