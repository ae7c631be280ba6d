"""Circuits and edits beside a run's alignments: what the page holds of them, what is refused, and what `das ls` says."""

import json
import sys
from dataclasses import replace

import pytest
from conftest import ROOT
from matplotlib.figure import Figure

from das import DasError, Run
from das.cli import main
from das.draw.page.assemble import page
from das.judge.claimed_circuit import CircuitFacts, judge_circuit
from das.judge.claimed_edit import EditFacts, judge_edit
from das.judge.claims import Share
from das.run.folder import Folder
from das.use.report import refresh, write

sys.path.append(str(ROOT / "benchmarks"))
import page as made
from test_page import EVIL, Parsed

DRAWS = True
"""The files that runs draw are looked at."""

CLAIMS = {
    "circuit": judge_circuit(
        CircuitFacts("one.v", 75, 1108, Share("faithfulness", 0.83, 0.74, 0.89, 0), Share("completeness", 1, 0.95, 1, 0))
    ),
    "edit": judge_edit(EditFacts("one.v", "ROME edit of layer 6, 9 facts", {"efficacy": Share("efficacy", 1, 0.9, 1, 0)})),
}


def study(folder, kind, made_from, **claimed):
    """What `das circuit` or `das edit` leaves."""
    folder.mkdir(parents=True)
    claim = replace(CLAIMS[kind], **claimed).plain()
    body = {"task": "made up", "lm": "network", "hypothesis": "one.v", "verdicts": [claim], "made_from": made_from}
    (folder / f"{kind}.json").write_text(json.dumps(body))
    for name in {"circuit": ("circuit", "curve"), "edit": ("edit",)}[kind]:
        Figure((1, 1)).savefig(folder / f"{name}.png")
    return folder


def run_of(folder):
    """A run's folder with whole prints of what it was made from."""
    made.make(folder, ("one", "two"), 2, ("last-1", "last"), 20)
    hypothesis = {"variables": ["v"], "parents": {"v": ["a", "b"]}, "code": {"v": "0"}, "values": {"v": "1"}, "swaps": "2"}
    prints = {
        "python": "3",
        "hypotheses": {"one": hypothesis, "two": hypothesis},
        "prompt": {"prompt's words": "3"},
        "weights": {"m": "4"},
    }
    (folder / "provenance.json").write_text(json.dumps({"made_from": prints}))
    return folder


@pytest.fixture
def run(tmp_path):
    return run_of(tmp_path / "run")


def prints(run):
    return Folder(run).made


def shown(path):
    return Parsed(path.read_text()).data["beside"]


def test_what_lies_beside_a_run_stands_in_one_table_with_its_alignments(run):
    study(run / "beside" / "circuit", "circuit", prints(run))
    study(run / "beside" / "edits", "edit", prints(run))
    (table,) = shown(write(run))
    assert table["hypothesis"] == "one.v"
    assert [row["kind"] for row in table["rows"]] == ["alignment", "circuit", "edit"]
    alignment, circuit, edit = table["rows"]
    assert alignment["claim"].startswith("nested8 alignment at layer ")
    assert alignment["levels"]["decoding"] == ["v .60 → .90"]
    assert alignment["nulls"] == ["random, best of the grid: IIA .55"]
    assert circuit["claim"] == "circuit of 75 of 1,108 edges"
    assert circuit["levels"] == {
        "decoding": [], "interchange": ["completeness .00 → 1.0 (.95–1.0)"], "ablation": [],
        "recovery": ["faithfulness .00 → .83 (.74–.89)"],
    }  # fmt: skip
    assert (circuit["verdict"], edit["claim"]) == ("partly", "ROME edit of layer 6, 9 facts")
    assert len(table["pictures"]) == 3
    assert all(picture["source"].startswith("data:image/png;base64,") for picture in table["pictures"])


def test_folders_that_are_given_stand_in_place_of_those_beside(run, tmp_path):
    study(run / "beside" / "circuit", "circuit", prints(run))
    away = study(tmp_path / "away", "edit", prints(run))
    assert main(["report", str(run), "--beside", f"[{away}]"]) == 0
    assert [row["kind"] for row in shown(run / "report.html")[0]["rows"]] == ["alignment", "edit"]
    assert shown(Run.open(run).report(beside=[])) == []


