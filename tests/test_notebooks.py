"""Notebooks run from top to bottom, and hold what they showed. Here they run small, one after another in one process and one
folder, so that those which share a run make it once; `jupyter execute --inplace notebooks/*.ipynb` runs them as they are."""

import ast
import json
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from das.run.fit import fit
from das.run.fit_settings import FitSettings

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {
    "layers": [1], "positions": ["last"], "steps": 2, "batch": 8, "check_every": 2, "train_pairs": 40, "val_pairs": 20,
    "test_pairs": 40, "chosen_seeds": 1, "nulls": 2, "answered": ("right", "all"), "text": "countries",
}  # fmt: skip
"""In place of `size` in a notebook's cell that is tagged `parameters`; a network that does not ship with das is one of bytes."""

TAUGHT = {"8_fact_editing": "fact_editing", "10_how_facts_travel": "countries"}
"""Notebooks that need a network which answers their task: a small one learns it first."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("repository") / "notebooks"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def network(folder):
    """An untrained network that reads any text, byte by byte."""
    made, tokenizer = folder.parent / "models" / "bytes", byte_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(made)
    tokenizer.save_pretrained(made)
    return str(made)


@pytest.fixture(scope="module")
def taught(folder):
    """Task → a network of three layers that answers it, shifts among it."""

    @cache
    def made(task):
        out, small = folder.parent / "models" / task, {"width": 64, "layers": 3, "heads": 2, "steps": 150, "batch": 64}
        scores = fit(FitSettings(task, str(out), **small, lr=0.01, exam=100, threads=1))
        assert min(scores.values()) > 0.8
        return str(out)

    return made


def code(path):
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def shown(source, names):
    """What a notebook would show of a cell: the value of the expression that it ends with."""
    body = ast.parse(source.removeprefix("%matplotlib inline\n")).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, folder, network, taught, monkeypatch):
    monkeypatch.chdir(folder)
    names, lm = {}, taught(TAUGHT[path.stem]) if path.stem in TAUGHT else network
    for cell in code(path):
        shown("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= {"size": {key: (SMALL | {"lm": lm})[key] for key in names["size"]}, "anew": 0.0}
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_holds_what_it_showed(path):
    outputs = [output for cell in code(path) for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in code(path))
    assert not any(output["output_type"] == "error" for output in outputs)
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert path.stat().st_size < 400_000
