"""What a notebook shows of things is theirs, and escaped."""

from xml.etree import ElementTree

import numpy as np

from das import Bool, CausalModel, Hypothesis, make_pairs
from das.judge.verdict import Verdict
from das.text import html_table


def model():
    def both(left, right):
        return left & right

    def out(both, left):
        return both | ~left

    return CausalModel(both, out, inputs={"left": Bool(), "right": Bool()})


def cells(html):
    return [[cell.text for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


def test_a_table_is_escaped():
    html = html_table([["<script>alert(1)</script>", 0.12345]], ["a & b", "c"], "<i>")
    assert "<script>" not in html
    assert cells(html) == [["a & b", "c"], ["<script>alert(1)</script>", "0.123"]]


def test_a_causal_model_is_a_picture_with_every_variable():
    html = model()._repr_html_()
    assert html.startswith("<svg")
    assert ElementTree.fromstring(html).tag.endswith("svg")
    for variable in model().variables:
        assert f"<!-- {variable} -->" in html


def test_pairs_show_their_first_rows():
    rng = np.random.default_rng(0)
    pairs = make_pairs(Hypothesis(model(), "both"), model().sample(rng, 60), 20, rng)
    head, *rows = cells(pairs._repr_html_())
    assert head == list(pairs.columns())
    assert len(rows) == 8
    assert rows[0] == [str(column[0]) for column in pairs.columns().values()]
    assert f"20 pairs, {pairs.flips.sum()} of which flip" in pairs._repr_html_()


def test_a_verdict_says_why():
    verdict = Verdict("partly", "it <fails>", 0.01, {"hypothesis": "h.v", "iia": 0.5, "rival": None, "p": {}})
    assert cells(verdict._repr_html_()) == [["verdict", "partly"], ["why", "it <fails>"], ["worst p", "0.01"], ["iia", "0.5"]]