def test_a_hypothesis_that_the_run_did_not_align_has_a_table_of_its_own(run):
    study(run / "beside" / "circuit", "circuit", prints(run), hypothesis="three.w")
    (table,) = shown(write(run))
    assert (table["hypothesis"], [row["kind"] for row in table["rows"]]) == ("three", ["circuit"])


def test_a_run_that_has_not_finished_shows_what_is_attached(run):
    study(run / "beside" / "circuit", "circuit", prints(run))
    (run / "summary.json").unlink()
    assert [row["kind"] for row in shown(write(run))[0]["rows"]] == ["circuit"]


def test_hostile_claims_stay_text(run):
    plain = Parsed(page(Folder(run)))
    hostile = {"claim": EVIL, "sentence": EVIL, "verdict": EVIL, "hypothesis": EVIL}
    study(run / "beside" / "circuit", "circuit", prints(run), **hostile)
    found = Parsed(write(run).read_text())
    assert [tag for tag in found.tags if tag != "li"] == [tag for tag in plain.tags if tag != "li"]
    assert found.data["beside"][0]["rows"][0]["claim"] == EVIL


def another(run, **changes):
    return json.loads(json.dumps(prints(run))) | changes


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda run: another(run, weights={"m": "5"}),
            "another task or network than .*run. Not the same: the network's weights",
        ),
        (lambda run: another(run, prompt={"prompt's words": "x"}), "Not the same: the prompt's words"),
        (lambda run: another(run, hypotheses={}), "the task's hypotheses"),
        (lambda run: another(run, hypotheses=[]), "kinds of prints"),
        (lambda run: None, "holds no verdict"),
    ],
)
def test_what_is_of_another_task_or_network_is_refused_and_writes_no_page(run, change, says):
    study(run / "beside" / "circuit", "circuit", change(run))
    with pytest.raises(DasError, match=says):
        write(run)
    assert not (run / "report.html").exists()
    refresh(run=Folder(run), stage="grid")
    assert shown(run / "report.html") == []


def test_networks_that_have_no_prints_in_common_go_by_their_names(run):
    folder = study(run / "beside" / "circuit", "circuit", another(run, weights={"as given": "5"}))
    assert shown(write(run))
    body = json.loads((folder / "circuit.json").read_text())
    (folder / "circuit.json").write_text(json.dumps(body | {"lm": "elsewhere/another"}))
    with pytest.raises(DasError, match="Not the same: the network"):
        write(run)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "circuit.json").write_text("{"), "circuit.json is damaged"),
        (lambda folder: (folder / "circuit.json").write_text('{"verdicts": [3]}'), "cannot be read as das circuit writes it"),
        (lambda folder: (folder / "circuit.png").write_text("<svg onload=alert(1)>"), "circuit.png is no PNG"),
    ],
)
def test_what_is_broken_is_said(run, spoil, says):
    spoil(study(run / "beside" / "circuit", "circuit", prints(run)))
    with pytest.raises(DasError, match=says):
        write(run)


def test_a_folder_that_holds_neither_is_refused_where_it_is_named(run, tmp_path):
    (run / "beside" / "half").mkdir(parents=True)
    assert shown(write(run)) == []
    with pytest.raises(DasError, match="holds no circuit and no edits"):
        write(run, beside=[tmp_path / "nowhere"])


def test_ls_lists_circuits_and_edits_with_their_verdicts(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study(run / "beside" / "left", "circuit", prints(run))
    study(tmp_path / "edits", "edit", prints(run))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "circuit.json").write_text('{"hypothesis": "one.v", "lm": "network"}')
    assert main(["ls", ".", "--verdicts"]) == 0
    told = capsys.readouterr().out
    assert f"run/beside/left: circuit, 1 partly\n  {CLAIMS['circuit'].sentence}\n" in told
    assert f"edits: edit, 1 partly\n  {CLAIMS['edit'].sentence}\n" in told
    assert "old: circuit, no verdict" in told
    assert main(["ls", ".", "--json"]) == 0
    assert sorted(each.get("kind", "run") for each in json.loads(capsys.readouterr().out)) == [
        "circuit",
        "circuit",
        "edit",
        "run",
    ]
