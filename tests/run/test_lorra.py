"""LoRRA: the adapter brings representations to their target, leaves all else as it was, and is a network to be judged as any."""

import json

import pytest
import torch
from safetensors.torch import load_file

from das import LM, CausalModel, Choice, DasError, Experiment, FitSettings, Hypothesis, Prompt, Shift, Task
from das.cli import main
from das.find.alignment import Alignment, Cell
from das.find.kinds import Fixed
from das.interchange.subspace import Subspace, random_basis
from das.network.site import Site
from das.run.fit import fit
from das.run.lorra import Lorra

COLOURS, SIZES = ["red", "green", "blue", "grey"], ["big", "small", "wide", "flat"]
ANSWERS = {True: " yes", False: " no"}


def cold(colour):
    return (colour == "green") | (colour == "blue")


def wear(cold):
    return ~cold


HATS = Task(
    Prompt("The {size} hat is {colour} . Wear it ?", ANSWERS),
    {"cold": Hypothesis(CausalModel(cold, wear, inputs={"colour": Choice(COLOURS), "size": Choice(SIZES)}), "cold")},
    shifts={"short": Shift(prompt=Prompt("{size} {colour} hat ?", ANSWERS))},
    name="hats",
)
WARM, COLD = {"set": {"colour": "red"}}, {"set": {"colour": "blue"}}
QUICK = {"alpha": 0.5, "layers": [1], "lr": 0.03, "steps": 50, "rank": 4}
EVERY = [(size, colour) for size in SIZES for colour in COLOURS]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A network that knows the task."""
    out = tmp_path_factory.mktemp("base") / "net"
    fit(FitSettings(HATS, str(out), width=32, layers=3, heads=2, steps=40, batch=32, lr=0.01, threads=1))
    return out


def settings(base, out, lorra):
    return FitSettings(HATS, str(out), base=str(base), lorra=lorra, threads=1, exam=200)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("lorra") / "adapter"
    fit(settings(base, out, {"plus": WARM, "minus": COLD, **QUICK}))
    return out


@torch.no_grad()
def had(lm, hats, layer=1):
    """What prompts about hats have at their last token."""
    ids = torch.tensor([lm.tokenizer(f"The {size} hat is {colour} . Wear it ?")["input_ids"] for size, colour in hats])
    return lm.model(ids, output_hidden_states=True).hidden_states[layer + 1][:, -1]


def asked(colour):
    """The same hats, all of this colour."""
    return [(size, colour) for size, _ in EVERY]


def test_the_target_is_approached(base, adapter):
    before, after = LM.load(str(base)), LM.load(str(adapter))
    own, plus, minus = (had(before, hats) for hats in (EVERY, asked("red"), asked("blue")))
    target = own + 0.5 * (plus - minus)
    far, near = ((vectors - target).norm(dim=-1).mean() for vectors in (own, had(after, EVERY)))
    assert near < 0.4 * far
    known = json.loads((adapter / "card.json").read_text())["distance"]
    assert known == pytest.approx([float(far), float(near)], rel=0.25)  # of prompts that were drawn from these


def test_all_weights_but_queries_and_values_up_to_the_target_stay_as_they_were(base, adapter):
    before, after = (LM.load(str(folder)).model.state_dict() for folder in (base, adapter))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    touched = {f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "qv"}
    assert changed == touched
    kept = load_file(adapter / "adapter_model.safetensors")
    assert {name.split(".lora_")[0].removeprefix("base_model.model.") + ".weight" for name in kept} == touched


def test_the_adapted_network_is_judged_as_any_other(adapter, tmp_path):
    sizes = {"train_pairs": 8, "val_pairs": 4, "test_pairs": 4, "steps": 2, "batch": 4, "check_every": 2, "chosen_seeds": 1}
    kinds = {"layers": [1], "positions": ["last"], "subspace": "fixed:k=1", "closed_forms": []}
    run = Experiment(HATS, str(adapter), **sizes, **kinds, threads=1, logger="none").run(tmp_path / "run")
    assert run.summary["hypotheses"]["cold"]["verdict"]["verdict"]
    scores = json.loads((adapter / "card.json").read_text())["accuracy"]
    assert list(scores) == ["base", "short"]


def test_a_direction_that_was_found_is_a_target_too(base, tmp_path):
    vector = random_basis(32, 1, torch.Generator().manual_seed(0))
    found = Alignment(Cell("cold", Site(1, "last"), Fixed(1)), Subspace(vector[:, None], torch.ones(1, 1)))
    found.save(tmp_path / "cell")
    fit(settings(base, tmp_path / "along", {"along": str(tmp_path / "cell"), "beta": 3.0, **QUICK}))
    before, after = LM.load(str(base)), LM.load(str(tmp_path / "along"))
    moved = (had(after, EVERY) - had(before, EVERY)) @ vector[:, 0]
    assert (moved > 1.5).all()


def test_a_way_may_be_a_shift_and_answers_follow_every_way(base):
    from das.run.representations import Representations

    towards = Representations(
        HATS, LM.load(str(base)), Lorra("short", {"of": "short", "set": {"colour": "grey"}}), str(base), 0
    )
    prompts, there = towards.batch(3)
    assert set(prompts) == {"base", "plus", "minus"}
    assert prompts["plus"].lengths.max() < prompts["base"].lengths.min()
    assert there.shape == (16, 1)
    assert there.all()


def test_defaults_are_those_of_the_method():
    made = FitSettings(HATS, "x", base="smollm2-135m", lorra={"plus": WARM, "minus": COLD})
    assert (made.rank, made.lr, made.batch, made.steps, made.lora) == (8, 3e-4, 16, 70, True)
    assert made.lorra["alpha"] == 5
    assert Lorra("a", "b").layers_of(32) == [10, 12, 14, 16, 18, 20]


REFUSED = {
    "needs plus and minus": {},
    "plus and minus, two ways": {"plus": "short"},
    "beta and along go together": {"plus": "short", "minus": "base", "beta": 1},
    "setting of lorra 'plsu'": {"plsu": "short"},
    "has layers 0 to 2": {"plus": "short", "minus": "base", "layers": [5]},
    "shift 'shrt'": {"plus": "shrt", "minus": "base"},
    "input 'hat'": {"plus": {"set": {"hat": 1}}, "minus": "base"},
    "expected a mapping": [1],
    "steps is": {"plus": "short", "minus": "base", "steps": 0},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_written(why, base, tmp_path):
    with pytest.raises(DasError, match=why.replace("steps is", "lorra: steps is")):
        fit(settings(base, tmp_path / "out", REFUSED[why]))
    assert not list(tmp_path.iterdir())


def test_on_the_command_line_it_needs_a_base_and_says_things_once(capsys, tmp_path):
    words = ["fit-lm", "price_tagging", "--lorra", "{plus: short, minus: base}", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert "lora needs a network to adapt" in capsys.readouterr().err
    assert main([*words, "--base", "price-tagger-tiny", "--steps", "9"]) == 2
    assert "with lorra say it there" in capsys.readouterr().err
