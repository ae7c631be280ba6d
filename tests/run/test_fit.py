"""Training a network on a task: it learns, a killed training goes on to the same weights, and nothing is left half done."""

import json
import re
import signal
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from das import LM, CausalModel, Choice, DasError, FitSettings, Hypothesis, Prompt, Shift, Task
from das.cli import main
from das.interchange.accuracy import correct, task_accuracy
from das.run.fit import fit, variants

COLOURS = Choice(["red", "green", "blue", "grey"])
ANSWERS = {True: " yes", False: " no"}


def cold(colour):
    return (colour == "green") | (colour == "blue")


def wear(cold):
    return ~cold


MODEL = CausalModel(cold, wear, inputs={"colour": COLOURS})
OTHERS = CausalModel(lambda colour: colour == "grey", inputs={"colour": COLOURS})
TOY = Task(
    Prompt("The hat is {colour} . Wear it ?", ANSWERS),
    {"cold": Hypothesis(MODEL, "cold")},
    shifts={"short": Shift(prompt=Prompt("{colour} hat ?", ANSWERS))},
    siblings={"grey": Shift(prompt=Prompt("Is {colour} grey ?", ANSWERS), model=OTHERS)},
    name="hats",
)
TINY = {"width": 32, "layers": 1, "heads": 2, "steps": 40, "batch": 32, "lr": 0.01, "threads": 1}


def settings(out, **changes):
    return FitSettings(TOY, str(out), **(TINY | changes))


class Stopper:
    """A reporter that raises at a step."""

    def __init__(self, at, error):
        self.at, self.error = at, error

    def say(self, text):
        pass

    @contextmanager
    def task(self, name, total):
        def step(done, note):
            if done == self.at and "parameters" in name:  # in training
                raise self.error

        yield step


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a network, and what training it returned."""
    out = tmp_path_factory.mktemp("fit") / "models" / "hats"
    return out, fit(settings(out))


def test_a_network_learns_every_variant(trained):
    out, scores = trained
    assert list(scores) == variants(TOY) == ["base", "short", "grey"]
    assert min(scores.values()) >= 0.95
    card = json.loads((out / "card.json").read_text())
    assert card["accuracy"] == scores
    assert card["task"] == "hats"


def test_the_folder_loads_and_answers_as_was_said(trained):
    out, scores = trained
    lm = LM.load(str(out))
    assert task_accuracy(TOY, lm, 2000) == {name: scores[name] for name in ("base", "short")}
    assert task_accuracy(TOY, lm, 10, ["grey"]).keys() == {"grey"}


def test_only_a_whole_network_is_left(trained):
    out, _ = trained
    assert [path.name for path in out.parent.iterdir()] == ["hats"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "card.json"} <= {path.name for path in out.iterdir()}
    assert not [path for path in out.iterdir() if path.suffix == ".ckpt" or path.name == "settings.json"]


def test_a_prompt_is_answered_correctly_or_not_row_by_row(trained):
    lm, inputs = LM.load(str(trained[0])), MODEL.enumerate()
    right = correct(TOY.variant("base"), lm, inputs)
    assert right.all()
    yes, no = (lm.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    with torch.no_grad():
        head = lm.model.lm_head.weight
        head[[yes, no]] = head[[no, yes]]
    assert not correct(TOY.variant("base"), lm, inputs).any()
    assert correct(TOY.variant("grey"), lm, inputs).shape == (4,)


@pytest.mark.parametrize("error", [RuntimeError("killed"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_a_stopped_training_goes_on_to_the_same_weights(trained, tmp_path, error):
    out, seen, handler = tmp_path / "hats", [], signal.getsignal(signal.SIGINT)
    with pytest.raises(type(error)):
        fit(settings(out), Stopper(26, error))
    assert signal.getsignal(signal.SIGINT) is handler
    assert not out.exists()
    assert (tmp_path / "hats.partial" / "last.ckpt").exists()
    follow = Stopper(None, None)
    follow.task = contextmanager(lambda name, total: iter([lambda done, note: seen.append(done)]))
    assert fit(settings(out), follow) == trained[1]
    assert seen[0] == 25
    assert [path.name for path in tmp_path.iterdir()] == ["hats"]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, trained[0]))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("moment", ["das.run.fit.task_accuracy", "shutil.rmtree"])
def test_a_training_that_is_stopped_while_it_saves_leaves_all_or_nothing(trained, tmp_path, monkeypatch, moment):
    def stop(*_, **__):
        raise RuntimeError("killed")

    out = tmp_path / "hats"
    with monkeypatch.context() as patch:
        patch.setattr(moment, stop)
        with pytest.raises(RuntimeError, match="killed"):
            fit(settings(out))
    if out.exists():
        assert {path.name for path in out.iterdir()} == {path.name for path in trained[0].iterdir()}
    else:
        assert fit(settings(out), Stopper(1, AssertionError("trained anew"))) == trained[1]


def test_other_settings_do_not_go_on_with_a_stopped_training(tmp_path):
    out = tmp_path / "hats"
    with pytest.raises(RuntimeError, match="killed"):
        fit(settings(out), Stopper(5, RuntimeError("killed")))
    with pytest.raises(DasError, match=r"hats\.partial was begun with .*remove it"):
        fit(settings(out, lr=0.02))


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    with pytest.raises(DasError, match=re.escape(f"{tmp_path} exists already: give another folder, or remove it")):
        fit(settings(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        ({0: {"base": 1.0, "shrt": 1.0}}, "unknown variant in the mix 'shrt': did you mean 'short'"),
        ({0: {"base": 1.0}, 20: {"gray": 1.0}}, "unknown variant in the mix 'gray': did you mean 'grey'"),
        ({10: {"base": 1.0}}, "expected a first phase that begins at step 0"),
    ],
)
def test_a_wrong_mix_is_refused_before_anything_is_written(tmp_path, mix, says):
    with pytest.raises(DasError, match=re.escape(says)):
        fit(settings(tmp_path / "hats", mix=mix))
    assert not list(tmp_path.iterdir())


def test_a_mix_says_what_is_learned(tmp_path):
    scores = fit(settings(tmp_path / "hats", mix={0: {"short": 1.0}, 8: {"grey": 1.0}}))
    assert scores["grey"] >= 0.95


# --- a network that is there ---


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A network that has hardly begun to learn."""
    out = tmp_path_factory.mktemp("base") / "net"
    fit(settings(out, steps=2))
    return out


