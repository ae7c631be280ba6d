"""A run folder knows what it was made from, and says what has changed."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

import das
from das import LM, DasError, Experiment, Run, load_task
from das.run.provenance import changes, provenance, weights
from das.task.tokenizer import make_tokenizer

TASK = """
from das import CausalModel, Choice, Given, Hypothesis, Prompt, Shift, Task
W = "a b c d e f g h i j".split()
LEAST = "e"

def helper(x, y):
    return x < y

def v(x, y):
    "What it is."
    return helper(x, y)  # as it should be

def out(v):
    return v

inputs = {"x": Choice(W), "y": Choice(W)}
prompt = Prompt("{x} {y} ?", {True: " yes", False: " no"})
SHIFTS = {"few": Given({"x": ["a", "b", "c", "d", "e", "f"]})}
task = Task(prompt, {"h": Hypothesis(CausalModel(v, out, inputs=inputs), "v")}, positions=("last",), shifts=SHIFTS)
"""
QUICK = {
    "layers": [0], "positions": ["last"], "subspace": "fixed:k=2", "steps": 2, "check_every": 2, "batch": 8, "chosen_seeds": 1, "closed_forms": [],
    "train_pairs": 32, "val_pairs": 16, "test_pairs": 32, "logger": "none",
}  # fmt: skip


def network(seed=0):
    tokenizer = make_tokenizer(["a b c d e f g h i j yes no ? ; maybe"])
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=2, eos_token_id=None, **shape)
    return LM(transformers.LlamaForCausalLM(config), tokenizer)


def project(folder, task=TASK, seed=0):
    """A project: a task, a network, and where its runs go."""
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    (folder / "tasks" / "letters.py").write_text(task)
    lm = network(seed)
    lm.model.save_pretrained(folder / "net")
    lm.tokenizer.save_pretrained(folder / "net")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a finished run, made from within it."""
    folder, before = tmp_path_factory.mktemp("project"), Path.cwd()
    project(folder)
    os.chdir(folder)
    try:
        Experiment("letters", "net", **QUICK).run("runs/x")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    """The project in another place, where we are."""
    folder = shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(folder)
    return folder


def again(**changes):
    return Experiment("letters", "net", **(QUICK | changes)).run("runs/x")


def test_a_measure_of_ones_own_is_named_and_held_against_its_code_where_it_is_used(tmp_path):
    def top(reply):
        return reply.logits.amax(-1)

    def least(reply):
        return reply.logits.amin(-1)

    project(tmp_path)
    task, lm = load_task(tmp_path / "tasks" / "letters.py"), network()
    mine = replace(task, measures={"top": top, "unused": least})
    used = provenance(mine, lm.tokenizer, lm, Experiment(mine, lm, **QUICK, measures=["top"], loss="top").own_measures)
    assert list(used["measures"]) == ["top"]
    assert "measures" not in provenance(mine, lm.tokenizer, lm, Experiment(mine, lm, **QUICK, measures=["kl"]).own_measures)
    assert changes(used, provenance(replace(task, measures={"top": top, "unused": top}), lm.tokenizer, lm)) == []
    other = changes(used, provenance(replace(task, measures={"top": least, "unused": least}), lm.tokenizer, lm))
    assert other == ["the task's function 'top', a measure or the loss"]


EDITS = {
    "mechanism": (("return x < y", "return x == y"), "mechanism 'v' of the task's hypothesis 'h'"),
    "what a mechanism calls": (("x < y", "(x < y) & (x != 'never')"), "mechanism 'v' of the task's hypothesis 'h'"),
    "words": (('"{x} {y} ?"', '"{x} ; {y} ?"'), "the prompt's words"),
    "answers": ((': " yes"', ': " maybe"'), "the answers' words"),
    "inputs": (('"y": Choice(W)', '"y": Choice(W[1:])'), "the inputs that the task draws"),
    "hypotheses": (('"h": Hyp', '"g": Hyp'), "the task's hypotheses"),
}


def written(folder):
    """Every file, and when it was written."""
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("nulls", [0, 2])
def test_a_changed_task_is_named_and_the_run_stays_as_it_is(name, nulls, copy):
    if nulls and name != "mechanism":
        pytest.skip("one kind of change is enough for added nulls")
    (old, new), words = EDITS[name]
    assert old in TASK
    project(copy, TASK.replace(old, new))
    before = written(copy / "runs")
    with pytest.raises(DasError, match="made from something else") as caught:
        again(nulls=nulls)
    assert words in str(caught.value)
    assert "give another folder" in str(caught.value)
    with pytest.raises(DasError, match="made from something else"):
        Run.open("runs/x").shift({"same": {"context": "a"}})
    assert written(copy / "runs") == before


