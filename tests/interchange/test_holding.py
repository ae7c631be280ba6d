"""A held swap is what a hook written here does, token by token, in calls and in generation, with a cache and without."""

from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from by_hand import greedy

from das.errors import DasError
from das.interchange.engine import ResumeEngine
from das.interchange.holding import holding
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.task.encoded import Encoded

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
NONE = {"eos_token_id": None, "bos_token_id": 1}
HALVES = {
    "vocab_size": 50,
    "d_model": 32,
    "pad_token_id": 0,
    "decoder_start_token_id": 2,
    "eos_token_id": None,
    "bos_token_id": 2,
}
T5 = HALVES | {"d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4}
BART = HALVES | {"forced_eos_token_id": None, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4,
                 "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}  # fmt: skip

# name: (class, options, component, the module whose output it is)
NETWORKS = {
    "llama": ("LlamaForCausalLM", GROUPED | NONE, "block_output", "model.layers.1"),
    "gpt2": ("GPT2LMHeadModel", SMALL | NONE, "block_output", "transformer.h.1"),
    "qwen2": ("Qwen2ForCausalLM", GROUPED | NONE, "mlp_output", "model.layers.1.mlp.down_proj"),
    "qwen3": ("Qwen3ForCausalLM", GROUPED | NONE, "query", "model.layers.1.self_attn.q_proj"),
    "t5, encoder": ("T5ForConditionalGeneration", T5, "block_output", "encoder.block.1"),
    "t5, decoder": ("T5ForConditionalGeneration", T5, "decoder.block.{layer}", "decoder.block.1"),
    "bart, encoder": ("BartForConditionalGeneration", BART, "block_output", "model.encoder.layers.1"),
    "bart, decoder": ("BartForConditionalGeneration", BART, "model.decoder.layers.{layer}", "model.decoder.layers.1"),
}
IDS, PLACE = torch.tensor([[5, 9, 17, 23, 31, 8]]), 3


@cache
def network(name):
    kind, options, *_ = NETWORKS[name]
    torch.manual_seed(0)
    kind = getattr(transformers, kind)
    lm = LM(kind(kind.config_class(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return lm


def feature(name):
    width = network(name).size(NETWORKS[name][2], 1)
    return Subspace(random_basis(width, 4, torch.Generator().manual_seed(2))[:, None], torch.ones(1, 4))


def place(name):
    return 0 if "decoder" in name else PLACE


def sources(name, rows=1):
    width = network(name).size(NETWORKS[name][2], 1)
    return 40 * torch.randn(1, rows, width, generator=torch.Generator().manual_seed(3))


def held(name, rows=1, where=None):
    number = place(name)
    at = where or (lambda prompts: np.full((max(1, len(prompts)), 1), number))
    return holding(network(name), (NETWORKS[name][2], 1), feature(name), sources(name, rows), at)


@contextmanager
def by_hand(name, column, source):
    """A hook on the module that swaps at a column of every forward."""
    basis = feature(name).basis[:, 0]

    def hook(_module, _inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        before = hidden[:, column]
        hidden[:, column] = before + (source - before) @ basis @ basis.T
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = network(name).model.get_submodule(NETWORKS[name][3]).register_forward_hook(hook)
    yield
    handle.remove()


def greedy_by_hand(name, ids, steps, source=None):
    """The tokens that follow and the logits of each, by full forwards alone, without a cache, with the hook in each."""
    with by_hand(name, place(name), sources(name)[0, 0] if source is None else source):
        return greedy(network(name).model, ids, steps)


def assert_close(found, expected):
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


STEPS = {"max_new_tokens": 10, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_what_is_generated_is_what_a_hook_by_hand_gives_token_by_token(name, cached):
    model, (tokens, logits) = network(name).model, greedy_by_hand(name, IDS, 10)
    plain = model.generate(IDS, **STEPS)
    with held(name):
        found = model.generate(IDS, use_cache=cached, **STEPS)
    assert found.sequences.tolist() == tokens.tolist()
    assert_close(torch.stack(found.logits), logits)
    assert not torch.allclose(found.logits[0], plain.logits[0], rtol=1e-2)
    assert_close(model.generate(IDS, **STEPS).logits[-1], plain.logits[-1])


# --- batches, beams, caches ---

PROMPTS = [[5, 9, 17, 23, 31, 8], [7, 12, 44, 21], [6, 33, 18, 29, 40]]


def padded(side):
    """The prompts in one batch, and its mask."""
    width, ids, mask = max(map(len, PROMPTS)), [], []
    for row in PROMPTS:
        no = [0] * (width - len(row))
        ids.append(no + row if side == "left" else row + no)
        mask.append([0] * len(no) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(no))
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5, encoder"])
@torch.no_grad()
def test_a_padded_batch_is_swapped_at_each_prompts_own_place_with_its_own_source(name, side):
    model, batch, every = network(name).model, padded(side), sources(name, 3)
    start = {"decoder_input_ids": torch.full((1, 1), 2)} if "coder" in name else {}
    if "gpt2" in name:
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    last = [0] * 3 if start else [5, 5, 5] if side == "left" else [5, 3, 4]
    with held(name, 3):
        found = model(**batch, **{k: v.expand(3, -1) for k, v in start.items()}).logits[range(3), last]
    for row, prompt in enumerate(PROMPTS):
        with by_hand(name, PLACE, every[0, row]):
            alone = model(input_ids=torch.tensor([prompt]), **start).logits[0, -1]
        assert_close(found[row], alone)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "qwen3", "t5, encoder", "t5, decoder"])
@torch.no_grad()
def test_left_padded_prompts_are_gone_on_from_as_each_alone(name, cached):
    with held(name, 3):
        found = network(name).model.generate(**padded("left"), use_cache=cached, max_new_tokens=4, do_sample=False)
    for row, prompt in enumerate(PROMPTS):
        tokens, _ = greedy_by_hand(name, torch.tensor([prompt]), 4, sources(name, 3)[0, row])
        assert found[row, -4:].tolist() == tokens[0, -4:].tolist()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "t5, encoder", "t5, decoder"])
@torch.no_grad()
def test_beams_and_several_answers_keep_each_prompts_own_source(name, cached):
    ways = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3, "num_return_sequences": 2, "use_cache": cached}
    with held(name, 3):
        found = network(name).model.generate(**padded("left"), **ways)
    for row, prompt in enumerate(PROMPTS):
        with by_hand(name, place(name), sources(name, 3)[0, row]):
            alone = network(name).model.generate(torch.tensor([prompt]), **ways | {"use_cache": False})
        assert found[2 * row : 2 * row + 2, -5:].tolist() == alone[:, -5:].tolist()


@torch.no_grad()
def test_a_loop_of_ones_own_with_a_cache_swaps_once():
    model, (tokens, logits) = network("llama").model, greedy_by_hand("llama", IDS, 4)
    with held("llama"):
        out = model(IDS)
        for step in range(4):
            assert_close(out.logits[:, -1], logits[step])
            out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values)
    assert tokens.shape == (1, 10)


@pytest.mark.parametrize("name", ["llama", "t5, decoder", "bart, encoder"])
@torch.no_grad()
def test_a_cache_of_fixed_size_is_a_cache_too(name):
    tokens, _ = greedy_by_hand(name, IDS, 4)
    with held(name):
        found = network(name).model.generate(IDS, cache_implementation="static", max_new_tokens=4, do_sample=False)
    assert found.tolist() == tokens.tolist()


@torch.no_grad()
def test_a_prompt_that_is_run_in_chunks_is_swapped_where_its_place_comes():
    tokens, _ = greedy_by_hand("llama", IDS, 4)
    with held("llama"):
        found = network("llama").model.generate(IDS, prefill_chunk_size=2, max_new_tokens=4, do_sample=False)
    assert found.tolist() == tokens.tolist()


COMPONENTS = ["attention_output", "mlp_output", "mlp_neurons", "heads", "heads.1", "query.2", "key.0", "value.1", "value"]


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
@torch.no_grad()
def test_every_component_is_swapped_as_the_engine_does(name, component):
    lm, spot = network(name), (component, 1)
    ids, columns, size = IDS.numpy(), torch.tensor([[PLACE]]), lm.size(*spot)
    basis = random_basis(size, 4, torch.Generator().manual_seed(2))[:, None]
    own, source = Subspace(basis, torch.ones(1, 4)), torch.randn(1, 1, size, generator=torch.Generator().manual_seed(3))
    engine = ResumeEngine(lm)
    capture = engine.capture(Encoded(ids, np.array([6])), [spot])
    base = capture.at(spot, columns)[:, 0]
    expected = engine.resume(capture, spot, columns, (base + own.swap(base, source))[None, :, None])[0]
    with holding(lm, spot, own, source, lambda prompts: np.array([[PLACE]])):
        assert_close(lm.model(IDS).logits[:, -1], expected)
    assert not torch.allclose(expected, capture.logits, rtol=1e-4)


@torch.no_grad()
def test_a_place_of_several_tokens_and_several_variables_is_swapped_as_one():
    model, at = network("llama").model, [2, 4]
    basis = random_basis(64, 6, torch.Generator().manual_seed(2)).unflatten(1, (2, 3))
    own, source = Subspace(basis, torch.ones(2, 3)), torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(3))

    def hook(_module, _inputs, output):
        before = output[:, at].flatten(1)
        return output.index_copy(1, torch.tensor(at), (before + own.swap(before, source)).view(1, 2, 32))

    handle = model.model.layers[1].register_forward_hook(hook)
    expected = model(IDS).logits
    handle.remove()
    with holding(network("llama"), ("block_output", 1), own, source, lambda prompts: np.array([at])):
        assert_close(model(IDS).logits, expected)
        with pytest.raises(DasError, match="several forwards"):
            model.generate(IDS, prefill_chunk_size=3, max_new_tokens=2)


