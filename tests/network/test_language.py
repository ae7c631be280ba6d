"""The tasks for real language models: labels and counterfactuals, by hand; a named network is found, or its absence is explained."""

import importlib.metadata

import huggingface_hub
import numpy as np
import pytest
import torch
from conftest import ROOT

from das import LM, DasError, load_task
from das.cli import main
from das.network.named import NAMED, Known, Named
from das.network.source import load_config, load_tokenizer
from das.task.positions import expand_positions

NAME = "smollm2-135m"
TASKS = ("ioi", "countries", "agreement", "copying")
REACHABLE = NAMED[NAME].cached or NAMED[NAME].file is not None
here = pytest.mark.skipif(not REACHABLE, reason="needs: make smollm2")


def rows(*columns):
    """A row per tuple of values, by column name."""
    return {name: np.array(column) for name, *column in zip(*columns, strict=True)}


IOI = (
    ("one", "two", "giver", "place", "gift"),
    ("Mary", "Dan", "Dan", "park", "key"),
    ("Anna", "Paul", "Anna", "store", "book"),
)
SHOWN = "Peru - capital: Lima\nKenya - language: Swahili\nJapan - continent: Asia"
COUNTRIES = (
    ("shown", "country", "attribute"),
    (SHOWN, "France", "capital"),
    (SHOWN, "France", "continent"),
    (SHOWN, "Egypt", "language"),
)
AGREEMENT = (("subject", "where", "nearest"), ("keys", "near", "door"), ("dog", "behind", "walls"), ("boys", "near", "chairs"))
COPYING = (
    ("a", "x", "b", "y", "c", "z", "again"),
    ("Emma", "Hill", "Dan", "Clark", "Paul", "Moore", "Dan"),
    ("Kate", "Baker", "Mark", "Lewis", "Anna", "Davis", "Anna"),
)

LABELS = {
    "ioi": (IOI, ["Mary", "Paul"]),
    "countries": (COUNTRIES, ["Paris", "Europe", "Arabic"]),
    "agreement": (AGREEMENT, ["are", "is", "are"]),
    "copying": (COPYING, ["Clark", "Davis"]),
}

COUNTERFACTUALS = {
    # each row takes the variable from the next one, the last from the first
    ("ioi", "position"): ["Dan", "Anna"],
    ("ioi", "token"): ["Paul", "Mary"],
    ("ioi", "alphabet"): ["Mary", "Paul"],  # Dan and Anna are both the earlier names
    ("countries", "capital"): ["Paris", "Europe", "Arabic"],  # of France; of Egypt, not asked; of France, not asked
    ("countries", "language"): ["Paris", "Europe", "French"],
    ("countries", "country"): ["Paris", "Africa", "French"],
    ("countries", "alphabet"): ["Paris", "Europe", "Arabic"],  # Egypt and France are both in the first half
    ("agreement", "subject"): ["is", "are", "are"],
    ("agreement", "nearest"): ["is", "is", "is"],
    ("copying", "place"): ["Moore", "Lewis"],
    ("copying", "surname"): ["Davis", "Clark"],
    ("copying", "alphabet"): ["Clark", "Davis"],  # Dan and Anna are both the first names
}


@pytest.mark.parametrize("name", TASKS)
def test_labels_are_those_made_by_hand(name):
    table, answers = LABELS[name]
    task = load_task(ROOT / "tasks" / f"{name}.py")
    for hypothesis in task.hypotheses.values():
        assert hypothesis.model.run(rows(*table))[hypothesis.model.output].tolist() == answers


@pytest.mark.parametrize(("name", "hypothesis"), COUNTERFACTUALS)
def test_counterfactuals_are_those_made_by_hand(name, hypothesis):
    base = rows(*LABELS[name][0])
    source = {field: np.roll(column, -1) for field, column in base.items()}
    found = load_task(ROOT / "tasks" / f"{name}.py").hypothesis(hypothesis)
    swapped = found.model.interchange(base, dict.fromkeys(found.variables, source))
    assert swapped[found.model.output].tolist() == COUNTERFACTUALS[name, hypothesis]


@pytest.mark.parametrize(
    ("hypothesis", "base", "source", "answer"),
    [
        ("capital", ("France", "capital"), ("Egypt", "language"), "Cairo"),
        ("capital", ("France", "continent"), ("Egypt", "capital"), "Europe"),
        ("continent", ("France", "continent"), ("Egypt", "capital"), "Africa"),
        ("language", ("Egypt", "language"), ("Spain", "capital"), "Spanish"),
        ("alphabet", ("Algeria", "capital"), ("Spain", "capital"), "Rome"),  # the 1st of 12 → the 1st of the other 12
    ],
)
def test_an_attribute_is_swapped_alone(hypothesis, base, source, answer):
    found = load_task(ROOT / "tasks" / "countries.py").hypothesis(hypothesis)
    one, other = (rows(("shown", "country", "attribute"), (SHOWN, *asked)) for asked in (base, source))
    assert found.model.interchange(one, {found.variables[0]: other})[found.model.output].tolist() == [answer]


