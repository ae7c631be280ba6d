"""The page in a browser: no complaint, a cell opens by mouse and by keys, examples are sifted, light and dark."""

import json
import sys

import pandas as pd
import pytest
from conftest import ROOT

from das.use.report import write

sys.path.append(str(ROOT / "benchmarks"))
import page as made
from browser import CHROMIUM, ENTER, Browser
from test_beside import prints, run_of, study

DRAWS = True
"""The files that runs draw are looked at."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: make test-page installs it")
EVIL = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def tab():
    with Browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = made.make(tmp_path_factory.mktemp("page") / "run", ("one", "two"), 3, ("last-1", "last"), 40)
    said = pd.DataFrame({"reply": [" Maybe" if i % 2 else "Yes" for i in range(40)]})
    for cell in (folder / "cells").glob("h0-*"):
        said.to_parquet(cell / "replies.parquet")
    return write(folder)


@pytest.fixture
def opened(tab, path):
    """The page, and afterwards the word that nothing was complained of."""
    tab.complaints.clear()
    tab.open(path)
    yield tab
    assert tab.complaints == []


def text(tab, selector):
    return tab.js(f"document.querySelector({json.dumps(selector)}).textContent")


def focused(tab):
    return tab.js("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")


def examples(tab):
    tab.wait("document.querySelector('.pairs tbody tr')")


def test_every_section_stands_and_every_picture_has_words(opened):
    assert opened.js("[...document.querySelectorAll('h2')].map(h => h.textContent)")[:3] == [
        "Verdicts",
        "Causal models",
        "The prompt",
    ]
    assert opened.js("document.querySelectorAll('.cells rect').length") == 12
    assert opened.js("[...document.querySelectorAll('figure > svg')].every(s => s.getAttribute('aria-label'))")
    assert opened.js("[...document.querySelectorAll('select, input')].every(s => s.labels.length)")


def test_circuits_and_edits_stand_beside_the_alignments_with_their_pictures(tab, tmp_path):
    run = run_of(tmp_path / "run")
    study(run / "beside" / "circuit", "circuit", prints(run), claim=EVIL)
    tab.complaints.clear()
    tab.open(write(run))
    assert tab.js("[...document.querySelectorAll('.claimed tbody th small')].map(s => s.textContent)") == [
        "alignment",
        "circuit",
    ]
    assert EVIL in text(tab, ".claimed tbody tr:last-child th")
    assert text(tab, ".claimed tbody tr:last-child td") == "not asked"
    tab.js("document.querySelectorAll('.pictures img').forEach(image => { image.loading = 'eager'; })")
    tab.wait("[...document.querySelectorAll('.pictures img')].filter(image => image.naturalWidth > 50).length === 2")
    assert tab.complaints == []


def test_a_click_opens_a_cell_with_its_scorecard_and_examples(opened):
    opened.click('.cells rect[tabindex="0"]')
    examples(opened)
    assert text(opened, "#cell h3").startswith("one.v at layer")
    parts = opened.js("[...document.querySelectorAll('#cell h4')].map(h => h.textContent)")
    assert parts == ["Scorecard", "Where it fails", "Examples"]


def test_arrows_walk_the_map_enter_opens_and_escape_leads_back(opened):
    opened.js("document.querySelector('.cells rect[tabindex=\"0\"]').focus()")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowDown"):
        opened.press(key)
    corner = focused(opened)
    assert corner.startswith("layer 0, last-1: IIA ")
    opened.press("ArrowRight")
    opened.press("ArrowUp")
    assert focused(opened).startswith("layer 1, last: IIA ")
    opened.press("Enter", **ENTER)
    examples(opened)
    assert focused(opened) == "one.v at layer 1, last"
    opened.press("Escape")
    assert opened.js("!document.querySelector('#cell')")
    assert focused(opened).startswith("layer 1, last: IIA ")


def test_the_filter_leaves_as_many_pairs_as_the_cell_got_wrong(opened):
    opened.click('.cells rect[tabindex="0"]')
    examples(opened)
    option = "document.querySelector('.examples select')"
    wrong = int(opened.js(f"{option}.options[2].textContent.split(' ')[1]"))
    opened.js(f"{option}.selectedIndex = 2; {option}.dispatchEvent(new Event('change'))")
    assert text(opened, ".told").endswith(f"of {wrong} pair{'s' * (wrong != 1)}")
    assert opened.js("[...document.querySelectorAll('.pairs tbody tr:not(.more)')].every(r => r.className === 'miss')")
    opened.js("document.querySelector('.pairs tbody button').click()")
    assert "### Response:" in text(opened, ".prompts")


def test_what_was_answered_stands_there_and_can_be_sought(opened):
    opened.click('.cells rect[tabindex="0"]')
    examples(opened)
    given = "[...document.querySelectorAll('.pairs tbody tr:not(.more) .given')].map(g => g.textContent.slice(2))"
    assert opened.js(given) == ["Yes", "Maybe"] * 6
    search = "document.querySelector('.examples input')"
    opened.js(f"{search}.value = 'given=maybe'; {search}.dispatchEvent(new Event('input'))")
    opened.wait("document.querySelector('.told').textContent.endsWith('of 20 pairs')")
    assert set(opened.js(given)) == {"Maybe"}


def test_a_site_of_several_places_is_named_by_its_tokens_and_marked_at_each(tab, tmp_path):
    folder = made.make(tmp_path / "run", ("one",), 2, ("last", "first+last"), 20)
    spans = {"last": [[8, 10]], "first+last": [[0, 4], [8, 10]]}
    (folder / "prompt.json").write_text(json.dumps({"text": "What of 12?", "positions": spans}))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"tokens": {"last": "12", "first+last": "What + 12"}}))
    tab.open(write(folder))
    marks = "[...document.querySelectorAll('mark.token')].map(m => [m.textContent, m.dataset.names])"
    assert tab.js(marks) == [["What", "first+last"], ["12", "last"]]
    chips = tab.js("[...document.querySelectorAll('.chips li')].map(c => c.textContent)")
    assert chips == ["12 last", "What + 12 first+last"]


def test_what_is_no_text_is_no_prompt_and_layers_go_by_their_names(tab, tmp_path):
    folder = made.make(tmp_path / "run", ("one",), 2, ("last",), 20)
    (folder / "prompt.json").write_text(json.dumps({"text": "input: float32 (16,)", "positions": {"last": []}}))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(
        json.dumps(summary | {"layers": ["encoder", "mixer.1"], "tokens": {"last": "whole input"}})
    )
    tab.complaints.clear()
    tab.open(write(folder))
    assert text(tab, "#prompt h2") == "The input"
    assert "mixer.1" in text(tab, ".map svg")
    tab.click('.cells rect[tabindex="0"]')
    examples(tab)
    assert text(tab, "#cell h3").endswith(", last")
    assert "layer" not in text(tab, "#cell h3")
    assert tab.js("!document.querySelector('.pairs tbody button')"), "there is no prompt to open"
    assert tab.complaints == []


def test_another_measure_and_split_redraw_the_maps(opened):
    before = opened.js("document.querySelector('.cells rect').getAttribute('aria-label')")
    select = "document.querySelector('select[data-name=split]')"
    opened.js(f"{select}.selectedIndex = 1 - {select}.selectedIndex; {select}.dispatchEvent(new Event('change'))")
    assert opened.js("document.querySelector('.cells rect').getAttribute('aria-label')") != before
    assert opened.js("document.activeElement") is not None


def test_dark_follows_the_system_and_the_button(opened):
    paper = "getComputedStyle(document.body).backgroundColor"
    opened.prefers("light")
    light = opened.js(paper)
    opened.prefers("dark")
    dark = opened.js(paper)
    assert light != dark
    opened.js("document.getElementById('theme').click()")
    assert opened.js(paper) == light
    opened.js("localStorage.clear()")
    opened.prefers("light")


def test_paper_is_light_whatever_the_screen_is(opened):
    colours = "[document.body, document.querySelector('h1')].map(e => getComputedStyle(e).color)"
    opened.prefers("light")
    light = opened.js(colours)
    opened.prefers("dark")
    opened.js("document.documentElement.dataset.theme = 'dark'")
    assert opened.js(colours) != light
    opened.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert opened.js(colours) == light
    opened.ask("Emulation.setEmulatedMedia", media="")
    opened.js("delete document.documentElement.dataset.theme")
    opened.prefers("light")


def test_a_run_under_a_shift_says_so_and_a_line_end_bears_its_name_before_it(tab, tmp_path):
    folder = made.make(tmp_path / "run", ("one",), 2, ("last",), 20)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + "under: {before: <b>So .}\n")
    (folder / "prompt.json").write_text(
        json.dumps({"text": "Say :\n", "tokens": {"last": "\n"}, "positions": {"last": [[5, 6]]}})
    )
    tab.complaints.clear()
    tab.open(write(folder))
    assert 'under the shift {"before": "<b>So ."}' in text(tab, ".facts")
    assert text(tab, ".prompt mark") == "↵"
    assert text(tab, ".prompt") == "Say :↵\n"
    assert tab.complaints == []


def test_nothing_hostile_runs(tab, tmp_path):
    folder = made.make(tmp_path / "run", (f"a{EVIL}", "b"), 2, (f"last{EVIL}", "last"), 20, EVIL)
    tab.complaints.clear()
    tab.open(write(folder))
    tab.click('.cells rect[tabindex="0"]')
    examples(tab)
    tab.js("document.querySelector('.pairs tbody button').click()")
    assert tab.js("document.title").startswith(EVIL)
    assert tab.js("document.images.length") == 0
    assert tab.complaints == []


def test_a_run_that_has_only_begun_has_a_page(tab, tmp_path):
    (tmp_path / "config.yaml").write_text("task: t\nlm: l\n")
    tab.complaints.clear()
    tab.open(write(tmp_path))
    assert "not finished" in text(tab, ".facts")
    assert tab.complaints == []


def test_the_benchmark_runs_at_a_tiny_size(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["page", "--quick", "--json", str(tmp_path / "out.json")])
    made.main()
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert (row["cells"], row["rows"], row["complaints"]) == (8, 40, 0)
