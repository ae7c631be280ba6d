"""Trajectories: behind the last layer the answer stands as the network gives it."""

import json

import pytest

from das import DasError, trajectory
from das.cli import main
from das.interchange.engine import HookEngine

AT = {"positions": ["amount.last", "last"], "layers": [0, 5]}


def test_behind_the_last_layer_the_answer_is_the_likeliest_and_all_is_written(tmp_path):
    found = trajectory("price_tagging", "price-tagger-tiny", pairs=20, **AT)
    table = found.table.set_index(["layer", "position"])
    assert table.loc[(5, "last"), "first"] == 1
    assert table.loc[(5, "last"), "probability"] > 0.9
    assert (table["first"].drop((5, "last")) < 1).all()
    assert all(path.stat().st_size for path in found.write(tmp_path / "way"))


def test_the_command_tells_what_python_finds(tmp_path, capsys):
    asked = ["price_tagging", "--lm", "price-tagger-tiny", "--pairs", "20", "--layers", "[5]", "--positions", "[last]"]
    assert main(["trajectory", *asked, "--out", str(tmp_path), "--json"]) in (0, None)
    (state,) = json.loads(capsys.readouterr().out)["states"]
    found = trajectory("price_tagging", "price-tagger-tiny", pairs=20, layers=[5], positions=["last"])
    assert state["probability"] == pytest.approx(found.table["probability"].item())


def test_a_network_that_cannot_be_resumed_has_no_trajectory(monkeypatch):
    monkeypatch.setattr("das.run.material.make_engine", lambda lm, *_: HookEngine(lm, why="it is asked not to be"))
    with pytest.raises(DasError, match="resumed: it is asked not to be"):
        trajectory("price_tagging", "price-tagger-tiny", pairs=20, layers=[5], positions=["last"])


def test_another_answer_is_followed_in_its_place():
    asked = {"pairs": 40, "layers": [5], "positions": ["last"], "answered": "all"}
    right = trajectory("price_tagging", "price-tagger-tiny", **asked)
    both = [trajectory("price_tagging", "price-tagger-tiny", answer=each, **asked) for each in (True, "False")]
    shares = [each.table["first"].item() for each in both]
    assert sum(shares) == pytest.approx(1)
    assert right.table["first"].item() > max(shares)
    assert "answer 'True'" in both[0].title
    with pytest.raises(DasError, match="answer"):
        trajectory("price_tagging", "price-tagger-tiny", answer="perhaps", **asked)