def test_nearest_noun_of_another_number_would_change_the_verb():
    found = load_task(ROOT / "tasks" / "agreement.py").hypothesis("nearest")
    base, source = rows(*AGREEMENT[:2]), rows(AGREEMENT[0], AGREEMENT[2])
    assert found.model.interchange(base, {"nearest_number": source})["verb_of_nearest"].tolist() == ["is"]


# --- the network ---


@pytest.fixture
def nowhere(monkeypatch):
    """A machine without the package, the hub's cache and the hub."""

    def absent(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("das.network.named.files", absent)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("das.network.source._hub_answers", lambda: False)


@pytest.mark.parametrize("load", [load_tokenizer, load_config, LM.load])
def test_a_network_that_is_not_here_says_how_to_get_it(load, nowhere):
    with pytest.raises(DasError, match=r"smollm2-135m is not here and the hub cannot be reached: make smollm2 installs it"):
        load(NAME)


def test_a_mistyped_network_names_the_nearest_and_asks_no_hub(monkeypatch):
    monkeypatch.setattr("das.network.source._hub_answers", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(DasError, match="did you mean 'smollm2-135m'"):
        load_tokenizer("smolm2-135m")


def test_the_hubs_copy_is_taken_from_its_cache_first_then_the_packages_file_then_the_hub(nowhere, monkeypatch, tmp_path):
    from das.network.source import _where

    hub = NAMED[NAME].hub
    monkeypatch.setattr("das.network.source._hub_answers", lambda: True)
    assert _where(NAME) == (hub, {})
    (tmp_path / "small.gguf").touch()
    held = importlib.metadata.PackagePath("small.gguf")
    held.dist = type("Held", (), {"locate_file": staticmethod(lambda path: tmp_path / path)})
    monkeypatch.setattr("das.network.named.files", lambda _: [held])
    assert _where(NAME) == (str(tmp_path), {"gguf_file": "small.gguf"})
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "somewhere")
    assert _where(NAME) == (hub, {"local_files_only": True})


@here
def test_every_task_is_sound_with_its_tokenizer():
    tokenizer = load_tokenizer(NAME)
    for name in TASKS:
        task = load_task(ROOT / "tasks" / f"{name}.py")
        task.check(tokenizer)
        for change in task.shifts.values():
            task.check_shift(change, tokenizer, expand_positions(task.positions))


@here
def test_it_knows_the_capital_of_france():
    lm = LM.load(NAME)
    ids = torch.tensor([lm.tokenizer("The capital of France is")["input_ids"]])
    assert lm.tokenizer.decode(lm.model(ids).logits[0, -1].argmax()) == " Paris"
    assert (lm.layers, lm.width) == (30, 576)


# --- a copy of a network of which something is published ---


@pytest.fixture
def published(monkeypatch):
    """Says of a network what the shipped one really shows."""

    def say(tokens=79, accuracy=0.99):
        known = {"price_tagging": Known(tokens, accuracy)}
        monkeypatch.setitem(NAMED, "somebody", Named("some/body", "ask", known=known))

    return say


CHECK = ["check", "price_tagging", "--lm", "price-tagger-tiny", "--like", "somebody"]


@pytest.mark.slow
def test_a_true_copy_passes(published, capsys):
    published()
    assert main(CHECK) == 0
    assert "as published of somebody: 79 tokens, accuracy 0.99 (0.99)" in capsys.readouterr().out


def test_another_tokenizer_is_found_before_weights_are_loaded(published, capsys, monkeypatch):
    monkeypatch.setattr(LM, "load", lambda *_: pytest.fail("weights were loaded"))
    published(tokens=82)
    assert main(CHECK) == 2
    assert "this copy makes 79 tokens of the prompt, somebody 82" in capsys.readouterr().err


@pytest.mark.slow
def test_other_weights_are_found(published, capsys):
    published(accuracy=0.85)
    assert main(CHECK) == 2
    captured = capsys.readouterr()
    assert "of the prompts correctly, somebody 0.85: other weights?" in captured.err
    assert "new_brackets" in captured.out  # what was measured is shown all the same


def test_like_needs_a_network_that_has_a_name(capsys):
    assert main([*CHECK[:-1], "alpaca"]) == 2
    assert "did you mean 'alpaca-7b'" in capsys.readouterr().err


def test_alpacas_shape_is_known_without_any_file_of_it(nowhere):
    config = load_config("alpaca-7b")
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (4096, 32, 32001)
    with pytest.raises(DasError, match=r"configs/alpaca/README\.md says how to get it"):
        LM.load("alpaca-7b")
