"""The engine's answers are those of a full forward, and of pyvene, on any network and any batch."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from das.errors import DasError
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.feature import Whole
from das.interchange.selftest import make_engine, self_test
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.task.encoded import Encoded
from das.use.pyvene import pyvene_logits

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
LLAMA = SMALL | {"intermediate_size": 48}


def out(layer):
    return "block_output", layer


def llama(groups=4, attention="sdpa"):
    torch.manual_seed(0)
    config = LlamaConfig(**LLAMA, num_key_value_heads=groups, attn_implementation=attention)
    return LM(LlamaForCausalLM(config), None)


def gpt2():
    torch.manual_seed(0)
    return LM(GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=4, n_head=4)), None)


def neox():
    torch.manual_seed(0)
    return LM(GPTNeoXForCausalLM(GPTNeoXConfig(**LLAMA)), None)


NETWORKS = {
    "llama": llama,
    "llama, grouped queries": lambda: llama(groups=2),
    "llama, eager": lambda: llama(attention="eager"),
    "gpt2": gpt2,
    "gpt-neox": neox,
}


def prompts(rows=5, width=12, seed=0, lengths=None):
    """Random prompts of several lengths, with a place that differs by row and one that is the last."""
    rng = np.random.default_rng(seed)
    lengths = np.array([12, 10, 12, 8, 11][:rows] if lengths is None else lengths)
    ids = rng.integers(3, 50, (rows, width))
    ids[np.arange(width) < (width - lengths)[:, None]] = 0
    places = {"here": np.array([[7], [9], [6], [10], [8]])[:rows], "last": np.full((rows, 1), width - 1)}
    return Encoded(ids, lengths, places)


@pytest.fixture(params=NETWORKS)
def lm(request):
    return NETWORKS[request.param]()


def test_resuming_equals_the_full_patched_forward(lm):
    assert self_test(lm) < 1e-5
    assert isinstance(make_engine(lm), ResumeEngine)


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("place", ["here", "last"])
def test_a_patch_has_the_same_logits_and_gradients_both_ways(lm, layer, place):
    batch, columns = prompts(), torch.from_numpy(prompts().positions[place])
    results = []
    for engine in (HookEngine(lm), ResumeEngine(lm)):
        capture = engine.capture(batch, [out(layer)])
        values = torch.randn(3, 5, 1, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
        logits = engine.resume(capture, out(layer), columns, values)
        logits.square().sum().backward()
        results.append((capture.logits, logits.detach(), values.grad))
    for full, resumed in zip(*results, strict=True):
        torch.testing.assert_close(resumed, full, rtol=1e-4, atol=1e-5)


def test_captured_states_are_those_of_the_network_itself(lm):
    batch = prompts(lengths=[12] * 5)
    capture = ResumeEngine(lm).capture(batch, [out(0), out(2)])
    clean = lm.model(torch.from_numpy(batch.ids), output_hidden_states=True)
    torch.testing.assert_close(capture.inputs[3], clean.hidden_states[3], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(capture.logits, clean.logits[:, -1], rtol=1e-4, atol=1e-5)


LAST = {
    "llama": lambda m: m.model.norm,
    "gpt2": lambda m: m.transformer.ln_f,
    "gpt_neox": lambda m: m.gpt_neox.final_layer_norm,
}


def test_the_lens_is_the_networks_own_last_norm_and_head(lm):
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    by_hand = lm.model.get_output_embeddings()(LAST[lm.model.config.model_type](lm.model)(states))
    torch.testing.assert_close(ResumeEngine(lm).lens(states), by_hand, rtol=1e-5, atol=1e-5)


def test_a_shared_prefix_changes_nothing(lm):
    batch = prompts()
    start = batch.ids.shape[1] - batch.lengths
    for row, s in enumerate(start):
        batch.ids[row, s : s + 3] = [7, 8, 9]
    columns, values = torch.from_numpy(batch.positions["here"]), torch.randn(2, 5, 1, 32)
    plain, shared = ResumeEngine(lm), ResumeEngine(lm, [7, 8, 9])
    results = [engine.resume(engine.capture(batch, [out(1)]), out(1), columns, values) for engine in (plain, shared)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_prompts_without_the_prefix_are_refused():
    with pytest.raises(DasError, match="prefix"):
        ResumeEngine(llama(), [7, 8, 9]).capture(prompts(), [out(1)])


@pytest.mark.parametrize("more", [1, 5])
def test_padding_does_not_change_an_answer(lm, more):
    engine, batch = ResumeEngine(lm), prompts()
    padded = batch.padded(batch.ids.shape[1] + more)
    values = torch.randn(1, 5, 1, 32)
    results = [
        engine.resume(engine.capture(b, [out(2)]), out(2), torch.from_numpy(b.positions["here"]), values)
        for b in (batch, padded)
    ]
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_padding_on_the_right_gives_the_same_answers_through_the_network_itself():
    lm, batch = llama(), prompts()
    right = np.stack([np.roll(row, length - 12) for row, length in zip(batch.ids, batch.lengths, strict=True)])
    logits = lm.model(torch.from_numpy(right)).logits[torch.arange(5), torch.from_numpy(batch.lengths) - 1]
    torch.testing.assert_close(ResumeEngine(lm).capture(batch, []).logits, logits, rtol=1e-4, atol=1e-5)


def test_swapping_a_run_with_itself_changes_nothing(lm):
    engine, batch = ResumeEngine(lm), prompts()
    capture, columns = engine.capture(batch, [out(1)]), torch.from_numpy(prompts().positions["here"])
    logits = engine.resume(capture, out(1), columns, capture.at(out(1), columns)[None])
    torch.testing.assert_close(logits[0], capture.logits, rtol=1e-4, atol=1e-5)


def test_swapping_the_whole_last_vector_gives_the_sources_answer(lm):
    engine, base, source = ResumeEngine(lm), prompts(), prompts(seed=1)
    columns = torch.from_numpy(base.positions["last"])
    capture, other = engine.capture(base, [out(3)]), engine.capture(source, [out(3)])
    logits = engine.resume(capture, out(3), columns, other.at(out(3), columns)[None])
    torch.testing.assert_close(logits[0], other.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["here", "last"])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.filterwarnings("ignore")
def test_the_engine_equals_pyvene(place, layer, rank):
    lm, base, source = llama(groups=2), prompts(), prompts(seed=1)
    basis = random_basis(32, 5, torch.Generator().manual_seed(2))[:, None]
    subspace = Whole() if rank is None else Subspace(basis, (torch.arange(5) < rank).float()[None])
    columns = torch.from_numpy(base.positions[place])
    engine = ResumeEngine(lm)
    capture, other = engine.capture(base, [out(layer)]), engine.capture(source, [out(layer)], resumable=False)
    before, swapped = capture.at(out(layer), columns)[:, 0], other.at(out(layer), columns)[:, 0]
    after = (before + subspace.swap(before, swapped[None]))[None, :, None]
    logits = engine.resume(capture, out(layer), columns, after)[0]
    torch.testing.assert_close(logits, pyvene_logits(lm, base, source, Site(layer, place), subspace), rtol=1e-5, atol=1e-5)


def test_a_source_is_run_no_deeper_than_asked():
    lm, seen = llama(), []
    for i, block in enumerate(lm.blocks):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    ResumeEngine(lm).capture(prompts(), [out(0), out(1)], resumable=False)
    assert seen == [0, 1]


def test_a_resumed_cell_runs_only_the_layers_above_and_the_positions_from_the_patch_on():
    lm, engine, seen = llama(), None, []
    engine = ResumeEngine(lm)
    capture = engine.capture(prompts(lengths=[12] * 5), [out(1)])
    for i, block in enumerate(lm.blocks):
        block.register_forward_hook(lambda m, args, out, i=i: seen.append((i, tuple(out.shape))))
    engine.resume(capture, out(1), torch.full((5, 1), 9), torch.zeros(2, 5, 1, 32))
    assert seen == [(2, (10, 3, 32)), (3, (10, 1, 32))], "the last layer is run for the last token alone"


def test_the_network_is_left_as_it_was():
    lm = llama()
    before = lm.model.config._attn_implementation, len(lm.blocks), sum(len(m._forward_hooks) for m in lm.model.modules())
    self_test(lm)
    after = lm.model.config._attn_implementation, len(lm.blocks), sum(len(m._forward_hooks) for m in lm.model.modules())
    assert after == before
    assert not any(p.requires_grad for p in lm.model.parameters())


def test_a_network_whose_attention_cannot_be_resumed_gets_full_forwards():
    from das.planted.planting import plant

    assert isinstance(make_engine(plant(2).lm), HookEngine)


@pytest.mark.parametrize("network", [llama, gpt2])
def test_answers_that_are_longer_than_their_prompts_are_resumed_too(network):
    lm, rng = network(), np.random.default_rng(0)
    some = Encoded(rng.integers(3, 50, (3, 5)), np.array([5, 4, 5])).forced(rng.integers(3, 50, (3, 12)))
    assert self_test(lm, prefix=(), prompts=some) < 1e-5
    assert isinstance(make_engine(lm, prompts=some), ResumeEngine)
