"""`das edit`: what it writes can be put in again, and what cannot be edited is said."""

import json

import pytest

import das
from das.cli import main
from das.use.editing import edits

SMALL = {"text": "arithmetic", "input": "a", "moves": [(2, 7)], "layers": [1], "tokens": 1000, "contexts": 0}


def test_edits_write_patches_tables_and_a_picture_and_leave_the_network_as_it_was(tmp_path):
    lm = das.LM.load("arithmetic-tiny")
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    found = edits(
        "arithmetic",
        lm,
        "sum",
        methods=["rome", "twin", "tuned", "direction", "none"],
        shifts=[],
        cache=tmp_path / "c",
        **SMALL,
    )
    assert all((p == before[name]).all() for name, p in lm.model.named_parameters())
    shares = found.shares().set_index(["outcome", "method"])["share"]
    assert shares["efficacy", "none"] == 0
    assert shares["neighbourhood", "none"] == 1
    assert shares["efficacy", "tuned"] > 0
    claims = {claim.claim: claim for claim in found.verdicts}
    names = ["ROME edit of layer 1, 1 fact", "value added at the subject in layer 1, 1 fact"]
    assert list(claims) == [*names, "mean difference added at the subject in layer 1, 1 fact"]
    assert set(claims[names[0]].nulls) == {"fine-tuning of the same matrix", "no edit"}
    assert 0 < found.about["known"] <= 1
    assert all(claim.sentence in found.text() for claim in claims.values())
    assert [claim["verdict"] for claim in found.plain()["verdicts"]] == [claim.verdict for claim in claims.values()]
    losses = found.table.groupby("method")["loss"].first()
    assert losses["rome"] == losses["twin"]
    paths = {path.name: path for path in found.write(tmp_path / "out")}
    assert {"edit.json", "edit.csv", "edit.png", "rome-L01-000.safetensors", "tuned-L01-000.safetensors"} == set(paths)
    with das.Patch.load(paths["rome-L01-000.safetensors"]).applied(lm):
        assert any((p != before[name]).any() for name, p in lm.model.named_parameters())
    assert len(list((tmp_path / "c").glob("*.safetensors"))) == 1


def test_the_command_writes_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(
        [
            "edit",
            "arithmetic",
            "--lm",
            "arithmetic-tiny",
            "--hypothesis",
            "sum",
            "--text",
            "arithmetic",
            "--input",
            "a",
            "--moves",
            "[[2,7]]",
            "--layers",
            "[0]",
            "--tokens",
            "1000",
            "--contexts",
            "0",
            "--methods",
            "[rome]",
            "--shifts",
            "[]",
            "--json",
            "out.json",
        ]
    )
    assert "the share of questions answered as they should be" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["moves"] == [["2", "7"]]
    assert (tmp_path / "runs" / "edit-arithmetic" / "rome-L00-000.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["memit"]}, "unknown way to edit 'memit'"),
        ({"layers": [9]}, "layer is 9: expected at most"),
        ({"input": None}, "say which is moved"),
        ({"input": "aa"}, "unknown input to be moved 'aa'"),
        ({"moves": [(2, 2)]}, "pairs of two different values of a"),
        ({"reverse": ["backwards"]}, "unknown shift 'backwards'"),
    ],
)
def test_what_cannot_be_edited_is_said(changes, says):
    with pytest.raises(das.DasError, match=says):
        edits("arithmetic", "arithmetic-tiny", "sum", **(SMALL | changes))
