"""On every architecture a resumed answer is that of a full patched forward, of one written here with nothing of das, and of pyvene."""

import sys
from functools import cache
from operator import attrgetter

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import architectures

from das.errors import DasError
from das.interchange.engine import HookEngine, ResumeEngine
from das.interchange.selftest import make_engine, self_test
from das.interchange.subspace import Subspace, random_basis
from das.network.lm import LM
from das.network.site import Site
from das.task.encoded import Encoded
from das.use.pyvene import pyvene_logits

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
LATE_WINDOWS = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
TURNS = {"head_dim": 8, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
OPT = SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32}
PROJECTED = OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}

# name: (class, options, where its blocks are)
ARCHITECTURES = {
    "llama": ("LlamaForCausalLM", GROUPED | {"num_key_value_heads": 4}, "model.layers"),
    "llama, grouped queries": ("LlamaForCausalLM", GROUPED, "model.layers"),
    "gpt2": ("GPT2LMHeadModel", SMALL, "transformer.h"),
    "gpt2, scaled by layer": ("GPT2LMHeadModel", SMALL | {"scale_attn_by_inverse_layer_idx": True}, "transformer.h"),
    "gpt-neox": ("GPTNeoXForCausalLM", SMALL | {"intermediate_size": 48}, "gpt_neox.layers"),
    "mistral, windows": ("MistralForCausalLM", GROUPED | {"sliding_window": 4}, "model.layers"),
    "qwen2": ("Qwen2ForCausalLM", GROUPED, "model.layers"),
    "qwen2, late windows": ("Qwen2ForCausalLM", GROUPED | LATE_WINDOWS, "model.layers"),
    "qwen3": ("Qwen3ForCausalLM", GROUPED | {"head_dim": 12}, "model.layers"),
    "gemma2": ("Gemma2ForCausalLM", GROUPED | TURNS | {"attn_logit_softcapping": 2.0}, "model.layers"),
    "gemma3": ("Gemma3ForCausalLM", GROUPED | TURNS, "model.layers"),
    "phi3": ("Phi3ForCausalLM", GROUPED, "model.layers"),
    "phi3, windows": ("Phi3ForCausalLM", GROUPED | {"sliding_window": 4}, "model.layers"),
    "olmo2": ("Olmo2ForCausalLM", GROUPED, "model.layers"),
    "opt": ("OPTForCausalLM", OPT, "model.decoder.layers"),
    "opt, projected": ("OPTForCausalLM", PROJECTED, "model.decoder.layers"),
}
WAYS = {
    f"{name}, {attention}": (name, attention)
    for name, (kind, *_) in ARCHITECTURES.items()
    for attention in ("eager", "sdpa")
    if attention == "eager" or getattr(transformers, kind)._supports_sdpa
}
PREFIX = [7, 8, 9, 10, 11, 12]
PATCHES = [(0, "here"), (0, "last"), (2, "here"), (2, "last"), (3, "last")]


