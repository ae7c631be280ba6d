"""Kept captures are those of a fresh run, whatever was asked for before and however little room there is."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from das import Boundless, Experiment, Nested
from das.interchange.batch import Batch, _runs
from das.interchange.captures import Captures
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.score import captures_for, hold, predictions, score
from das.interchange.subspace import Subspace, random_basis
from das.interchange.vectors import vectors
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled
from das.planted.planting import plant
from das.task.encoded import Encoded

SPOTS = [("block_output", 0), ("mlp_output", 1)]
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(0)
    return LM(LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2)), None)


def prompts(rows=20, width=9):
    rng = np.random.default_rng(0)
    return Encoded(rng.integers(3, 50, (rows, width)), np.full(rows, width), {"last": np.full((rows, 1), width - 1)})


@pytest.mark.parametrize("engine", [ResumeEngine, HookEngine])
@pytest.mark.parametrize("room", [0, 30_000, 1e9])
def test_what_is_gathered_is_what_a_fresh_run_gives(lm, engine, room):
    engine, every = engine(lm), prompts()
    captures = Captures(engine, every, SPOTS, 4, room)
    for rows in ([0, 1, 2], [2, 1, 7, 7], [5, 0, 19, 2], [19, 18, 17, 16], list(range(20))):
        rows = np.array(rows)
        fresh, kept = engine.capture(every.take(rows), SPOTS, True, 4), captures.bases(rows)
        columns = torch.full((len(rows), 1), 8)
        for spot in SPOTS:
            torch.testing.assert_close(kept.at(spot, columns), fresh.at(spot, columns))
            values = torch.randn(2, len(rows), 1, 32)
            torch.testing.assert_close(engine.resume(kept, spot, columns, values), engine.resume(fresh, spot, columns, values))
        sources = engine.capture(every.take(rows), SPOTS, False, 4)
        torch.testing.assert_close(captures.sources(rows).at(SPOTS[1], columns), sources.at(SPOTS[1], columns))


def test_a_prompt_is_run_once_while_there_is_room(lm, monkeypatch):
    engine, run = ResumeEngine(lm), []
    whole = engine.capture
    monkeypatch.setattr(engine, "capture", lambda p, *rest: run.append(len(p)) or whole(p, *rest))
    captures = Captures(engine, prompts(), SPOTS, 4, 1e9)
    for rows in ([0, 1, 2], [2, 1, 0, 0], [3, 2], [3, 3]):
        captures.bases(np.array(rows))
    assert run == [3, 1]


def many(rows=300):
    rng, lengths = np.random.default_rng(1), np.random.default_rng(2).integers(5, 10, rows)
    tokens = np.where(np.arange(9) < 9 - lengths[:, None], 0, rng.integers(3, 50, (rows, 9)))
    return Encoded(tokens, lengths, {"last": np.full((rows, 1), 8)})


def bits(captures, rows):
    found = captures.bases(rows)
    return [*found.vectors.values(), *found.inputs.values(), *(t for pair in found.keys.values() for t in pair)]


def test_where_all_finds_room_it_does_not_matter_in_which_order_it_was_asked_for(lm):
    engine, every, used = ResumeEngine(lm), many(), (np.arange(0, 300, 2), np.arange(1, 300, 2))
    one, other = (Captures(engine, every, SPOTS, 4, 1e9, used=used) for _ in range(2))
    rows = np.arange(0, 300, 2)
    whole = bits(one, rows)
    for some in np.split(np.random.default_rng(3).permutation(rows), 15):
        bits(other, some)
    assert all(torch.equal(a, b) for a, b in zip(whole, bits(other, rows), strict=True))
    beside = other.bases(np.array([1, 3]))  # of which nobody had said that it would be asked for
    fresh = engine.capture(every.take(np.array([1, 3])), SPOTS, True, 4)
    torch.testing.assert_close(beside.at(SPOTS[0], torch.full((2, 1), 8)), fresh.at(SPOTS[0], torch.full((2, 1), 8)))


def test_what_an_engine_holds_is_shared_by_all_who_ask_for_no_more(lm):
    engine, every = ResumeEngine(lm), many(20)
    pairs = Labelled(np.arange(10), np.arange(10, 20)[None], *(np.zeros(10, np.int64),) * 3)
    data, sites = Dataset(every, {"h": pairs}), [Site(layer, "last") for layer in (0, 1)]
    hold(engine, [data], sites, 1e9)
    held = engine.held[0]
    assert captures_for(engine, data, sites[:1]) is held
    assert captures_for(engine, data, [Site(2, "last")]) is not held
    assert captures_for(engine, Dataset(many(20), {"h": pairs}), sites[:1]) is not held
    hold(engine, [data], sites[1:], 1e9)
    assert engine.held[0] is held
    hold(engine, [], [], 0)
    assert not engine.held


@pytest.mark.parametrize("kind", [ResumeEngine, HookEngine])
def test_what_the_network_answers_to_bases_is_known_and_the_other_prompts_are_run(lm, kind, monkeypatch):
    engine = kind(lm)
    expected, captures = predictions(engine, prompts()), Captures(engine, prompts(), SPOTS, 4, 0.0)
    assert not captures.said.known.any()
    captures.bases(np.array([7, 2, 7, 11]))
    known, run, whole = captures.said, [], engine.capture
    assert np.flatnonzero(known.known).tolist() == [2, 7, 11]
    monkeypatch.setattr(engine, "capture", lambda p, *rest: run.append(len(p)) or whole(p, *rest))
    assert (predictions(engine, prompts(), known=known, rows=10) == expected).all()
    assert run == [10, 7]


def test_no_more_room_is_taken_than_was_given(lm):
    one = Captures(ResumeEngine(lm), prompts(), SPOTS, 4, 1e9)
    one.bases(np.arange(1))
    each = 1e9 - one._room.left
    captures = Captures(ResumeEngine(lm), prompts(), SPOTS, 4, 5.5 * each)
    captures.bases(np.arange(20))
    assert (captures._shelves[True].block >= 0).sum() == 5
    assert 0 <= captures._room.left < each


def test_a_prompts_keys_are_kept_only_above_the_shallowest_site(lm):
    deep = ResumeEngine(lm).capture(prompts(), [("block_output", 1)], True, 4)
    assert len(deep.keys) == 1
    assert len(ResumeEngine(lm).capture(prompts(), SPOTS, True, 4).keys) == 2


def test_neighbours_with_as_many_copies_run_together():
    assert _runs(["a", "b", "c"], {"a": 2, "b": 2, "c": 1}) == [["a", "b"], ["c"]]
    assert _runs(["a", "b", "c"], {"a": 1, "c": 1}) == [["a"], ["c"]], "what lies between is not run"


SETTINGS = {"train_pairs": 128, "val_pairs": 64, "test_pairs": 64}


def test_scores_do_not_depend_on_what_runs_together(monkeypatch):
    network = plant(2)
    experiment = Experiment(network.task, network.lm, **SETTINGS)
    material = experiment.material()
    generator = torch.Generator().manual_seed(0)
    some = [Subspace(random_basis(64, 2, generator)[:, None], torch.ones(1, 2)) for _ in range(5)]
    site = Site(0, "last")
    together = score(material.engine, material.data["val"], {0: ("code", site, some)})[0]
    monkeypatch.setattr("das.interchange.engine.WORKING", 1)
    one_by_one = score(material.engine, material.data["val"], {i: ("code", site, [s]) for i, s in enumerate(some)}, rows=10)
    assert (together == np.concatenate([one_by_one[i] for i in range(5)])).all()


@pytest.mark.slow
@pytest.mark.parametrize("subspace", [Nested(k=4), Boundless(k=4)])
def test_a_run_gives_the_same_table_with_and_without_room(tmp_path, subspace):
    network, tables = plant(2), []
    for memory in (0, 1):
        experiment = Experiment(network.task, network.lm, **SETTINGS, subspace=subspace, steps=20, memory=memory, logger="none")
        tables.append(experiment.run(tmp_path / str(memory)).table())
    assert tables[0].equals(tables[1])


def test_a_batch_holds_every_distinct_source_once():
    network = plant(2)
    material = Experiment(network.task, network.lm, **SETTINGS).material()
    data, site = material.data["train"], Site(0, "last")
    captures = Captures(material.engine, data.prompts, [site.spot], data.first([site]))
    batch = Batch.capture(data, captures, {"code": np.array([0, 1, 1, 0])})
    assert len(batch.sources.prompts) == len(np.unique(data.pairs["code"].sources[0][:2]))
    swap = batch.swap("code", site)
    assert torch.equal(swap.source[0, 0], swap.source[0, 3])
    assert torch.equal(swap.base[1], swap.base[2])


@pytest.mark.parametrize(("room", "runs"), [(0, 2), (1e9, 1)])
def test_positions_of_a_layer_are_read_from_one_forward_and_layers_too_where_there_is_room(lm, monkeypatch, room, runs):
    monkeypatch.setattr("das.interchange.vectors.ROOM", room)
    engine, every, run = ResumeEngine(lm), prompts(), []
    every.positions["first"] = np.zeros((20, 1), int)
    sites = [Site(layer, position) for layer in (0, 1) for position in ("first", "last")]
    fresh = engine.capture(every, [("block_output", 0), ("block_output", 1)], False, 0)
    whole = engine.capture
    monkeypatch.setattr(engine, "capture", lambda p, *rest: run.append(len(p)) or whole(p, *rest))
    for site, found in vectors(engine, Dataset(every, {}), np.arange(20), sites):
        columns = torch.from_numpy(every.positions[site.position])
        torch.testing.assert_close(found, fresh.at(("block_output", site.layer), columns)[:, 0])
    assert len(run) == runs
