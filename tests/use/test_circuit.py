"""das.circuit: a circuit of the shipped price tagger, as it is told, drawn and written; and what is refused."""

import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from das import DasError, circuit
from das.circuits import choosing
from das.ground.storage import write_json
from das.network.lm import LM
from das.use import circuit_search
from das.use.circuit import UNFINISHED

SMALL = {"pairs": 12, "steps": 2, "draws": 1, "threshold": 0.5, "positions": ["amount.first", "last"]}


def small(**changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "CLOSER", 1)
        patch.setattr(circuit_search, "sizes_of", lambda graph: [60, 200, len(graph)])
        return circuit("price_tagging", "price-tagger-tiny", "left_boundary", **SMALL | changes)


@pytest.fixture(scope="module")
def found():
    return small()


class Killer:
    """A reporter in whose process the search is killed where a task begins. begun: the tasks that were begun."""

    def __init__(self, at=None):
        self.at, self.begun, self.said = at, [], []
        self.say = self.said.append

    @contextmanager
    def task(self, name, total):
        if name == self.at:
            raise KeyboardInterrupt
        self.begun.append(name)
        yield lambda done, note: None


def killed(at, folder):
    report = Killer(at)
    with pytest.raises(KeyboardInterrupt):
        small(report=report, folder=folder)
    return report.begun


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a search that was killed after the scores."""
    folder = tmp_path_factory.mktemp("stopped") / "circuit"
    assert killed("choose", folder) == ["score edges"]
    return folder


def test_few_of_the_edges_keep_the_answer_and_random_ones_do_not(found):
    kinds = found.test.set_index("kind")
    assert 0 < len(found.kept) < found.about["edges"] / 3
    assert kinds.loc["network", "faithfulness"] > 0.6 > 0.3 > kinds.loc["random", "faithfulness"]
    assert kinds.loc["network", "completeness"] > 0.9


def test_all_edges_are_wholly_faithful_and_complete(found):
    whole = found.curve[found.curve["edges"] == found.about["edges"]].iloc[0]
    for name in ("faithfulness", "completeness"):
        assert whole[name] == 1
        assert whole[f"{name}_logit"] == pytest.approx(1, abs=1e-4)


def test_splits_share_no_prompt_and_pairs_line_up(found):
    assert set(found.about["pairs"]) == {"train", "val", "test"}
    assert all(0 < n <= 12 for n in found.about["pairs"].values())


def test_what_passes_a_layer_sums_to_what_all_of_it_does(found):
    at_top = found.flow[found.flow["layer"] == found.flow["layer"].max()].set_index("position")
    assert at_top.loc["last", "share"] == pytest.approx(1, abs=1e-3)


def test_the_judge_knows_what_was_run_beside_it_and_who_its_rivals_are(found):
    about = found.about
    assert about["rivals"] == ["midpoint", "bracket"]
    assert set(about["changed"]) <= {"amount", "lower"}
    assert 0.9 < about["accuracy"]["share"] <= 1
    (claim,) = found.verdicts
    assert "best of 1 random circuits" in claim.nulls
    lowest = found.test.set_index("kind").loc["network", "faithfulness_low"]
    assert claim.verdict in ("not identifiable", "not above the null") or lowest == 0
    assert set(about["made_from"]) >= {"hypotheses", "prompt", "tokens", "weights"}


def test_it_is_written_told_and_drawn(found, tmp_path):
    paths = found.write(tmp_path / "circuit")
    assert [path.name for path in paths] == ["circuit.json", "edges.parquet", "circuit.png", "curve.png"]
    body = json.loads(paths[0].read_text())
    assert (body["hypothesis"], len(body["circuit"])) == ("left_boundary.above_lower", len(found.kept))
    (claim,) = body["verdicts"]
    assert claim["claim"] == f"circuit of {len(found.kept)} of 1,108 edges"
    assert claim["levels"]["recovery"][0]["share"] == found.test.set_index("kind").loc["network", "faithfulness"]
    assert claim["levels"]["decoding"] == "not asked"
    assert found.judged == claim["sentence"]
    assert claim["sentence"] in found.text()
    edges = pd.read_parquet(paths[1])
    assert len(edges) == found.about["edges"] == 1108
    assert edges["kept"].sum() == len(found.kept)
    assert edges[edges["kept"]]["loss"].notna().all()
    assert all(part in found.text() for part in ("embedding → query 0.2", "random, best of 1"))


def test_heads_have_their_roles_in_it(found):
    assert found.about["roles"]["head 3.0"] == "mover"
    labels = [text.get_text() for text in found.figure().legends[0].get_texts()]
    assert {"mover", "into query"} < set(labels)


def test_of_many_edges_the_strongest_are_drawn(found, monkeypatch):
    monkeypatch.setattr("das.use.circuit.DRAWN", 3)
    assert "its 3 strongest" in found.figure().axes[0].get_title()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "eap-gi"}, "unknown method 'eap-gi': did you mean 'eap-ig'"),
        ({"swap": "nothing"}, "unknown swap 'nothing'"),
        ({"threshold": 0}, "threshold is 0: expected more than 0"),
        ({"variable": "above_lowre"}, "did you mean 'above_lower'"),
        ({"pairs": 1}, "pairs is 1: expected at least 2"),
        ({"steps": 0}, "steps is 0: expected at least 1"),
    ],
)
def test_what_is_asked_wrongly_is_refused(changes, says):
    with pytest.raises(DasError, match=says):
        circuit("price_tagging", "price-tagger-tiny", "left_boundary", positions=["last"], **changes)


def test_a_killed_search_goes_on_part_by_part_and_ends_as_an_unbroken_one(found, tmp_path):
    folder = tmp_path / "circuit"
    begun = killed("choose", folder) + killed("cut edges one by one", folder)
    last = Killer()
    ended = small(report=last, folder=folder)
    assert begun + last.begun == list(dict.fromkeys(begun + last.begun))
    assert "score edges" not in last.begun
    assert last.said == [
        f"going on with what is in {folder / UNFINISHED}: scores, curve, untrained-scores, random-val, untrained-val"
    ]
    for name in ("table", "curve", "test", "flow"):
        pd.testing.assert_frame_equal(getattr(ended, name), getattr(found, name), check_exact=True)
    assert (ended.about, ended.tokens) == (found.about, found.tokens)
    assert (folder / UNFINISHED).exists()
    ended.write(folder)
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["circuit.json", "circuit.png", "curve.png", "edges.parquet"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"steps": 3},
            "unfinished was begun with steps = 2, not 3: to go on, give the same settings; to begin anew, remove it",
        ),
        ({"pairs": 14}, "was begun with train_pairs = 12, not 14"),
        ({"seed": 1}, "was begun with seed = 0, not 1"),
        ({"variable": None, "families": {"flip": 1.0}}, "was begun with families = "),
        ({"under": "true_false"}, "was begun with under = 'base', not 'true_false'"),
    ],
)
def test_a_search_goes_on_with_no_other_settings(changes, says, stopped, monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("loaded weights"))
    with pytest.raises(DasError, match=says):
        small(folder=stopped, **changes)


def test_a_search_goes_on_with_no_other_network(stopped, monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("loaded weights"))
    path = stopped / UNFINISHED / "made_from.json"
    before = json.loads(path.read_text())
    changed = before["made_from"] | {"weights": dict.fromkeys(before["made_from"]["weights"], "1 other")}
    write_json(path, before | {"made_from": changed})
    with pytest.raises(DasError, match=r"was begun from something else: the network's weights .* remove it, or give another"):
        small(folder=stopped)
    write_json(path, before)


def test_what_is_damaged_is_made_anew(stopped):
    path = stopped / UNFINISHED / "scores.safetensors"
    body = path.read_bytes()
    path.write_bytes(body[:-8])
    assert killed("choose", stopped) == ["score edges"]
    assert path.read_bytes() == body


def test_a_search_that_is_refused_leaves_no_folder(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise DasError("too few")

    monkeypatch.setattr("das.use.circuit.flipping", refused)
    with pytest.raises(DasError, match="too few"):
        small(folder=tmp_path / "circuit")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("at", [["b", "a", "c"], []])
def test_scores_are_taken_up_in_the_order_of_their_positions(at):
    rng = np.random.default_rng(0)
    every = {position: rng.random((3, 2), np.float32) for position in at}
    scored = circuit_search.Scored(circuit_search.Attributed(rng.random((3, 2)), every), rng.random((3, 2)), [4])
    again = circuit_search.Scored.of(dict(reversed(scored.arrays().items())), at)
    assert list(again.seen.at) == at
    assert all((again.seen.at[position] == every[position]).all() for position in at)
    assert again.counts == [4]