@torch.no_grad()
def test_two_swaps_hold_together():
    model, clean = network("llama").model, network("llama").model(IDS).logits
    with held("llama"), held("llama", where=lambda prompts: np.array([[1]])):
        both = model(IDS).logits
    with by_hand("llama", 1, sources("llama")[0, 0]), by_hand("llama", PLACE, sources("llama")[0, 0]):
        assert_close(both, model(IDS).logits)
    assert torch.equal(model(IDS).logits, clean)


@torch.no_grad()
def test_a_network_that_keeps_a_state_and_no_cache_goes_on_from_the_swap():
    torch.manual_seed(0)
    options = SMALL | NONE | {"hidden_size": 32, "state_size": 4}
    lm = LM(transformers.MambaForCausalLM(transformers.MambaConfig(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    found, at = [], lambda prompts: np.array([[PLACE]])
    for cached in (True, False):
        with holding(lm, ("block_output", 1), feature("llama"), sources("llama"), at):
            found.append(lm.model.generate(IDS, use_cache=cached, **STEPS))
    assert found[0].sequences.tolist() == found[1].sequences.tolist()
    assert_close(torch.stack(found[0].logits), torch.stack(found[1].logits))
    assert not torch.allclose(found[0].logits[0], lm.model(IDS).logits[:, -1], rtol=1e-2)


# --- what is refused, and what is left behind ---


def hooks(model):
    every = [*model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in every), "generate" in vars(model)


@torch.no_grad()
def test_nothing_is_left_behind_whatever_happens():
    model = network("llama").model
    before, clean = hooks(model), model(IDS).logits
    with held("llama"):
        assert hooks(model) != before
        model(IDS)
    with pytest.raises(IndexError), held("llama"):
        model(torch.tensor([[5, 9, 17, 23, 400]]))
    assert hooks(model) == before
    assert torch.equal(model(IDS).logits, clean)


CALLS = {
    "not called": (lambda model: None, "nothing was swapped"),
    "a cache from before": (lambda model: model(IDS[:, -1:], past_key_values=network("llama").cache), "begin the prompt"),
    "another cache": (lambda model: (model(IDS), model(IDS[:, :1], past_key_values=network("llama").cache)), "go on from"),
    "a part alone": (lambda model: model.model(IDS), "by itself"),
    "no token ids": (lambda model: model(inputs_embeds=torch.zeros(1, 6, 32)), "token ids"),
    "padding without a mask": (lambda model: model(padded("left")["input_ids"]), "attention_mask"),
    "a mask of pairs": (lambda model: model(IDS, attention_mask=torch.ones(1, 1, 6, 6)), "attention_mask"),
    "guidance": (lambda model: model.generate(IDS, guidance_scale=2.0, max_new_tokens=2), "does not go on"),
    "a cache that holds the place": (
        lambda model: model.generate(IDS, past_key_values=network("llama").cache, max_new_tokens=2), "go on from|nothing was",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@torch.no_grad()
def test_a_call_whose_place_is_not_known_is_refused(call):
    lm = network("llama")
    lm.cache = lm.model(IDS[:, :5]).past_key_values
    action, why = CALLS[call]
    with pytest.raises(DasError, match=why), held("llama"):
        action(lm.model)


@torch.no_grad()
def test_as_many_sources_as_prompts_or_one():
    with pytest.raises(DasError, match="3 sources and 2 prompts"), held("llama", 3):
        network("llama").model(IDS.expand(2, -1))