def test_what_changes_nothing_is_no_change(copy):
    """Comments, docstrings, another shift."""
    text = TASK.replace("  # as it should be", "").replace('"What it is."', '"Something."').replace(" SHIFTS", "  SHIFTS")
    project(copy, text.replace("shifts=SHIFTS", "shifts={**SHIFTS, 'more': Given({'y': ['a', 'b']})}"))
    assert again().folder == Path("runs/x")


def test_other_weights_are_named(copy):
    project(copy, seed=1)
    with pytest.raises(DasError, match=r"the network's weights \(model.safetensors\) changed"):
        again()


def test_another_tokenizer_is_named(copy):
    """The same words, other numbers."""
    tokenizer = make_tokenizer(["a b c d e f g h i j yes no ? ; maybe"])
    body = json.loads(tokenizer.backend_tokenizer.to_str())
    words = body["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    path = copy / "net" / "tokenizer.json"
    path.write_text(json.dumps(body))
    with pytest.raises(DasError, match="the tokenizer"):
        again()


def test_a_changed_shift_is_named(copy):
    run = Run.open("runs/x")
    run.shift("few")
    project(copy, TASK.replace('"d", "e", "f"]', '"d", "e", "g"]'))
    with pytest.raises(DasError, match="shift 'few' has changed since"):
        run.shift("few")


def test_another_working_directory_finds_task_and_network(made, tmp_path, monkeypatch):
    folder = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    settings = Run.open(folder / "runs" / "x").settings()
    assert Path(settings.task) == folder / "tasks" / "letters.py"  # the copy's own, though the first project is there as well
    assert Path(settings.lm) == folder / "net"
    Run.open(folder / "runs" / "x").shift("few")
    alone = shutil.copytree(folder / "runs" / "x", tmp_path / "elsewhere" / "x")
    assert Path(Run.open(alone).settings().task) == made / "tasks" / "letters.py"


def test_from_where_it_was_made_names_stay_names(copy):
    settings = Run.open("runs/x").settings()
    assert (settings.task, settings.lm) == ("letters", "net")


def test_an_older_run_without_provenance_still_opens_and_shifts(copy):
    run = Run.open("runs/x")
    for name in ("provenance.json", ".sha256"):
        (run.folder / name).unlink()
    table = pd.read_parquet(run.folder / "pairs.parquet")
    old = table[[c for c in table if not c.startswith("prompt.")]]
    old.to_parquet(run.folder / "pairs.parquet")
    assert run.settings().task == "letters"
    assert len(run.test_bases("h")) == QUICK["test_pairs"]
    run.shift("few")
    again()
    assert (run.folder / "provenance.json").exists()


def test_the_object_of_a_network_is_known_by_its_tensors():
    lm, other = network(), network()
    assert weights(lm) == weights(other)
    with torch.no_grad():
        next(other.model.parameters())[0, 0] += 1e-3
    assert weights(lm) != weights(other)


def test_provenance_is_the_same_in_another_process(made, monkeypatch):
    kept = json.loads((made / "runs" / "x" / "provenance.json").read_text())["made_from"]
    monkeypatch.chdir(made)
    task = load_task("letters")
    now = json.loads(json.dumps(provenance(task, das.network.source.load_tokenizer("net"), "net")))
    assert now == kept
    assert changes(kept, now) == []
    renamed = replace(task, prompt=replace(task.prompt, template="{y} {x} ?"))
    assert changes(kept, provenance(renamed, das.network.source.load_tokenizer("net"), "net")) == ["the prompt's words"]


UNSTEADY = """
import os
from das import CausalModel, Hypothesis, Prompt, Sampler, Task
import numpy as np

def v(x, y):
    return x < y

def out(v):
    return v

def draw(rng, n):
    return np.array(list("abcdefghij"))[np.frombuffer(os.urandom(n), np.uint8) % 10]

inputs = {"x": Sampler(draw), "y": Sampler(draw)}
prompt = Prompt("{x} {y} ?", {True: " yes", False: " no"})
task = Task(prompt, {"h": Hypothesis(CausalModel(v, out, inputs=inputs), "v")}, positions=("last",))
"""


def test_pairs_that_are_not_drawn_again_are_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project(tmp_path, UNSTEADY)
    run = again()
    assert np.isfinite(run.table()["test_iia"]).all()
    with pytest.raises(DasError, match="not deterministic"):
        again(nulls=2)