@cache
def network(name, attention):
    """A network all of whose parameters are random: no norm is the identity, no attention is flat."""
    kind, options, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    kind = getattr(transformers, kind)
    lm = LM(kind(kind.config_class(**options, attn_implementation=attention)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return lm


def prompts(seed=0):
    """Random prompts of several lengths that begin alike, with a place that differs by row and one that is the last."""
    lengths, width = np.array([12, 10, 12, 8, 11]), 12
    ids = np.random.default_rng(seed).integers(3, 50, (5, width))
    for row, start in zip(ids, width - lengths, strict=True):
        row[:start], row[start : start + 6] = 0, PREFIX
    return Encoded(ids, lengths, {"here": np.array([[7], [9], [6], [10], [8]]), "last": np.full((5, 1), width - 1)})


def plain(name, model, batch, layer, columns, values):
    """Logits, and what was at the patched places: one forward over prompts padded on the right, without mask or positions."""
    rows, lengths = torch.arange(5)[:, None], torch.from_numpy(batch.lengths)
    ids = np.stack([np.roll(row, n - len(row)) for row, n in zip(batch.ids, batch.lengths, strict=True)])
    columns, before = columns - (ids.shape[1] - lengths)[:, None], []

    def patch(_module, _inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        before.append(hidden[rows, columns])
        hidden[rows, columns] = values
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = attrgetter(ARCHITECTURES[name][2])(model)[layer].register_forward_hook(patch)
    logits = model(torch.from_numpy(ids), use_cache=False).logits[torch.arange(5), lengths - 1]
    handle.remove()
    return logits, before[0]


def assert_close(found, expected):
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def test_it_is_resumed_and_passes_its_own_test(way):
    lm = network(*way)
    assert self_test(lm) < 1e-5
    assert isinstance(make_engine(lm), ResumeEngine)


@pytest.mark.parametrize(("layer", "place"), PATCHES)
def test_a_patch_has_the_same_logits_and_gradients_every_way(way, layer, place):
    lm, batch, spot = network(*way), prompts(), ("block_output", layer)
    columns = torch.from_numpy(batch.positions[place])
    values = torch.randn(2, 5, 1, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits, before = zip(*(plain(way[0], lm.model, batch, layer, columns, copy) for copy in values), strict=True)
    expected = torch.stack(logits)
    (gradient,) = torch.autograd.grad(expected.square().sum(), values)
    assert gradient.abs().max() > 0
    for engine in (HookEngine(lm), ResumeEngine(lm), ResumeEngine(lm, PREFIX)):
        capture, alone = (engine.capture(batch, [spot], resumable) for resumable in (True, False))
        found = engine.resume(capture, spot, columns, values)
        assert_close(capture.at(spot, columns), before[0])
        assert_close(alone.at(spot, columns), before[0])
        assert_close(found, expected)
        assert_close(torch.autograd.grad(found.square().sum(), values)[0], gradient)


@pytest.mark.parametrize(("layer", "place"), PATCHES)
@pytest.mark.filterwarnings("ignore")
def test_a_swap_equals_pyvenes(way, layer, place):
    lm, base, source, spot = network(*way), prompts(), prompts(seed=1), ("block_output", layer)
    subspace = Subspace(random_basis(32, 3, torch.Generator().manual_seed(2))[:, None], torch.ones(1, 3))
    engine, columns = ResumeEngine(lm), torch.from_numpy(base.positions[place])
    capture, other = engine.capture(base, [spot]), engine.capture(source, [spot], resumable=False)
    before, swapped = capture.at(spot, columns)[:, 0], other.at(spot, columns)[:, 0]
    after = (before + subspace.swap(before, swapped[None]))[None, :, None]
    logits = engine.resume(capture, spot, columns, after)[0]
    assert_close(logits, pyvene_logits(lm, base, source, Site(layer, place), subspace))
    assert not torch.allclose(logits, capture.logits, rtol=1e-3)


LIMITED = {
    "phimoe, windows": ("PhimoeForCausalLM", GROUPED | {"sliding_window": 8}),
    "llama, frequencies by length": (
        "LlamaForCausalLM",
        GROUPED
        | {"max_position_embeddings": 8, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    ),
}
"""What these do with long prompts goes past the attention function, so they cannot be resumed there."""


@pytest.mark.parametrize("name", LIMITED)
def test_a_network_that_treats_long_prompts_otherwise_gets_full_forwards_for_them(name):
    kind, options = LIMITED[name]
    torch.manual_seed(0)
    kind = getattr(transformers, kind)
    lm = LM(kind(kind.config_class(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    assert isinstance(make_engine(lm, PREFIX, length=30), HookEngine)


def test_attention_sinks_are_kept():
    torch.manual_seed(0)
    options = GROUPED | TURNS | {"num_local_experts": 2, "num_experts_per_tok": 1}
    lm = LM(transformers.GptOssForCausalLM(transformers.GptOssConfig(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    assert isinstance(make_engine(lm, PREFIX, length=20), ResumeEngine)


# --- every family of transformers that das knows of, with prompts of several lengths (benchmarks/architectures.py) ---

REFUSED = {"albert", "xlm", "flaubert", "xlnet", "longformer", "led", "nystromformer"}
"""Shared layers, layers in pieces, states by column first, prompts padded within, one fixed length."""


@cache
def served(name):
    """A family's network, its engine (None where it is refused) and prompts of several lengths."""
    lm = LM(architectures.network(name), None)
    try:
        return lm, make_engine(lm, None, ["block_output"], 13, architectures.prompts())
    except DasError:
        return lm, None


@torch.no_grad()
def library(lm, ids, patch=None):
    """What the library answers to one unpadded prompt, with the last layer's output at the last token replaced."""
    starts = (
        {"decoder_input_ids": torch.tensor([[lm.model.config.decoder_start_token_id]])}
        if architectures._decodes(lm.model)
        else {}
    )

    def put(_module, _inputs, output):
        hidden = (output if isinstance(output, torch.Tensor) else output[0]).clone()
        hidden[0, -1] = patch
        return hidden if isinstance(output, torch.Tensor) else type(output)([hidden, *output[1:]])

    handle = lm.blocks[-1].register_forward_hook(put) if patch is not None else None
    try:
        return lm.model(input_ids=torch.from_numpy(ids)[None], **starts).logits[0, -1]
    finally:
        if handle:
            handle.remove()


@pytest.mark.parametrize("name", architectures.FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_a_family_is_asked_as_the_library_would_or_refused(name):
    (lm, engine), asked = served(name), architectures.prompts()
    assert (engine is None) == (name in REFUSED)
    if engine is None:
        return
    rows = [ids[-n:] for ids, n in zip(asked.ids, asked.lengths, strict=True)]
    spot, columns = ("block_output", lm.layers - 1), torch.full((len(rows), 1), 12)
    capture = engine.capture(asked, [spot], first=6)
    assert_close(lm.logits(asked), torch.stack([library(lm, ids) for ids in rows]))
    assert_close(capture.logits, lm.logits(asked))
    assert_close(engine.resume(capture, spot, columns, capture.at(spot, columns)[None])[0], capture.logits)
    values = torch.randn(1, len(rows), 1, capture.at(spot, columns).shape[-1], generator=torch.Generator().manual_seed(3))
    patched = torch.stack([library(lm, ids, value) for ids, value in zip(rows, values[0, :, 0], strict=True)])
    assert_close(engine.resume(capture, spot, columns, values)[0], patched)
    assert not torch.allclose(patched, capture.logits, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_no_family_that_can_be_resumed_is_run_whole():
    assert sum(isinstance(served(name)[1], ResumeEngine) for name in architectures.FAMILIES) >= 43
