"""What the README and the pages in docs/ say works: every block of Python runs, every command that they name is understood."""

import re
import shlex

import pytest
from conftest import ROOT

from das.cli import _arguments

DRAWS = True
"""The files that runs draw are looked at."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def blocks(page, *languages):
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]


def commands(page):
    for line in "".join(blocks(page, "sh", "bash", "console")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["das"] and len(words) > 1:
            yield words[1:]


def quick(page):
    """Whether the blocks of a page take a second or two; those of the others run with what is slow."""
    return "run(" not in (text := "".join(blocks(page, "python"))) and "fit" not in text


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if quick(page) else pytest.mark.slow) for page in PAGES], ids=lambda page: page.stem
)
def test_every_block_of_python_runs(page, tmp_path, monkeypatch):
    (tmp_path / "tasks").symlink_to(ROOT / "tasks")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for number, text in enumerate(blocks(page, "python"), 1):
        exec(compile(text, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        _arguments(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    assert not [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]


def test_every_page_is_in_the_index_and_in_the_tree():
    table, tree = (ROOT / "docs" / "index.md").read_text().split("{toctree}")
    for page in (page.stem for page in PAGES if page.stem not in ("README", "index")):
        assert f"({page}.md)" in table
        assert page in tree.split()
