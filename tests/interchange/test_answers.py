"""Answers of several tokens and forms are read as brute force reads them: one full forward for every token, patched by a hook
written here, on each prompt alone."""

from functools import cache
from operator import attrgetter

import numpy as np
import pytest
import torch
import transformers

from das.errors import DasError
from das.interchange.batch import Batch
from das.interchange.feature import Whole
from das.interchange.measures import MEASURES
from das.interchange.score import captures_for, measured, predictions, score
from das.interchange.selftest import make_engine
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled
from das.task.answers import Spelled
from das.task.encoded import Encoded

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
T5 = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "vocab_size": 50, "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": 2,
}  # fmt: skip
NETWORKS = {
    "llama": ("LlamaForCausalLM", GROUPED, "model.layers"),
    "gpt2": ("GPT2LMHeadModel", SMALL, "transformer.h"),
    "qwen3": ("Qwen3ForCausalLM", GROUPED | {"head_dim": 12}, "model.layers"),
    "t5": ("T5ForConditionalGeneration", T5, "encoder.block"),
    "bart": ("BartForConditionalGeneration", BART, "model.encoder.layers"),
}
LENGTHS, WIDTH = np.array([12, 10, 12, 8, 11, 9]), 12
SITES = [Site(0, "here"), Site(1, "last"), Site(2, "here"), Site(2, "last")]
FEATURE = Subspace(random_basis(32, 4, torch.Generator().manual_seed(0))[:, None], torch.ones(1, 4))


@cache
def network(name):
    kind, options, blocks = NETWORKS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)
    model = model(model.config_class(**options)).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return LM(model, None), attrgetter(blocks)(model)


def prompts():
    ids = np.random.default_rng(0).integers(3, 50, (6, WIDTH))
    for row, start in zip(ids, WIDTH - LENGTHS, strict=True):
        row[:start] = 0
    here = np.array([[7], [9], [6], [10], [8], [5]])
    return Encoded(ids, LENGTHS, {"here": here, "last": np.full((6, 1), WIDTH - 1)})


@torch.no_grad()
def logits(name, row, said, hook=None):
    """After one prompt, alone and unpadded, and what was said: (vocabulary,), by one forward."""
    lm, blocks = network(name)
    ids = torch.from_numpy(prompts().ids[row, WIDTH - LENGTHS[row] :])[None]
    said = torch.tensor([list(said)], dtype=torch.long)
    handle = blocks[hook[0]].register_forward_hook(hook[1]) if hook else None
    try:
        if lm.model.config.is_encoder_decoder:
            start = torch.tensor([[lm.model.config.decoder_start_token_id]])
            return lm.model(input_ids=ids, decoder_input_ids=torch.cat([start, said], 1)).logits[0, -1]
        return lm.model(torch.cat([ids, said], 1)).logits[0, -1]
    finally:
        if handle:
            handle.remove()


def tensor(output):
    return output[0] if isinstance(output, tuple) else output


def at(row, position):
    return int(prompts().positions[position][row, 0] - (WIDTH - LENGTHS[row]))


def value(name, row, site):
    """What a prompt has at a site."""
    seen = []
    logits(name, row, (), (site.layer, lambda _m, _i, out: seen.append(tensor(out)[0, at(row, site.position)])))
    return seen[0]


def patch(name, base, source, site, feature):
    """The hook that swaps the feature."""
    mine, other = value(name, base, site)[None], value(name, source, site)[None]
    new = (mine + feature.swap(mine, other[None]))[0]

    def put(_module, _inputs, out):
        hidden = tensor(out).clone()
        hidden[0, at(base, site.position)] = new
        return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

    return site.layer, put


def written(name, row, hook, steps=3):
    """The likeliest token each time."""
    said = ()
    for _ in range(steps):
        said = (*said, int(logits(name, row, said, hook).argmax()))
    return said


def log_probability(name, row, forms, hook):
    return torch.stack(
        [
            torch.stack([logits(name, row, form[:t], hook).log_softmax(-1)[form[t]] for t in range(len(form))]).sum()
            for form in forms
        ]
    ).logsumexp(0)


PAIRS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (2, 5)]


@cache
def asked(name, site):
    """Pairs whose answers are what a swap at the site would have the network write, in part of their forms, or not."""
    forms = [((3, 4), (5,))]
    for i, (base, source) in enumerate(PAIRS):
        right = written(name, base, patch(name, base, source, site, FEATURE))
        wrong = (*right[:2], (right[2] + 1) % 50)
        forms.append([(right,), ((49, 48), right), (wrong, (48, 47, 46)), (right[:2], (47,))][i % 4])
    base, source = np.array(PAIRS).T
    label = np.arange(1, len(PAIRS) + 1)
    pairs = Labelled(base, source[None], label, np.zeros_like(label), np.roll(label, 1))
    return Dataset(prompts(), {"h": pairs}, Spelled(tuple(map(tuple, forms)))).begun(), forms


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_swap_gives_an_answer_of_several_tokens_where_brute_force_writes_it(name, site):
    lm, _ = network(name)
    data, forms = asked(name, site)
    engine = make_engine(lm, data.shared_prefix(), length=15, prompts=data.prompts)
    assert type(engine).__name__ == ("HookEngine" if lm.model.config.is_encoder_decoder else "ResumeEngine")
    hooks = [patch(name, b, s, site, FEATURE) for b, s in PAIRS]
    greedy = [written(name, b, hook) for (b, _), hook in zip(PAIRS, hooks, strict=True)]
    expected = [any(said[: len(form)] == form for form in forms[i + 1]) for i, said in enumerate(greedy)]
    assert 0 < sum(expected) < len(PAIRS)
    assert score(engine, data, {"it": ("h", site, [FEATURE])})["it"].tolist() == [expected]

    batch = Batch.capture(data, captures_for(engine, data, [site]), {"h": np.arange(len(PAIRS))}, ("label", "other"))
    swap = batch.swap("h", site)
    with torch.no_grad():
        reply = batch.reply(engine, site, {"h": swap}, [FEATURE.swap(swap.base, swap.source)[None]])
    for role, number in (("label", data.pairs["h"].label), ("other", data.pairs["h"].other)):
        brute = [log_probability(name, b, forms[n], hook) for (b, _), n, hook in zip(PAIRS, number, hooks, strict=True)]
        torch.testing.assert_close(reply.log_probability(role)[0], torch.stack(brute), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "bart"])
