"""A swap that is held at several places is what hooks written here do, token by token, with a cache and without."""

from contextlib import ExitStack
from functools import cache
from operator import attrgetter

import numpy as np
import pytest
import torch
import transformers
from by_hand import asked, begun, greedy

from das.errors import DasError
from das.interchange.feature import Whole
from das.interchange.holding import holding, holding_all
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0}
NONE = {"eos_token_id": None, "bos_token_id": 1}
GROUPED = SMALL | NONE | {"intermediate_size": 48, "num_key_value_heads": 2}
HALVES = {"vocab_size": 50, "d_model": 32, "pad_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": None}
T5 = HALVES | {"d_kv": 8, "d_ff": 48, "num_layers": 4, "num_heads": 4}
BART = HALVES | {"bos_token_id": 2, "forced_eos_token_id": None, "encoder_layers": 4, "decoder_layers": 4,
                 "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip

# name: (class, options, blocks, what projects a block's heads)
NETWORKS = {
    "llama": ("LlamaForCausalLM", GROUPED, "model.layers", "self_attn.o_proj"),
    "gpt2": ("GPT2LMHeadModel", SMALL | NONE, "transformer.h", "attn.c_proj"),
    "qwen2": ("Qwen2ForCausalLM", GROUPED, "model.layers", "self_attn.o_proj"),
    "t5": ("T5ForConditionalGeneration", T5, "encoder.block", "layer.0.SelfAttention.o"),
    "bart": ("BartForConditionalGeneration", BART, "model.encoder.layers", "self_attn.out_proj"),
    "t5, decoder": ("T5ForConditionalGeneration", T5, "decoder.block", ""),
    "bart, decoder": ("BartForConditionalGeneration", BART, "model.decoder.layers", ""),
}
SITES = {
    "two positions": Site(1, "early+late"),
    "two heads": Site(1, "late", "heads.1+heads.3"),
    "two layers": Site("0+2", "late"),
    "two layers, two positions, a head": Site("2+0+3", "early+late+late", "block_output+block_output+heads.2"),
    "in a decoder": Site("1+3", "begin", "BLOCKS.{layer}"),
}
NUMBERS = {"early": 1, "late": 4, "begin": 0}
HALF = ("t5", "bart")
CASES = [(n, s) for n in NETWORKS for s in SITES if ("decoder" in n) == ("decoder" in s)]
IDS = torch.tensor([[5, 9, 17, 23, 31, 8]])


@cache
def network(name):
    torch.manual_seed(0)
    kind, options, *_ = NETWORKS[name]
    kind = getattr(transformers, kind)
    lm = LM(kind(kind.config_class(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return lm


def site_in(name, site):
    own = SITES[site]
    return Site(own.layer, own.position, own.component.replace("BLOCKS", NETWORKS[name][2]))


def widths(site):
    return [8 if place.component.startswith("heads") else 32 for place in site.places]


def feature(site):
    return Subspace(random_basis(sum(widths(site)), 5, torch.Generator().manual_seed(1))[:, None], torch.ones(1, 5))


def sources(site, rows=1):
    whole = 30 * torch.randn(1, rows, sum(widths(site)), generator=torch.Generator().manual_seed(3))
    return whole.split(widths(site), 2)


def wheres(numbers=NUMBERS):
    return {name: (lambda prompts, n=number: np.full((max(1, len(prompts)), 1), n)) for name, number in numbers.items()}


def held(name, site, rows=1, own=None):
    own = own or site_in(name, site)
    return holding_all(network(name), own, feature(own), sources(own, rows), wheres())


# --- by hand ---


class ByHand:
    """Hooks that note what each place has, or put there what the rule of several places says."""

    def __init__(self, name, site, source):
        self.name, self.site, self.source = name, site, source
        self.clean, self.notes = [None] * len(site.places), True
        self.q = feature(site).basis[:, 0].split(widths(site))

    def hooks(self, stack):
        *_, blocks, heads = NETWORKS[self.name]
        for i, place in enumerate(self.site.places):
            block = attrgetter(blocks)(network(self.name).model)[place.layer]
            at = NUMBERS[place.position]
            if place.component.startswith("heads"):
                entries = slice(8 * int(place.component[6:]), 8 * int(place.component[6:]) + 8)
                pre = attrgetter(heads)(block).register_forward_pre_hook(
                    lambda m, x, i=i, at=at, e=entries: (self.put(i, x[0], at, e),)
                )
                stack.callback(pre.remove)
            else:
                stack.callback(block.register_forward_hook(lambda m, x, y, i=i, at=at: self.after(i, y, at)).remove)

    def after(self, i, output, at):
        if isinstance(output, tuple):
            return (self.put(i, output[0], at, slice(None)), *output[1:])
        return self.put(i, output, at, slice(None))

    def put(self, i, hidden, at, entries):
        come, q = hidden[0, at, entries].clone(), self.q[i]
        if self.notes:
            self.clean[i] = come
            return hidden
        swapped = sum((s - x) @ b for s, x, b in zip(self.source, self.clean, self.q, strict=True))
        moved, span = come - self.clean[i], torch.linalg.lstsq(q, come - self.clean[i]).solution
        new = hidden.clone()
        new[0, at, entries] = self.clean[i] + q @ swapped + moved - q @ span
        return new


def greedy_by_hand(name, site, ids, steps, source):
    """The tokens that follow and their logits, by full forwards without a cache."""
    model, rule = network(name).model, ByHand(name, site, source)
    with ExitStack() as stack:
        rule.hooks(stack)
        asked(model, ids, begun(model, ids))
        rule.notes = False
        return greedy(model, ids, steps)


def assert_close(found, expected):
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


STEPS = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


@pytest.mark.parametrize(("name", "site"), CASES)
@torch.no_grad()
def test_what_is_generated_is_what_hooks_by_hand_give_with_a_cache_and_without(name, site):
    model, own = network(name).model, site_in(name, site)
    tokens, logits = greedy_by_hand(name, own, IDS, 5, [each[0, 0] for each in sources(own)])
    plain = model.generate(IDS, **STEPS)
    for cached in (True, False):
        with held(name, site):
            found = model.generate(IDS, use_cache=cached, **STEPS)
        assert found.sequences.tolist() == tokens.tolist()
        assert_close(torch.stack(found.logits), logits)
    assert not torch.allclose(found.logits[0], plain.logits[0], rtol=1e-2)
    assert_close(model.generate(IDS, **STEPS).logits[-1], plain.logits[-1])


PROMPTS = [[5, 9, 17, 23, 31, 8], [7, 12, 44, 21, 19], [6, 33, 18, 29, 40, 3, 22]]


def padded(side):
    ids, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    for row, prompt in enumerate(PROMPTS):
        at = slice(7 - len(prompt), 7) if side == "left" else slice(0, len(prompt))
        ids[row, at], mask[row, at] = torch.tensor(prompt), 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize(("name", "site"), [("llama", "two layers, two positions, a head"), ("t5, decoder", "in a decoder")])
@torch.no_grad()
def test_a_batch_and_beams_keep_each_prompts_own_base_and_source(name, site):
    model, own = network(name).model, site_in(name, site)
    every = sources(own, 3)
    with held(name, site, 3):
        greedy = model.generate(**padded("left"), max_new_tokens=3, do_sample=False)
    with held(name, site, 3):
        beams = model.generate(**padded("left"), max_new_tokens=3, num_beams=2, do_sample=False)
    for row, prompt in enumerate(PROMPTS):
        ids, source = torch.tensor([prompt]), [each[:, row : row + 1] for each in every]
        tokens, _ = greedy_by_hand(name, own, ids, 3, [each[0, 0] for each in source])
        assert greedy[row, -3:].tolist() == tokens[0, -3:].tolist()
        with holding_all(network(name), own, feature(own), source, wheres()):
            alone = model.generate(ids, max_new_tokens=3, num_beams=2, do_sample=False, use_cache=False)
        assert beams[row, -3:].tolist() == alone[0, -3:].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_calls_of_ones_own_may_be_padded_on_either_side_and_come_in_chunks(side):
    site, model = SITES["two layers, two positions, a head"], network("llama").model
    last = [6, 6, 6] if side == "left" else [5, 4, 6]
    with held("llama", "two layers, two positions, a head", 3):
        found = model(**padded(side)).logits[range(3), last]
    for row, prompt in enumerate(PROMPTS):
        source = [each[0, row] for each in sources(site, 3)]
        tokens, logits = greedy_by_hand("llama", site, torch.tensor([prompt]), 3, source)
        assert_close(found[row], logits[0, 0])
        with holding_all(network("llama"), site, feature(site), [each[None, None] for each in source], wheres()):
            chunks = model.generate(torch.tensor([prompt]), prefill_chunk_size=2, max_new_tokens=3, do_sample=False)
        assert chunks.tolist() == tokens.tolist()


@torch.no_grad()
def test_whole_vectors_of_a_prompt_itself_change_nothing():
    lm, site = network("gpt2"), SITES["two layers"]
    clean = lm.model(IDS, output_hidden_states=True)
    own = [clean.hidden_states[layer + 1][None, :, 4] for layer in (0, 2)]
    with holding_all(lm, site, Whole(), own, wheres()):
        assert_close(lm.model(IDS).logits, clean.logits)


def refused(why, site="two layers", action=lambda model: model(IDS), **other):
    own = SITES.get(site, site)
    given = {"lm": network("llama"), "site": own, "feature": feature(own), "sources": sources(own), "wheres": wheres()} | other
    with pytest.raises(DasError, match=why), holding_all(**given):
        action(given["lm"].model)


@torch.no_grad()
def test_what_cannot_be_told_is_refused_and_nothing_is_left_behind():
    lm = network("llama")
    clean, both = lm.model(IDS).logits, Site("1+1", "late+begin", "block_output+decoder.block.{layer}")
    one = feature(Site(0, "early"))
    with holding(lm, ("block_output", 0), one, torch.ones(1, 1, 32), wheres()["early"]):
        refused("hold that swap alone")
        lm.model(IDS)
    refused("position_ids", action=lambda model: model(IDS, position_ids=torch.arange(6)[None] * 3))
    refused("nothing was swapped", action=lambda model: None)
    refused("2 sources and 1 prompts", sources=sources(SITES["two layers"], 2))
    refused("share a token", "two positions", wheres=wheres({"early": 2, "late": 2}))
    refused("encoder and in the decoder", lm=network("t5"), site=both, feature=feature(both), sources=sources(both))
    assert "generate" not in vars(lm.model)
    assert torch.equal(lm.model(IDS).logits, clean)


def test_gradients_that_would_be_wrong_are_refused():
    words = network("llama").model.get_input_embeddings()
    handle = words.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())
    refused("no_grad")
    handle.remove()
