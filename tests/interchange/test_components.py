"""Components inside a layer, and networks that are no decoders: the same swap by the engine, by plain hooks, by pyvene."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from das.errors import DasError
from das.find.kinds import Nested
from das.find.rotations import SubspaceStack
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.selftest import make_engine, self_test
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import COMPONENTS, Site
from das.task.encoded import Encoded
from das.use.pyvene import pyvene_logits

SIZES = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
DECODERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, intermediate_size=48)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=48)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES, num_key_value_heads=2, intermediate_size=48)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32)),
}
INNER = [*(name for name in COMPONENTS if name != "block_output"), "heads.1", "query.3", "key.1", "value.0"]


def network(name):
    torch.manual_seed(0)
    return LM(DECODERS[name](), None)


def prompts(rows=4, width=10, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.array([10, 8, 10, 9][:rows])
    ids = rng.integers(3, 50, (rows, width))
    ids[np.arange(width) < (width - lengths)[:, None]] = 0
    places = {"here": np.array([[6], [7], [5], [8]])[:rows], "last": np.full((rows, 1), width - 1)}
    return Encoded(ids, lengths, places)


@pytest.mark.parametrize("name", DECODERS)
def test_every_component_is_resumed_exactly(name):
    lm = network(name)
    groups = lm.heads[1]
    components = [c for c in INNER if not (c == "key.1" and groups < 2)]
    assert self_test(lm, ResumeEngine, components) < 1e-5
    assert isinstance(make_engine(lm, None, components), ResumeEngine)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("component", ["mlp_neurons", "heads.1", "key", "value.0"])
def test_a_change_inside_a_layer_has_the_same_gradients_both_ways(name, component):
    lm, batch = network(name), prompts()
    columns, spot, results = torch.from_numpy(batch.positions["here"]), (component, 1), []
    for engine in (HookEngine(lm), ResumeEngine(lm)):
        capture = engine.capture(batch, [spot])
        size = lm.size(*spot)
        values = torch.randn(2, 4, 1, size, generator=torch.Generator().manual_seed(1)).requires_grad_()
        engine.resume(capture, spot, columns, values).square().sum().backward()
        results.append(values.grad)
        assert values.grad.abs().max() > 0
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("kind", [HookEngine, ResumeEngine])
def test_gradients_at_all_spots_at_once_are_those_of_each_swap_by_itself(name, kind):
    lm, batch, rows = network(name), prompts(), slice(1, 3)
    engine, columns = kind(lm), torch.from_numpy(batch.positions["here"])[rows]
    components = [c for c in (*INNER, "block_output") if not (c == "key.1" and lm.heads[1] < 2)]
    spots = [(component, layer) for component in components for layer in range(3)]
    capture = engine.capture(batch, spots, first=5)
    found = engine.gradients(capture, spots, lambda logits: logits.square().sum(), rows)
    torch.testing.assert_close(found.logits, capture.logits[rows])
    for spot in spots:
        values = capture.at(spot, columns, torch.arange(1, 3))[None].requires_grad_()
        engine.resume(capture, spot, columns, values, rows).square().sum().backward()
        torch.testing.assert_close(found.at(spot, columns), values.grad[0], rtol=1e-4, atol=1e-5)


def test_a_component_is_what_its_name_says():
    """On Llama, by the modules themselves: what each was given or gave, row by row."""
    lm, batch = network("llama"), prompts()
    attention, mlp, seen = lm.blocks[1].self_attn, lm.blocks[1].mlp, {}
    modules = {"query": attention.q_proj, "key": attention.k_proj, "value": attention.v_proj}
    for name, module in {**modules, "mlp_output": mlp}.items():
        module.register_forward_hook(lambda m, args, out, name=name: seen.__setitem__(name, out))
    attention.register_forward_hook(lambda m, args, out: seen.__setitem__("attention_output", out[0]))
    attention.o_proj.register_forward_pre_hook(lambda m, args: seen.__setitem__("heads", args[0]))
    mlp.down_proj.register_forward_pre_hook(lambda m, args: seen.__setitem__("mlp_neurons", args[0]))
    capture = HookEngine(lm).capture(batch, [(name, 1) for name in INNER])
    for name, value in seen.items():
        assert torch.equal(capture.vectors[name, 1], value), name
    assert torch.equal(capture.vectors["heads.1", 1], seen["heads"][..., 8:16])
    assert torch.equal(capture.vectors["query.3", 1], seen["query"][..., 24:32])
    assert torch.equal(capture.vectors["key.1", 1], seen["key"][..., 8:16])


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "phi3"])
def test_fused_projections_are_taken_apart_as_the_network_does(name):
    """Changing one head's value changes that head's output and no other's."""
    lm, batch = network(name), prompts()
    engine, last = HookEngine(lm), torch.from_numpy(batch.positions["last"])
    groups = lm.heads[1]
    found: dict[str, torch.Tensor] = {}
    spot = (f"value.{groups - 1}", 1)
    capture = engine.capture(batch, [spot, ("heads", 1)])
    module = lm.tap("heads", 1).module
    handle = module.register_forward_pre_hook(lambda m, args: found.__setitem__("heads", args[0]))
    engine.resume(capture, spot, last, torch.randn(1, 4, 1, lm.size(*spot)))
    handle.remove()
    moved = (found["heads"][:, -1] - capture.vectors["heads", 1][:, -1]).abs().unflatten(1, (groups, -1)).amax((0, 2))
    assert (moved > 1e-4).tolist() == [False] * (groups - 1) + [True]


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.filterwarnings("ignore")
def test_a_swap_equals_pyvenes(component):
    lm, base, source = network("llama"), prompts(), prompts(seed=1)
    site, engine = Site(1, "here", component), make_engine(network("llama"), None, [component])
    size, columns = lm.size(*site.spot), torch.from_numpy(base.positions["here"])
    basis = random_basis(size, 4, torch.Generator().manual_seed(2))[:, None]
    subspace = Subspace(basis, torch.ones(1, 4))
    capture, other = engine.capture(base, [site.spot]), engine.capture(source, [site.spot], resumable=False)
    before, swapped = capture.at(site.spot, columns)[:, 0], other.at(site.spot, columns)[:, 0]
    after = (before + subspace.swap(before, swapped[None]))[None, :, None]
    logits = engine.resume(capture, site.spot, columns, after)[0]
    torch.testing.assert_close(logits, pyvene_logits(lm, base, source, site, subspace), rtol=1e-4, atol=1e-5)


