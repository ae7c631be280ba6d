"""A dictionary is trained on what a network has while it reads: which vectors these are, that a killed training goes on with the
same, and what is refused."""

import json

import numpy as np
import pytest
import torch

import das
from das.errors import DasError
from das.find import train as training
from das.interchange import saelens
from das.interchange.engine import HookEngine
from das.interchange.sae import quality
from das.progress import silent
from das.run import activations
from das.run.activations import Activations, Window
from das.run.fit_sae import _spot
from das.run.reading import reading
from das.task.encoded import Encoded

LM = "price-tagger-tiny"
SMALL = {"latents": 64, "k": 4, "tokens": 3000, "steps": 30, "batch": 64, "context": 16}


@pytest.fixture(scope="module")
def lm():
    return das.LM.load(LM)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    task, path = das.load_task("price_tagging"), tmp_path_factory.mktemp("texts") / "prices.txt"
    path.write_text("\n".join(task.render(task.some(150)).texts))
    return path


def test_vectors_are_those_of_every_token_of_a_text(lm, text):
    source = reading(text, lm.tokenizer, 3000, 16, 0)
    stream = Activations(HookEngine(lm), ("block_output", 1), source, silent)
    prompts, (before, behind) = source.at(0), source.around
    kept = {}
    hook = lm.blocks[1].register_forward_hook(
        lambda _m, _i, out: kept.update(out=out if isinstance(out, torch.Tensor) else out[0])
    )
    with torch.no_grad():
        lm.model(torch.from_numpy(prompts.ids))
    hook.remove()
    own = kept["out"][:, before : 16 - behind].flatten(0, 1)
    torch.testing.assert_close(stream.at(0), own[own.norm(dim=1) <= stream.limit], rtol=1e-4, atol=1e-4)


def test_padding_is_not_read(lm):
    """Of prompts of several lengths there are as many vectors as tokens, each as when its prompt is asked alone."""
    source = reading("price_tagging", lm.tokenizer, 500, 16, 0)
    stream = Activations(HookEngine(lm), ("block_output", 1), source, silent)
    long = source.at(0).take([0, 1])
    short = Encoded(long.ids[:, -30:], np.array([30, 30]))
    rows = stream._vectors(Encoded.concat([short, long]))
    alone = [stream._vectors(prompts) for prompts in (short.take([0]), short.take([1]), long)]
    torch.testing.assert_close(rows, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_a_window_moves_over_a_text_and_draws_by_the_step_alone(lm, text):
    source = reading(text, lm.tokenizer, 20_000, 16, 0)
    stream = Activations(HookEngine(lm), ("block_output", 0), source, silent)
    room = 2 * source.tokens * 128 * 4
    window = Window(stream, 20, 8, 0, silent, room)
    drawn = [window.draw(step) for step in range(20)]
    assert window.size == 2
    assert window.rounds > 1
    assert window.span[-1] == source.batches - 1, "the last round ends with the text"
    late = Window(stream, 20, 8, 0, silent, room)
    assert all(torch.equal(late.draw(step), drawn[step]) for step in (13, 17))


def test_the_same_text_is_held_out_and_never_trained_on(lm, text):
    source = reading(text, lm.tokenizer, 20_000, 16, 0)
    held = np.concatenate([source.held_at(i).ids for i in range(source.held)])
    seen = np.concatenate([source.at(i).ids for i in range(source.batches)])
    assert source.held >= 1
    assert len(held) + len(seen) == len(source.ids)


def test_a_dictionary_is_trained_and_can_be_used(lm, text, tmp_path):
    found = das.fit_sae("block_output[2]", lm, text, tmp_path / "sae", **SMALL | {"steps": 200, "lr": 1e-2})
    assert found.spot == ("block_output", 2)
    assert found.about["explained"] > 0.5
    assert 0 <= found.about["dead"] < 1
    again = saelens.read(tmp_path / "sae")
    source = reading(text, lm.tokenizer, SMALL["tokens"], 16, 0)
    stream = Activations(HookEngine(lm), found.spot, source, silent)
    assert quality(again.sae, stream.held).explained == pytest.approx(found.about["explained"], abs=1e-3)
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert (config["architecture"], config["metadata"]["hook_name"]) == ("jumprelu", "blocks.2.hook_resid_post")
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(DasError, match="exists already"):
        das.fit_sae(2, lm, text, tmp_path / "sae", **SMALL)


def test_a_killed_training_ends_with_the_same(lm, text, tmp_path, monkeypatch):
    das.fit_sae(2, lm, text, tmp_path / "whole", **SMALL)
    write = training.write

    def killed(path, writer):
        write(path, writer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            das.fit_sae(2, lm, text, tmp_path / "killed", **SMALL)
    assert (tmp_path / "killed.partial").exists()
    with pytest.raises(DasError, match=r"was begun with .*to go on, give the same settings"):
        das.fit_sae(2, lm, text, tmp_path / "killed", **SMALL | {"k": 5})
    das.fit_sae(2, lm, text, tmp_path / "killed", **SMALL)
    one, other = (saelens.read(tmp_path / name).sae for name in ("whole", "killed"))
    torch.testing.assert_close(one.encoder, other.encoder)
    torch.testing.assert_close(one.threshold, other.threshold)


def test_sinks_are_left_out(lm, text, monkeypatch):
    source = reading(text, lm.tokenizer, 3000, 16, 0)
    monkeypatch.setattr(activations, "SINK", 1.0)
    stream = Activations(HookEngine(lm), ("block_output", 1), source, silent)
    assert stream.left_out == pytest.approx(0.5, abs=0.01), "all that are longer than the median"
    assert float(stream.held.norm(dim=1).max()) <= stream.limit


@pytest.mark.parametrize(
    ("given", "spot"),
    [
        (15, ("block_output", 15)),
        ("3", ("block_output", 3)),
        ("mlp_output[3]", ("mlp_output", 3)),
        ("block_output[0]", ("block_output", 0)),
    ],
)
def test_sites_are_named_in_words(given, spot):
    assert _spot(given) == spot


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"site": "last"}, "expected a layer"),
        ({"site": "mlp_output[1"}, "expected a layer"),
        ({"site": 9}, "layers 0 to 5"),
        ({"site": "mlp_outputs[1]"}, "did you mean 'mlp_output'"),
        ({"text": "nowhere.txt"}, "no task file"),
        ({"text": "shapes"}, "put as tensors"),
        ({"kind": "top"}, "kind of autoencoder"),
        ({"k": 100}, "at most 64"),
        ({"lr": 0.0}, "more than 0"),
        ({"context": 10**5}, "expected at least"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(text, tmp_path, change, says):
    asked = {"site": 1, "text": text} | SMALL | change
    site, read = asked.pop("site"), asked.pop("text")
    with pytest.raises(DasError, match=says):
        das.fit_sae(site, LM, read, tmp_path / "sae", **asked)
    assert not list(tmp_path.iterdir())
