"""The monitor: what a hook by hand reads, at every token of any text, and shown as it stands."""

import json
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import transformers
from conftest import byte_tokenizer

import das
from das import DasError, load_task
from das.cli import main
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.task.pieces import pieces
from das.use.directed import NATURAL, levels_of

SMALL = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
ENDS = {"bos_token_id": None, "eos_token_id": None}
NETWORKS = {
    "llama": ("LlamaForCausalLM", {"intermediate_size": 48, "max_position_embeddings": 128} | ENDS),
    "gpt2": ("GPT2LMHeadModel", {"n_positions": 128} | ENDS),
}
TEXTS = ["( 2 + 3 ) * 4 =", "naïve 🙂 日本\n\n  then\ttab <b>&amp;</b>", "x"]


@cache
def lm(name):
    kind, options = NETWORKS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind).config_class(**SMALL, **options)
    return LM(getattr(transformers, kind)(config), byte_tokenizer(), name)


@cache
def task():
    return load_task("arithmetic")


def alignment(layer=1, variables=1, position="last"):
    basis = random_basis(32, 2 * variables, torch.Generator().manual_seed(0))
    subspace = Subspace(basis.unflatten(1, (variables, 2)), torch.ones(variables, 2))
    return Alignment(Cell("sum", Site(layer, position), Fixed(2)), subspace)


@torch.no_grad()
def by_hand(name, text, layer=1):
    """What a forward hook sees of a text, alone and unpadded: (tokens, d)."""
    seen = []
    handle = (
        lm(name)
        .blocks[layer]
        .register_forward_hook(lambda _module, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output))
    )
    lm(name).model(torch.tensor([lm(name).tokenizer(text)["input_ids"]]))
    handle.remove()
    return seen[0].reshape(-1, 32)


@cache
def drawn():
    return task().model.sample(np.random.default_rng(0), NATURAL)


@cache
def natural(name, layer=1):
    return torch.stack([by_hand(name, text, layer)[-1] for text in task().render(drawn()).names])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_reading_is_that_of_a_hook_by_hand_whatever_texts_stand_beside(name):
    found, vector = alignment().monitor(lm(name), TEXTS, task=task()), alignment().feature.basis[:, 0, 0]
    for text, readings in zip(TEXTS, found.readings, strict=True):
        expected = ((by_hand(name, text) - natural(name).mean(0)) @ vector).numpy()
        np.testing.assert_allclose(readings[0], expected, atol=1e-5)
        np.testing.assert_allclose(readings, alignment().monitor(lm(name), text, task=task()).readings[0], atol=1e-5)
    spread = float((natural(name) @ vector).std())
    np.testing.assert_allclose(found.spreads, [spread], rtol=1e-4)
    np.testing.assert_allclose(found.scaled[0], found.readings[0] / spread, rtol=1e-4)


def test_a_band_has_a_row_for_each_layer_about_its_own_zero():
    found = alignment().monitor(lm("llama"), TEXTS[0], task=task(), layers="1..3")
    for row, layer in enumerate((1, 2, 3)):
        alone = alignment(layer).monitor(lm("llama"), TEXTS[0], task=task())
        np.testing.assert_allclose(found.readings[0][row], alone.readings[0][0], atol=1e-5)
    assert len(found.table) == 3 * len(found.pieces[0])
    assert [strip.label for strip in found.strips("layer")] == ["layer 1", "layer 2", "layer 3"]
    mean = [mark.value for mark in found.strips()[0].marks]
    np.testing.assert_allclose(mean, found.table.groupby("token")["spreads"].mean(), atol=1e-9)


def test_levels_are_named_and_lie_where_the_prompts_that_have_them_do():
    found = alignment().monitor(lm("llama"), TEXTS[0], task=task())
    names, groups = levels_of(task().hypothesis("sum").model.run(drawn())["total"])
    along = natural("llama") @ alignment().feature.basis[:, 0, 0]
    expected = [float((along[rows].mean() - along.mean()) / along.std()) for rows in groups]
    assert [level.name for level in found.levels] == names
    np.testing.assert_allclose([level.mean for level in found.levels], expected, atol=1e-4)
    assert levels_of(np.array([True, False, True]))[0] == ["False", "True"]
    assert levels_of(np.array(list("abcdefghijk")))[0] == []


# --- how it is shown ---


