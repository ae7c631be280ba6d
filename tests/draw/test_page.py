"""The page of a run holds what its folder holds, whatever is there, and nothing in it can become markup or a script."""

import hashlib
import json
import shutil
import sys
import zlib
from base64 import b64decode, b64encode
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from das import DasError, Run
from das.cli import main
from das.draw.page.assemble import SCRIPTS, VENDOR, page
from das.draw.page.examples import _written
from das.draw.page.packed import Blobs
from das.run.folder import Folder
from das.use.report import Page, write

sys.path.append(str(ROOT / "benchmarks"))
import page as made

DRAWS = True
"""The files that runs draw are looked at."""

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\"'"
TYPES = {"u1": "<u1", "u2": "<u2", "u4": "<u4", "f4": "<f4"}


class Parsed(HTMLParser):
    """What a browser makes of a page: its elements, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.title, self.within = [], [], "", None
        self.feed(text)
        self.data = json.loads(next(body for kind, body in self.scripts if kind["type"] == "application/json"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.within = tag
        if tag == "script":
            self.scripts.append([{"type": None} | dict(attrs), ""])
        if tag == "meta" and "http-equiv" in dict(attrs):
            self.policy = dict(attrs)["content"]

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        if self.within == "script":
            self.scripts[-1][1] += data
        if self.within == "title":
            self.title += data

    def blob(self, spec):
        body = next(body for kind, body in self.scripts if kind.get("id") == f"blob-{spec['blob']}")
        return np.frombuffer(zlib.decompress(b64decode(body), -zlib.MAX_WBITS), TYPES[spec["type"]])

    def column(self, spec):
        return [spec["values"][code] for code in self.blob(spec["codes"])]

    def texts(self, spec):
        bytes_, ends = self.blob(spec["bytes"]).tobytes(), self.blob(spec["ends"]).tolist()
        between = [bytes_[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        return [spec["before"] + between[code] + spec["after"] for code in self.blob(spec["codes"])]


@pytest.fixture
def folder(tmp_path):
    return made.make(tmp_path / "run", ("one", "two"), 2, ("last-1", "last"), 20)


def parsed(folder):
    return Parsed(page(Folder(folder)))


# --- columns ---


@pytest.mark.parametrize("top", [3, 300, 70_000])
def test_packed_columns_come_back_as_they_were(top):
    blobs, rng = Blobs(), np.random.default_rng(0)
    numbers, floats = rng.integers(0, top, 500), rng.normal(size=(20, 3)).astype(np.float32)
    words = [f"word {n}" for n in rng.integers(0, top, 400)]
    long = [f"Before é\U0001f600 {word} after" for word in words]
    specs = [blobs.numbers(numbers), blobs.numbers(floats), blobs.coded(words, order=["word 2"]), blobs.texts(long)]
    body = "".join(f'<script id="blob-{i}">{b}</script>' for i, b in enumerate(blobs.packed))
    back = Parsed(f'{body}<script type="application/json">{{}}</script>')
    assert back.blob(specs[0]).tolist() == numbers.tolist()
    assert np.array_equal(back.blob(specs[1]).reshape(20, 3), floats)
    assert back.column(specs[2]) == words
    assert specs[2]["values"][0] == "word 2"
    assert back.texts(specs[3]) == long
    assert specs[3]["before"].startswith("Before é\U0001f600 word ")


def test_equal_texts_and_no_texts_pack():
    blobs = Blobs()
    specs = [blobs.texts(["same"] * 3), blobs.texts([])]
    body = "".join(f'<script id="blob-{i}">{b}</script>' for i, b in enumerate(blobs.packed))
    back = Parsed(f'{body}<script type="application/json">{{}}</script>')
    assert back.texts(specs[0]) == ["same"] * 3
    assert back.texts(specs[1]) == []


# --- what it holds ---


def test_the_page_holds_the_tables_of_the_folder(folder):
    found, results = parsed(folder), pd.read_parquet(folder / "results.parquet")
    cells = found.data["cells"]
    values = found.blob(cells["values"]).reshape(len(cells["ids"]), -1)
    for i, column in enumerate(cells["columns"]):
        mine = results[
            (results["width"] == 0) & (results["split"] == column["split"]) & (results["metric"] == column["metric"])
        ]
        assert np.allclose(values[:, i], mine.set_index("cell")["value"].reindex(cells["ids"]), atol=1e-6)
    pairs, texts = (pd.read_parquet(folder / f"{name}.parquet") for name in ("pairs", "texts"))
    for name, spec in found.data["examples"].items():
        base = next(role for role in spec["roles"] if role["name"] == "base")
        assert found.texts(base["texts"]) == texts[texts["hypothesis"] == name]["base"].tolist()
        amounts = pairs[pairs["hypothesis"] == name]["base.a"]
        assert [float(value) for value in found.column(base["inputs"]["a"])] == amounts.tolist()
    hits, start = found.blob(cells["hits"]["bits"]), 0
    for cell, count in zip(cells["ids"], cells["hits"]["pairs"], strict=True):
        own = np.unpackbits(hits[start : start + -(-count // 8)], bitorder="little")[:count]
        row = results[(results["cell"] == cell) & (results["split"] == "test") & (results["metric"] == "iia")]
        assert own.size == 20
        assert abs(own.mean() - row["value"].item()) < 0.45  # drawn with that chance
        start += -(-count // 8)


def test_measures_are_those_of_the_table_references_aside(folder):
    table = pd.read_parquet(folder / "results.parquet")
    extra = (
        table[table["metric"] == "iia"]
        .assign(metric="surprise_of_mine", width=0, value=-2.5)
        .drop_duplicates(["cell", "split"])
    )
    pd.concat([table, extra]).to_parquet(folder / "results.parquet")
    names = [measure["name"] for measure in parsed(folder).data["cells"]["measures"]]
    assert names == ["iia", "flip_iia", "normalised", "whole", "rank", "surprise_of_mine"]


def test_what_look_has_written_of_a_cell_is_on_the_page(folder):
    (folder / "look" / "h0-L00-p1").mkdir(parents=True)
    (folder / "look" / "h0-L00-p1" / "inside.json").write_text(json.dumps({"variables": ["v"], "tokens": [{"token": EVIL}]}))
    found = parsed(folder).data
    assert found["inside"] == {"h0-L00-p1": {"variables": ["v"], "tokens": [{"token": EVIL}]}}


def test_what_was_answered_is_on_the_page_where_a_cell_keeps_it(folder):
    assert parsed(folder).data["cells"]["replies"] == {}
    said = [f"{EVIL}{i % 3}" for i in range(20)]
    pd.DataFrame({"reply": said}).to_parquet(folder / "cells" / "h0-L00-p1" / "replies.parquet")
    found = parsed(folder)
    assert list(found.data["cells"]["replies"]) == ["h0-L00-p1"]
    assert found.column(found.data["cells"]["replies"]["h0-L00-p1"]) == said


def test_a_site_of_several_layers_stands_behind_those_of_one(folder):
    table = pd.read_parquet(folder / "results.parquet")
    table.assign(layer=table["layer"].map({0: "0+1", 1: "1"})).to_parquet(folder / "results.parquet")
    found = parsed(folder)
    spec = found.data["cells"]["sites"]["layer"]
    assert spec["values"] == [1, "0+1"]
    assert found.column(spec) == ["0+1" if "L00" in cell else 1 for cell in found.data["cells"]["ids"]]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (3.0, "3"), (0.123456789, "0.123457"), ("[0.123456, -2, 1e-9]", "[0.123, -2, 1e-09]"), ('["a", "b"]', "[a, b]"),
        ('"a text"', "a text"), ("[not JSON", "[not JSON"), (True, "True"), (EVIL, EVIL),
    ],
)  # fmt: skip
def test_values_read_as_a_person_would_write_them(value, written):
    assert _written(pd.Series([value], dtype=object)) == [written]


OPTIONAL = "summary.json", "results.parquet", "pairs.parquet", "texts.parquet", "prompt.json", "provenance.json", "cells"


@pytest.mark.parametrize("missing", [*[(name,) for name in OPTIONAL], OPTIONAL, ("summary.json", "results.parquet")])
def test_what_the_folder_lacks_the_page_lacks_and_nothing_else(folder, missing):
    whole = parsed(folder).data
    for name in missing:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = parsed(folder).data
    assert found["task"] == "made up"
    assert found["finished"] == ("summary.json" not in missing)
    assert bool(found["cells"]["ids"]) == ("results.parquet" not in missing)
    assert bool(found["examples"]) == ("pairs.parquet" not in missing)
    if missing == ("prompt.json",):
        assert found | {"prompt": 0} == whole | {"prompt": 0}


def test_no_number_stands_where_there_is_none(folder):
    summary = json.loads((folder / "summary.json").read_text())
    summary["hypotheses"]["one"]["test_iia"] = float("nan")
    (folder / "summary.json").write_text(json.dumps(summary))
    found = parsed(folder).data["hypotheses"]
    assert next(h for h in found if h["name"] == "one")["found"]["test_iia"] is None


# --- safe ---


def test_hostile_names_stay_text(tmp_path):
    names = (f"a{EVIL}", f"b{EVIL}")
    folder = made.make(tmp_path / "run", names, 2, (f"last{EVIL}", "last"), 20, EVIL)
    plain = parsed(made.make(tmp_path / "plain", ("one", "two"), 2, ("last-1", "last"), 20))
    found = parsed(folder)
    assert found.tags == plain.tags, "an element has come from the data"
    assert [kind["type"] for kind, _ in found.scripts] == [kind["type"] for kind, _ in plain.scripts]
    assert found.title == f"{EVIL} · {EVIL}network"
    assert [h["name"] for h in found.data["hypotheses"]] == list(names)
    assert EVIL in found.data["prompt"]["text"]
    spec = found.data["examples"][names[0]]
    assert EVIL in found.texts(spec["roles"][0]["texts"])[0]
    assert any(EVIL in value for value in spec["answers"]["answer"]["values"])


def test_only_the_shipped_scripts_may_run_and_nothing_is_fetched(folder):
    found = parsed(folder)
    own = [body for kind, body in found.scripts if kind["type"] is None]
    assert len(own) == len(SCRIPTS) + len(VENDOR)
    hashes = [f"'sha256-{b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in own]
    rules = dict(rule.split(" ", 1) for rule in found.policy.split("; "))
    assert rules["script-src"].split(" ") == hashes
    assert rules["default-src"] == "'none'"
    assert not {"connect-src", "font-src", "frame-src"} & rules.keys()
    assert all("src" not in kind for kind, _ in found.scripts)


def test_no_path_of_the_machine_stands_in_the_page(folder):
    assert str(folder.parent) not in page(Folder(folder))


# --- written ---


def test_the_page_is_written_into_the_folder_or_elsewhere_and_leaves_nothing_beside_it(folder, tmp_path, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    away = tmp_path / "away" / "shown.html"
    assert main(["report", str(folder), "--out", str(away)]) == 0
    assert away.read_text() == (folder / "report.html").read_text() == page(Folder(folder))
    assert [path.name for path in away.parent.iterdir()] == ["shown.html"]


def test_a_folder_that_is_no_run_is_refused_and_gets_no_page(tmp_path):
    with pytest.raises(DasError, match="no run folder"):
        write(tmp_path, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_run_gives_its_page_as_a_path_that_a_notebook_shows(folder):
    path = Run.open(folder).report()
    assert isinstance(path, Page)
    assert path == folder / "report.html"
    frame = Parsed(f'{path._repr_html_()}<script type="application/json">{{}}</script>')
    assert frame.tags == ["iframe", "script"]
