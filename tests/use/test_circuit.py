"""das.circuit: a circuit of the shipped price tagger, as it is told, drawn and written; and what is refused."""

import json

import pandas as pd
import pytest

from das import DasError, circuit
from das.circuits import choosing
from das.use import circuit_search


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "CLOSER", 1)
        patch.setattr(circuit_search, "sizes_of", lambda graph: [60, 200, len(graph)])
        settings = {"pairs": 12, "steps": 2, "draws": 1, "threshold": 0.5}
        return circuit("price_tagging", "price-tagger-tiny", "left_boundary", positions=["amount.first", "last"], **settings)


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


def test_it_is_written_told_and_drawn(found, tmp_path):
    paths = found.write(tmp_path / "circuit")
    assert [path.name for path in paths] == ["circuit.json", "edges.parquet", "circuit.png", "curve.png"]
    body = json.loads(paths[0].read_text())
    assert (body["hypothesis"], len(body["circuit"])) == ("left_boundary.above_lower", len(found.kept))
    edges = pd.read_parquet(paths[1])
    assert len(edges) == found.about["edges"] == 1108
    assert edges["kept"].sum() == len(found.kept)
    assert edges[edges["kept"]]["loss"].notna().all()
    assert all(part in found.text() for part in ("embedding → query 0.2", "random, best of 1"))


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
