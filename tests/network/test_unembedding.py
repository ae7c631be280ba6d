"""What a direction says to the head is what the network's own matrices make of it."""

import numpy as np
import pytest
import torch
import transformers

from das.errors import DasError
from das.network.lm import LM
from das.network.unembedding import unembedding, written
from das.planted.planting import plant
from das.task.encoded import Encoded

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
NETWORKS = {
    "llama": ("LlamaForCausalLM", GROUPED, "model.norm", 0, False),
    "gemma2": ("Gemma2ForCausalLM", GROUPED | {"head_dim": 8}, "model.norm", 1, False),
    "gpt2": ("GPT2LMHeadModel", SMALL, "transformer.ln_f", 0, True),
    "gpt-neox": ("GPTNeoXForCausalLM", SMALL | {"intermediate_size": 48}, "gpt_neox.final_layer_norm", 0, True),
    "opt": ("OPTForCausalLM", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32}, "model.decoder.final_layer_norm", 0, True),
}  # fmt: skip


def network(kind, options):
    torch.manual_seed(0)
    cls = getattr(transformers, kind)
    lm = LM(cls(cls.config_class(**options)), None)
    for parameter in lm.model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return lm


def prompts():
    return Encoded(np.random.default_rng(0).integers(3, 50, (3, 7)), np.array([7, 7, 5]))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_direction_is_read_through_the_networks_own_norm_and_head(name):
    kind, options, norm, added, centres = NETWORKS[name]
    lm, directions = network(kind, options), torch.randn(32, 3)
    scale = lm.model.get_submodule(norm).weight + added
    moved = directions - directions.mean(0) if centres else directions
    expected = lm.model.get_output_embeddings().weight @ (scale[:, None] * moved)
    found = unembedding(lm, prompts())
    torch.testing.assert_close(found.read(directions), expected - expected.mean(0), rtol=1e-3, atol=1e-3)
    assert found.centres == centres


def test_a_long_step_along_a_direction_ends_at_the_token_that_it_promotes_most():
    """Where the direction is nearly all of the state, the network's own answer is the reading, up to the head's bias."""
    lm, direction = network(*NETWORKS["llama"][:2]), torch.randn(32)
    batch = prompts().take(np.arange(2))
    read = unembedding(lm, batch).read(direction[:, None])[:, 0]
    handle = lm.blocks[-1].register_forward_hook(lambda m, i, out: out + 1e4 * direction)
    assert lm.logits(batch).argmax(1).tolist() == [int(read.argmax())] * 2
    handle.remove()


def test_a_network_without_a_norm_is_read_by_its_head_alone():
    planted = plant(2, 24)
    ids = planted.task.encode(planted.task.model.sample(np.random.default_rng(0), 2), planted.lm.tokenizer)
    found, expected = unembedding(planted.lm, ids), planted.lm.model.head.weight @ planted.basis
    torch.testing.assert_close(found.read(planted.basis), expected - expected.mean(0))
    assert found.norm == ""


def test_bfloat16_is_read_as_its_weights_are():
    exact = network(*NETWORKS["llama"][:2])
    rounded = LM(exact.model.to(torch.bfloat16), None)
    directions = torch.randn(32, 2)
    expected = rounded.model.lm_head.weight.float() @ (rounded.model.model.norm.weight.float()[:, None] * directions)
    torch.testing.assert_close(
        unembedding(rounded, prompts()).read(directions), expected - expected.mean(0), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("T5ForConditionalGeneration", {"vocab_size": 50, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": 0}, "last layer"),
        ("BertForMaskedLM", SMALL | {"intermediate_size": 48}, "neither a LayerNorm nor an RMSNorm"),
        ("OPTForCausalLM", SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}, "more than a"),
    ],
)  # fmt: skip
def test_a_network_whose_head_reads_something_else_is_refused(kind, options, why):
    lm = network(kind, options)
    with pytest.raises(DasError, match=why):
        unembedding(lm, prompts())


# --- components ---


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox", "opt"])
@pytest.mark.parametrize("component", ["attention_output", "mlp_output", "heads", "heads.2", "mlp_neurons"])
def test_what_a_component_writes_is_what_the_hidden_state_gains(name, component):
    """Moving the component's vector by a direction moves the layer's output by what `written` says, where nothing lies between
    them: attention's part is held fixed against the MLP behind it by asking what attention itself adds."""
    lm, batch, layer = network(*NETWORKS[name][:2]), prompts().take(np.arange(1)), 1
    tap = lm.tap(component, layer)
    direction = torch.randn(lm.size(component, layer), 1)
    after = lm.tap("mlp_output" if component.startswith("mlp") else "attention_output", layer).module
    seen = []

    def gained(step):
        def move(value, before):
            tensor = value[0] if isinstance(value, tuple) else value
            index = slice(None) if tap.index is None else tap.index
            changed = tensor.clone()
            changed[..., index] += step * direction[:, 0]
            return (changed, *value[1:]) if isinstance(value, tuple) else changed

        hooks = [
            tap.watch(move),
            after.register_forward_hook(lambda m, i, out: seen.append(out if torch.is_tensor(out) else out[0])),
        ]
        lm.logits(batch)
        for hook in hooks:
            hook.remove()
        return seen[-1].flatten(0, -2)[-1]

    expected = gained(1.0) - gained(0.0)
    torch.testing.assert_close(written(lm, component, layer, direction, batch)[:, 0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "component", "why"),
    [("gemma2", "heads", "passes through something else"), ("gemma2", "mlp_output", "passes through"), ("llama", "query", "is not added")],
)  # fmt: skip
def test_components_that_do_not_just_add_are_refused(name, component, why):
    lm = network(*NETWORKS[name][:2])
    with pytest.raises(DasError, match=why):
        written(lm, component, 1, torch.randn(lm.size(component, 1), 1), prompts())