def adapter(base, out, **changes):
    return settings(out, base=str(base), lora=True, rank=4, **changes)


def test_an_adapter_learns_the_task_and_is_small_and_the_base_stays(base, tmp_path):
    before = LM.load(str(base))
    scores = fit(adapter(base, tmp_path / "adapter", steps=80, lr=0.03))
    assert scores["base"] > task_accuracy(TOY, before, 500, ["base"])["base"]
    assert scores["base"] == 1
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "card.json"} <= files
    assert "model.safetensors" not in files
    loaded = LM.load(str(tmp_path / "adapter"))
    assert task_accuracy(TOY, loaded, 500, ["base"])["base"] == 1
    assert type(loaded.model) is type(before.model)
    assert task_accuracy(TOY, LM.load(str(base)), 500) == task_accuracy(TOY, before, 500)


def test_an_adapter_is_float32_beside_a_base_that_is_not(base, tmp_path):
    assert fit(adapter(base, tmp_path / "adapter", steps=80, lr=0.03, dtype="bfloat16"))["base"] == 1
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors").values()
    assert {value.dtype for value in weights} == {torch.float32}


def test_weights_that_are_trained_are_float32(base, tmp_path):
    with pytest.raises(DasError, match="only with lora"):
        settings(tmp_path / "x", base=str(base), dtype="bfloat16")
    with pytest.raises(DasError, match="did you mean 'bfloat16'"):
        adapter(base, tmp_path / "x", dtype="bfloat")


def test_a_killed_adapter_goes_on_to_the_same_weights(base, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(adapter(base, whole))
    with pytest.raises(KeyboardInterrupt):
        fit(adapter(base, cut), Stopper(13, KeyboardInterrupt()))
    kept = torch.load(tmp_path / "cut.partial" / "last.ckpt", weights_only=True)["state_dict"]
    assert all("lora" in name for name in kept)
    fit(adapter(base, cut))
    expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (whole, cut))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_without_lora_the_base_itself_is_trained_on(base, tmp_path):
    scores = fit(settings(tmp_path / "more", base=str(base)))
    assert scores["base"] == 1
    assert LM.load(str(tmp_path / "more")).tokenizer.get_vocab() == LM.load(str(base)).tokenizer.get_vocab()


def test_lora_is_a_flag_on_the_command_line(capsys, tmp_path):
    assert main(["fit-lm", "price_tagging", "--lora", "--out", str(tmp_path / "x")]) == 2
    assert "lora needs a network to adapt" in capsys.readouterr().err


def test_an_adapter_without_a_base_or_without_safetensors_is_one_clear_error(base, tmp_path):
    with pytest.raises(DasError, match="lora needs a network to adapt"):
        settings(tmp_path / "x", lora=True)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    with pytest.raises(DasError, match=r"no adapter_model\.safetensors"):
        LM.load(str(tmp_path))