# --- what is asked for wrongly ---


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("heads.9", "heads 0 to 3"),
        ("key.2", "heads 0 to 1"),
        ("mlp_output.1", "numbered heads"),
        ("mlp_ouput", "mlp_output"),
        ("model.layers.{layer}.nothing", "no such module"),
    ],
)
def test_a_component_that_is_not_there_is_one_clear_error(component, message):
    with pytest.raises(DasError, match=message):
        network("llama").tap(component, 0)


# --- networks that are no decoders ---


class MLP(nn.Module):
    """Four tokens to a number, through hidden layers."""

    def __init__(self):
        super().__init__()
        self.embed, self.first, self.second = nn.Embedding(50, 4), nn.Linear(16, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        return self.head(self.second(self.first(self.embed(ids).flatten(1)).relu()).relu())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.gru, self.head = nn.Embedding(50, 8), nn.GRU(8, 8, batch_first=True), nn.Linear(8, 50)
        self.lower = nn.Linear(8, 8)

    def forward(self, ids):
        return self.head(self.gru(self.lower(self.embed(ids)))[0])


OTHERS = {
    "bert": (lambda: BertForMaskedLM(BertConfig(**SIZES, intermediate_size=48)), ["block_output", *INNER]),
    "t5": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=50, d_model=32, d_ff=48, d_kv=8, num_layers=3, num_heads=4, decoder_start_token_id=0)
        ),
        ["block_output", *INNER, "decoder.block.{layer}.layer.1.EncDecAttention"],
    ),
    "mlp": (MLP, ["first", "second"]),
    "gru": (Recurrent, ["lower", "gru"]),
}


def other(name):
    torch.manual_seed(0)
    make, components = OTHERS[name]
    return LM(make(), None), components


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_get_full_forwards_and_the_whole_vector_gives_the_sources_answer(name):
    lm, components = other(name)
    width = 4 if name == "mlp" else 10
    rng = np.random.default_rng(0)
    base, source = (Encoded(rng.integers(3, 50, (3, width)), np.full(3, width)) for _ in range(2))
    every = torch.arange(width).expand(3, -1)
    for component in components:
        engine = make_engine(lm, None, [component])
        assert isinstance(engine, HookEngine)
        spot = (component, 0)
        clean, other_ = engine.capture(base, [spot]), engine.capture(source, [spot])
        same = engine.resume(clean, spot, every, clean.at(spot, every)[None])
        torch.testing.assert_close(same[0], clean.logits)
        swapped = engine.resume(clean, spot, every, other_.at(spot, every)[None])
        assert not torch.allclose(swapped[0], clean.logits, atol=1e-6), component
        if component in ("block_output", "first", "second", "gru", "lower") and name != "t5":
            torch.testing.assert_close(swapped[0], _plain(lm, component, base, source), rtol=1e-4, atol=1e-5)


def _plain(lm, component, base, source):
    """The same swap by one hook that knows nothing of das."""
    module, kept = lm.tap(component, 0).module, {}
    handle = module.register_forward_hook(lambda m, args, out: kept.__setitem__("source", out))
    lm.logits(source)
    handle.remove()
    handle = module.register_forward_hook(lambda m, args, out: kept["source"])
    try:
        return lm.logits(base)
    finally:
        handle.remove()


def test_projections_joined_in_an_unknown_way_are_refused():
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

    config = GPTBigCodeConfig(vocab_size=50, n_embd=32, n_layer=2, n_head=4, multi_query=False, bos_token_id=1, eos_token_id=2)
    with pytest.raises(DasError, match="not known"):
        LM(GPTBigCodeForCausalLM(config), None).tap("query.1", 0)


def test_more_columns_than_the_vectors_have_are_refused():
    with pytest.raises(DasError, match="give k up to 10"):
        SubspaceStack(Nested(k=16), 32, 3, [0])