class Shown(HTMLParser):
    """The tokens of a page, as a browser has them."""

    def __init__(self, page):
        super().__init__()
        self.inside, self.tokens, self.tags = False, [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        if "data-about" in given:
            self.tokens.append([given["data-about"], float(given["style"].removeprefix("--s:")), ""])
        self.inside = "data-about" in given

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tokens[-1][2] += data


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_joined_are_the_text(text):
    cut = pieces(byte_tokenizer(), text)
    assert "".join(piece.text for piece in cut) == text
    assert len(cut) == 1 + len(text.encode())
    assert [piece.special for piece in cut] == [True] + [False] * len(text.encode())
    assert sum(piece.part for piece in cut) == len(text.encode()) - len(text)


def test_the_page_escapes_and_shows_every_token_with_its_value():
    found = alignment().monitor(lm("gpt2"), TEXTS[1], task=task())
    page = found.page()
    shown = Shown(page)
    assert len(shown.tokens) == len(found.pieces[0])
    assert not {"b", "script", "link", "img"} & set(shown.tags) - {"link"}
    assert "".join(text for *_, text in shown.tokens[1:]).replace("·", "") == TEXTS[1].replace("\n", "↵").replace("\t", "→")
    assert shown.tokens[0][2] == "<s>"
    for (about, share, _), value in zip(shown.tokens, found.scaled[0][0], strict=True):
        assert f"{value:+.2f}" in about
        assert share == pytest.approx(min(1, abs(value) / 3), abs=1e-3)
    assert not re.search(r"(src|href)=(?!\"data:,\")", page)
    assert "prefers-color-scheme: dark" in page


def test_the_picture_writes_every_letter_that_its_font_has():
    found = alignment().monitor(lm("gpt2"), TEXTS, task=task(), layers=[0, 1])
    said = written(found, "layer")
    assert said.count("n") >= 2
    assert "日" not in said
    assert "layer 1" in said
    assert "lines more" not in said
    assert "lines more" in written(alignment().monitor(lm("gpt2"), ["x" + "\n" * 90] * 2, task=task()))


def written(found, by="mean"):
    return "".join(text.get_text() for text in found.figure(by).axes[0].texts)


# --- from a run ---


def test_the_command_writes_what_the_run_reads(tmp_path, capsys):
    e = das.Experiment(
        "arithmetic", "arithmetic-tiny", hypotheses=["sum"], layers=[1], positions=["last"], subspace="lat", closed_forms=[],
        train_pairs=40, val_pairs=20, test_pairs=30, chosen_seeds=1, threads=1, logger="none",
    )  # fmt: skip
    run = e.run(tmp_path / "run")
    text = "Compute (2 + 3) * 4 ="
    (tmp_path / "text.txt").write_text(text, "utf-8")
    words = ["monitor", str(run.folder), "sum", "--file", str(tmp_path / "text.txt"), "--layers", "0..1", "--by", "layer"]
    assert main([*words, "--json", str(tmp_path / "read.json")]) == 0
    assert "monitor.html" in capsys.readouterr().out
    read, found = json.loads((tmp_path / "read.json").read_text()), run.monitor("sum", text, layers=[0, 1])
    np.testing.assert_allclose([row["spreads"] for row in read["tokens"]], found.table["spreads"], atol=1e-5)
    (folder,) = (run.folder / "monitor").iterdir()
    assert (folder / "monitor.html").read_text() == found.page("layer")
    assert (folder / "monitor.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["monitor", str(run.folder), "sum"]) == 2
    assert main([*words, "and a text"]) == 2


# --- what is refused ---


def test_what_cannot_be_read_is_refused():
    one, other = alignment(), alignment(variables=2)
    for mine, given, why in (
        (one, {"texts": "x" * 200}, "takes 128"),
        (one, {"texts": " "}, "empty text"),
        (one, {"texts": 3}, "expected a text"),
        (one, {"texts": "x", "task": None}, "give task="),
        (one, {"texts": "x", "layers": 9}, "layers 0 to 3"),
        (one, {"texts": "x", "variable": "b"}, "aligned variable 'b'"),
        (other, {"texts": "x", "task": None}, "say which, variable"),
        (Alignment(Cell("sum", Site(1, "last"), Fixed(1)), Whole()), {"texts": "x"}, "no directions"),
        (Alignment(Cell("sum", Site("1+2", "last"), Fixed(1)), one.feature), {"texts": "x"}, "several places"),
        (alignment(position="first"), {"texts": "x"}, "all alike"),
    ):
        with pytest.raises(DasError, match=re.escape(why)):
            mine.monitor(lm("gpt2"), **({"task": task()} | given))
    with pytest.raises(DasError, match="way to show layers 'rows'"):
        one.monitor(lm("gpt2"), "x", task=task()).page("rows")
