"""The tasks fact_editing and memorisation: counterfactuals by hand; lines that are held out are no others."""

import numpy as np
import pytest
from conftest import ROOT

from das.task.files import load_task, run_file


@pytest.mark.parametrize(
    ("shift", "question", "hypothesis", "answer"),
    [
        ("base", "capital", "capital", "Bangkok"),
        ("base", "language", "capital", "French"),
        ("base", "continent", "capital", "Europe"),
        ("moved", "embassies", "capital", "Bangkok"),
        ("follows", "parliament", "capital", "Bangkok"),
        ("follows", "spoken there", "capital", "Thai"),
        ("follows", "lies in", "capital", "Thailand"),
        ("follows", "lies on", "capital", "Asia"),
        ("kept", "official", "capital", "French"),
        ("kept", "its continent", "capital", "Europe"),
        ("kept", "neighbour", "capital", "Lima"),
        ("kept", "other", "capital", "Lima"),
        ("kept", "official", "country", "Thai"),
        ("kept", "other", "country", "Lima"),
    ],
)
def test_what_follows_when_the_capital_of_france_is_bangkok(shift, question, hypothesis, answer):
    found = load_task(ROOT / "tasks" / "fact_editing.py").under(shift).hypothesis(hypothesis)
    france, thailand = (
        {"country": np.array([country]), "question": np.array([question]), "shown": np.array(["Peru"])}
        for country in ("France", "Thailand")
    )
    assert found.model.interchange(france, {found.variables[0]: thailand})[found.model.output].tolist() == [answer]


def test_held_out_lines_are_no_others_and_both_kinds_are_as_many():
    file = run_file(ROOT / "tasks" / "memorisation.py")
    assert not set(file.FOUND_ON) & set(file.HELD_OUT)
    assert len(set(file.BY_HEART)) == len(set(file.MADE_UP)) == 70
    for lines in (file.FOUND_ON, file.HELD_OUT):
        assert sum(file.LINES[line] for line in lines) == len(lines) / 2
        assert all(all(file.cut(line)) for line in lines)


def test_an_opening_ends_before_the_bar():
    task = load_task(ROOT / "tasks" / "memorisation.py")
    (text,) = task.render({"line": np.array(["Out of sight, out | of mind"])}).texts
    assert text.startswith("Out of sight, out\nIs this")
