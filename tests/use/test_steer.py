"""Steering by an alignment: what a hook by hand gives, several at once, beside a held swap, or a clear error."""

import json
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch

import das
from das import DasError, Experiment, load_task
from das.cli import main
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.feature import Whole
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.planted.planting import plant
from das.use.directed import levels_of
from das.use.steer import ways_of

TEXTS = ["Compute (2 + 3) * 4 =", "Compute (5 + 13) * 4 =", "2 + 3 ="]


@cache
def lm():
    return LM.load("arithmetic-tiny")


def alignment(columns=2, variables=1, seed=0, layer=1, position="last"):
    basis = random_basis(lm().width, columns * variables, torch.Generator().manual_seed(seed))
    subspace = Subspace(basis.unflatten(1, (variables, columns)), torch.ones(variables, columns))
    return Alignment(Cell("sum", Site(layer, position), Fixed(columns)), subspace)


def ids(text):
    return torch.tensor([lm().tokenizer(text)["input_ids"]])


@torch.no_grad()
def by_hand(text, change, steps=4, layers=(1,), first=-1):
    """Greedy by full forwards; from a column of the prompt on, what `change` makes of the layers' vectors."""
    start, answer = ids(text).shape[1] + first, ids(text)

    def hook(_module, _inputs, hidden):
        return torch.cat([hidden[:, :start], change(hidden[:, start:])], 1)

    with hooked(dict.fromkeys(layers, hook)):
        for _ in range(steps):
            answer = torch.cat([answer, lm().model(answer, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return answer[0, -steps:].tolist()


@contextmanager
def hooked(hooks):
    """Layer → a hook on it."""
    handles = [lm().blocks[layer].register_forward_hook(hook) for layer, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def vector(seed=0):
    return alignment(seed=seed).feature.basis[:, 0, 0]


@torch.no_grad()
def source(text, layer=1):
    """What a text has at its last token."""
    return lm().model(ids(text), output_hidden_states=True).hidden_states[layer + 1][0, -1]


BASIS, SOURCE = alignment().feature.basis[:, 0], source(TEXTS[1])
WAYS = {
    "add": ({"alpha": 9.0}, lambda h: h + 9 * vector()),
    "a band": ({"alpha": 4.0, "layers": "0..2"}, lambda h: h + 4 * vector()),
    "piecewise": ({"operator": "piecewise", "alpha": -8.0}, lambda h: h - 8 * (h @ vector()).sign()[..., None] * vector()),
    "project_out": ({"operator": "project_out"}, lambda h: h - h @ BASIS @ BASIS.T),
    "interchange": ({"operator": "interchange", "source": TEXTS[1]}, lambda h: h + (SOURCE - h) @ BASIS @ BASIS.T),
}  # fmt: skip


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", WAYS)
def test_texts_of_unequal_length_go_on_as_each_does_under_a_hook_by_hand(name, cached):
    way, change = WAYS[name]
    found = alignment().steer(lm(), TEXTS, tokens=4, options={"use_cache": cached}, **way)
    layers = (0, 1, 2) if name == "a band" else (1,)
    assert found.tokens["after"] == [by_hand(text, change, layers=layers) for text in TEXTS]
    assert found.tokens["before"] == [by_hand(text, lambda h: h) for text in TEXTS]


def test_tokens_of_the_prompt_are_steered_where_they_are_named():
    for position, first in (("all", -ids(TEXTS[0]).shape[1]), (-1, -1)):
        found = alignment().steer(lm(), TEXTS[0], alpha=9.0, position=position, new="all", tokens=4)
        assert found.tokens["after"] == [by_hand(TEXTS[0], lambda h: h + 9 * vector(), first=first)]
    one = alignment().steer(lm(), TEXTS[0], alpha=60.0, position="last", tokens=4)
    assert one.tokens == alignment().steer(lm(), TEXTS[0], alpha=60.0, new=0, tokens=4).tokens
    assert one.tokens["after"] != one.tokens["before"]


def test_each_prompt_has_its_own_source_and_its_own_contrast():
    others = [TEXTS[1], TEXTS[2], TEXTS[0]]
    together = alignment().steer(lm(), TEXTS, operator="interchange", source=others, tokens=3)
    contrast = alignment().steer(lm(), TEXTS, operator="contrast", plus=others, minus=TEXTS[0], alpha=2.0, tokens=3)
    for row, (text, other) in enumerate(zip(TEXTS, others, strict=True)):
        alone = alignment().steer(lm(), text, operator="interchange", source=other, tokens=3)
        assert together.tokens["after"][row] == alone.tokens["after"][0]
        alone = alignment().steer(lm(), text, operator="contrast", plus=other, minus=TEXTS[0], alpha=2.0, tokens=3)
        assert contrast.tokens["after"][row] == alone.tokens["after"][0]
    assert contrast.tokens["after"] != contrast.tokens["before"]


def test_several_steer_at_once_and_beside_a_held_swap():
    one, other, swap = alignment(), alignment(seed=1), alignment(seed=2, layer=0)
    with torch.no_grad(), one.steered(lm(), alpha=9.0) as model, other.steered(lm(), alpha=-7.0, position="last", new="all"):
        both = model.generate(ids(TEXTS[0]), max_new_tokens=4, do_sample=False)[0, -4:].tolist()
    assert both == by_hand(TEXTS[0], lambda h: h + 9 * vector() - 7 * vector(1))
    with torch.no_grad(), das.swapped(lm(), swap, TEXTS[1]) as model, one.steered(lm(), alpha=9.0):
        found = model(ids(TEXTS[0])).logits[0, -1]
    basis, put = swap.feature.basis[:, 0], source(TEXTS[1], 0)
    swapped = lambda _module, _inputs, h: at_last(h, lambda last: last + (put - last) @ basis @ basis.T)  # noqa: E731
    added = lambda _module, _inputs, h: at_last(h, lambda last: last + 9 * vector())  # noqa: E731
    with torch.no_grad(), hooked({0: swapped, 1: added}):
        expected = lm().model(ids(TEXTS[0])).logits[0, -1]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def at_last(hidden, change):
    return torch.cat([hidden[:, :-1], change(hidden[:, -1:])], 1)


def test_more_of_a_planted_direction_gives_the_answers_of_one_of_its_values_and_less_those_of_the_other():
    made = plant(1)
    mine = Alignment(Cell("code", Site(0, "last"), Fixed(1)), Subspace(made.basis[:, None], torch.ones(1, 1)))
    settings = {"x": np.array([0, 0, 1, 1]), "y": np.array([0, 1, 0, 1]), "noise": np.arange(4)}
    prompts, said = made.task.encode(settings, made.lm.tokenizer), []
    for dose in (-3, 3):
        with torch.no_grad(), mine.steered(made.lm, spreads=dose, task=made.task):
            tokens = made.lm.logits(prompts).argmax(-1)
        said.append([int(made.lm.tokenizer.decode(token)) for token in tokens.tolist()])
    codes = [[code ^ y for y in settings["y"]] for code in (0, 1)]
    assert said in (codes, codes[::-1])


# --- from a run, on the command line ---


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    small = {"layers": [1], "positions": ["last"], "steps": 8, "batch": 30, "check_every": 4, "chosen_seeds": 1, "threads": 1}
    sizes = {"train_pairs": 60, "val_pairs": 30, "test_pairs": 40, "subspace": "nested:k=4", "logger": "none"}
    e = Experiment("arithmetic", "arithmetic-tiny", hypotheses=["sum"], **small, **sizes)
    return e.run(tmp_path_factory.mktemp("steer") / "run")


def test_the_command_says_what_the_run_says(run, capsys, tmp_path):
    more = "[{cell: sum, spreads: -3, position: -2}]"
    words = [
        "steer",
        str(run.folder),
        "sum",
        "--prompt",
        "{a: 2, b: 3, c: 4}",
        "--spreads",
        "4",
        "--tokens",
        "3",
        "--also",
        more,
    ]
    assert main([*words, "--json", str(tmp_path / "said.json")]) == 0
    assert "after" in capsys.readouterr().out
    said = json.loads((tmp_path / "said.json").read_text())
    also = [{"cell": "sum", "spreads": -3, "position": -2}]
    assert said["generated"] == run.steer("sum", {"a": 2, "b": 3, "c": 4}, also, spreads=4, tokens=3).texts
    with run.steered("sum", spreads=4.0) as model, run.steered("sum", spreads=-3.0, position=-2), torch.no_grad():
        text = model.generate(ids(TEXTS[0]), max_new_tokens=3, do_sample=False)[0, -3:]
    assert said["generated"]["after"] == [lm().tokenizer.decode(text)]


def test_a_spread_is_the_standard_deviation_of_the_tasks_prompts_along_the_direction():
    task, mine = load_task("arithmetic"), alignment()
    inputs = task.model.sample(np.random.default_rng(0), 256)
    texts = task.render(inputs).names
    along = torch.stack([source(text) for text in texts]) @ vector()
    found = mine.steer(lm(), TEXTS[:1], spreads=2.0, tokens=4, task=task)
    assert found.tokens == mine.steer(lm(), TEXTS[:1], alpha=2 * float(along.std()), tokens=4).tokens


def test_a_reader_is_told_which_end_of_the_direction_is_which_and_answers_are_as_long_as_the_tasks():
    task, setting = load_task("arithmetic"), {"a": 2, "b": 3, "c": 4}
    found = alignment().steer(lm(), setting, alpha=1, task=task)
    assert [len(rows[0]) for rows in found.tokens.values()] == [1, 1]
    inputs = task.model.sample(np.random.default_rng(0), 256)
    along = (torch.stack([source(text) for text in task.render(inputs).names]) @ vector()).numpy()
    names, groups = levels_of(task.hypothesis("sum").model.run(inputs)["total"])
    for name, rows in zip(names, groups, strict=True):
        assert f"{along[rows].mean():+.2f} ({name})".replace("-", "−") in found.what
    longer = alignment().steer(lm(), TEXTS[0], alpha=1)
    assert longer.what.endswith("s0")
    assert len(longer.tokens["after"][0]) == 20


# --- what is refused ---

REFUSED = {
    "operator 'plus'": {"operator": "plus"},
    "needs alpha or spreads": {},
    "one of them": {"alpha": 1, "spreads": 1},
    "takes no alpha": {"operator": "project_out", "alpha": 1},
    "needs source": {"operator": "interchange"},
    "needs minus": {"operator": "contrast", "plus": "a"},
    "takes no source": {"alpha": 1, "source": "a"},
    "option 'alhpa'": {"alhpa": 1},
    "layers 0 to 3": {"alpha": 1, "layers": 7},
    "from the lower": {"alpha": 1, "layers": "3..1"},
    "band such as": {"alpha": 1, "layers": []},
    "new is": {"alpha": 1, "new": -1},
    "number": {"alpha": "much"},
    "aligned variable 'b'": {"alpha": 1, "variable": "b"},
    "spreads are measured": {"spreads": 1},
    "2 sources and 3 prompts": {"operator": "interchange", "source": TEXTS[:2]},
    "2 contrasting prompts": {"operator": "contrast", "plus": TEXTS[:2], "minus": "2"},
    "leave position out": {"operator": "contrast", "plus": "1", "minus": "2", "position": 1},
    "no token 99": {"alpha": 1, "position": 99},
    "unknown to the tokenizer, such as .foo": {"operator": "interchange", "source": "2 + foo ="},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_is_refused(why):
    with pytest.raises(DasError, match=why):
        alignment().steer(lm(), TEXTS, **REFUSED[why])


def test_alignments_that_do_not_steer_say_so():
    for mine, why in (
        (alignment(variables=2), "say which, variable"),
        (Alignment(Cell("sum", Site("1+2", "last"), Fixed(1)), alignment().feature), "several places"),
        (Alignment(Cell("sum", Site(1, "last", "mlp_neurons"), Fixed(1)), alignment().feature), "not of vectors of"),
        (Alignment(Cell("sum", Site(1, "last"), Fixed(1)), Whole()), "no directions"),
    ):
        with pytest.raises(DasError, match=why):
            mine.steer(lm(), TEXTS, alpha=1)
    with pytest.raises(DasError, match="with a cell"):
        ways_of([{"alpha": 1}], lambda cell: None)