def test_the_network_itself_answers_base_and_source_as_it_writes_alone(name):
    lm, _ = network(name)
    own = [written(name, row, None) for row in range(6)]
    wrong = [(*said[:2], (said[2] + 1) % 50) for said in own]
    base, source = np.array(PAIRS).T
    answers = Spelled(tuple((form,) for form in [*own, *wrong]))
    pairs = Labelled(base, source[None], base + 6, np.where(base % 2, base, base + 6), np.where(source < 3, source, source + 6))
    data = Dataset(prompts(), {"h": pairs}, answers).begun()
    engine = make_engine(lm, data.shared_prefix(), length=15, prompts=data.prompts)
    said = predictions(engine, data.prompts, answers)
    assert data.right(said, "h", "base").tolist() == (base % 2 == 1).tolist()
    assert data.right(said, "h", "source").tolist() == (source < 3).tolist()
    assert not data.right(said, "h", "label").any()
    assert not score(engine, data, {"it": ("h", SITES[0], [Whole(1).complement])})["it"].any()


def test_an_encoder_that_fills_a_mask_has_no_answers_of_several_tokens():
    config = transformers.BertConfig(**SMALL, intermediate_size=48)
    lm = LM(transformers.BertForMaskedLM(config), type("Masked", (), {"mask_token_id": 2, "pad_token_id": 0})())
    ids = prompts().ids.copy()
    ids[:, -2] = 2
    answers = Spelled((((3, 4),), ((5, 6),)))
    put = Encoded(ids, LENGTHS).forced(answers.beginnings(np.zeros(6, np.int64))[:, 0])
    with pytest.raises(DasError, match="one token in answer"):
        make_engine(lm, prompts=put)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_divergence_is_that_of_the_patched_from_the_clean_distribution_of_the_prompt_with_this_answer(name):
    """Step by step of the first form, on prompts asked alone; −1 where neither base nor source has the answer."""
    lm, _ = network(name)
    forms, site = (((3, 4), (5,)), ((6,),), ((7, 8, 9),)), SITES[2]
    base, source = np.array(PAIRS).T
    label, own, other = (
        np.array(each) for each in ([0, 1, 2, 0, 1, 2, 0, 2], [0, 1, 1, 1, 2, 0, 0, 1], [1, 1, 2, 0, 0, 1, 2, 2])
    )
    pairs = Labelled(base, source[None], label, own, other).with_match()
    data = Dataset(prompts(), {"h": pairs}, Spelled(forms)).begun()
    where = np.where(label == own, base, np.where(label == other, source, -1))
    assert data.pairs["h"].matched.tolist() == (where >= 0).tolist() == [True, True, True, True, False, False, True, True]
    engine = make_engine(lm, data.shared_prefix(), length=15, prompts=data.prompts)
    found = measured(engine, data, {"it": ("h", site, [FEATURE])}, {"kl": MEASURES["kl"]}, rows=3)["it"]["kl"][0]
    for i in np.flatnonzero(where >= 0):
        form, wanted = forms[label[i]][0], 0.0
        for step in range(len(form)):
            p = logits(name, where[i], form[:step]).log_softmax(-1)
            q = logits(name, base[i], form[:step], patch(name, base[i], source[i], site, FEATURE)).log_softmax(-1)
            wanted += float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum"))
        assert found[i] == pytest.approx(wanted, abs=2e-4, rel=1e-3)
    nothing = measured(engine, data, {"it": ("h", site, [Whole(1).complement])}, {"kl": MEASURES["kl"]})["it"]["kl"][0]
    np.testing.assert_allclose(nothing[label == own], 0, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_an_answer_that_another_begins_with_is_given_where_brute_force_writes_it_and_nothing_to_go_on_by(name):
    lm, _ = network(name)
    site, (base, source) = SITES[1], np.array(PAIRS).T
    hooks = [patch(name, b, s, site, FEATURE) for b, s in PAIRS]
    greedy = [written(name, b, hook) for (b, _), hook in zip(PAIRS, hooks, strict=True)]
    forms = [said[: 1 + i % 2] for i, said in enumerate(greedy)]
    on = tuple(sorted({said[len(form)] for said, form in list(zip(greedy, forms, strict=True))[::3]}))
    expected = [said[len(form)] not in on for said, form in zip(greedy, forms, strict=True)]
    assert 0 < sum(expected) < len(PAIRS)
    label = np.arange(len(PAIRS))
    pairs = Labelled(base, source[None], label, label, label)
    data = Dataset(prompts(), {"h": pairs}, Spelled(tuple((form,) for form in forms), on)).begun()
    engine = make_engine(lm, data.shared_prefix(), length=15, prompts=data.prompts)
    assert score(engine, data, {"it": ("h", site, [FEATURE])})["it"].tolist() == [expected]
