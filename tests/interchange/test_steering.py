"""Steering is what a hook written here does, token by token, in calls and in generation, with a cache and without."""

from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from by_hand import asked, begun, greedy
from test_holding import IDS, NETWORKS, PROMPTS, STEPS, assert_close, hooks, network, padded

from das.errors import DasError
from das.interchange.contrast import Contrast
from das.interchange.holding import holding
from das.interchange.operators import Add, Piecewise, ProjectOut, Replace
from das.interchange.steering import Operators, Tokens, every_token, steering
from das.interchange.subspace import Subspace, random_basis

D = 32
ONE = [name for name in NETWORKS if name != "qwen3"]
"""Whose vectors have as many entries."""


def vector(seed=0):
    return 3 * torch.randn(D, generator=torch.Generator().manual_seed(seed))


BASIS, SOURCE = random_basis(D, 4, torch.Generator().manual_seed(2)), 40 * vector(5)
OPERATORS = {
    "add": (Add(vector(), 2.0), lambda h: h + 2 * vector()),
    "piecewise": (Piecewise(vector(), 1.5), lambda h: h + 1.5 * (h @ vector()).sign()[..., None] * vector()),
    "project out": (ProjectOut(vector()), lambda h: h - (h @ vector())[..., None] * vector() / (vector() @ vector())),
    "interchange": (
        Replace(Subspace(BASIS[:, None], torch.ones(1, 4)), SOURCE[None, None]),
        lambda h: h + (SOURCE - h) @ BASIS @ BASIS.T,
    ),
}


@contextmanager
def by_hand(name, change, chosen, layers=(1,)):
    """Hooks that change vectors at chosen columns of every forward. chosen: how many columns there are → which."""

    def hook(_module, _inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        at = chosen(hidden.shape[1])
        hidden[:, at] = change(hidden[:, at])
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with ExitStack() as stack:
        for layer in layers:
            module = network(name).model.get_submodule(NETWORKS[name][3].replace("1", str(layer)))
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def spots(name, layers=(1,)):
    return [(NETWORKS[name][2], layer) for layer in layers]


def steered(name, operator, tokens, layers=(1,), count=1):
    return steering(network(name), spots(name, layers), tokens, Operators(dict.fromkeys(spots(name, layers), operator), count))


def new_of(name):
    """All columns at which a new token is made; of an encoder all of the prompt's."""
    return lambda length: list(range(0 if "coder" in name else 5, length))


def from_last(prompt):
    """From a prompt's last column on."""
    return lambda length: list(range(len(prompt) - 1, length))


def tokens_of(name):
    return Tokens(every_token) if "encoder" in name else Tokens(new=None)


CASES = [*((name, "add") for name in ONE), *((name, each) for name in ("llama", "t5, decoder") for each in OPERATORS)]


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("name", "operator"), dict.fromkeys(CASES))
@torch.no_grad()
def test_what_is_generated_is_what_a_hook_by_hand_gives_token_by_token(name, operator, cached):
    model, (mine, change) = network(name).model, OPERATORS[operator]
    with by_hand(name, change, new_of(name), (0, 1)):
        tokens, logits = greedy(model, IDS, 8)
    with steered(name, mine, tokens_of(name), (0, 1)):
        found = model.generate(IDS, use_cache=cached, **STEPS | {"max_new_tokens": 8})
    assert found.sequences.tolist() == tokens.tolist()
    assert_close(torch.stack(found.logits), logits)
    plain = model.generate(IDS, **STEPS | {"max_new_tokens": 1})
    assert not torch.allclose(found.logits[0], plain.logits[0], rtol=1e-2)


CHOSEN = {  # of 6 tokens of a prompt: what is steered, and the columns of it
    "two of the prompt": (Tokens(lambda prompts: np.array([[1, 3]])), lambda n: [1, 3]),
    "every token": (Tokens(every_token, None), lambda n: list(range(n))),
    "the second and fourth new one": (Tokens(new=(1, 3)), lambda n: [i for i in (6, 8) if i < n]),
    "the first new one and one of the prompt": (Tokens(lambda prompts: np.array([[2]]), (0,)), lambda n: [2, 5]),
}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("chosen", CHOSEN)
@torch.no_grad()
def test_the_tokens_that_are_named_are_steered_and_no_others(chosen, cached):
    model, (mine, change), (tokens, columns) = network("gpt2").model, OPERATORS["add"], CHOSEN[chosen]
    with by_hand("gpt2", change, columns):
        texts, logits = greedy(model, IDS, 5)
    with steered("gpt2", mine, tokens):
        found = model.generate(IDS, use_cache=cached, **STEPS | {"max_new_tokens": 5})
    assert found.sequences.tolist() == texts.tolist()
    assert_close(torch.stack(found.logits), logits)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "t5, encoder", "bart, decoder"])
@torch.no_grad()
def test_prompts_of_unequal_length_are_steered_each_by_its_own_vector_as_alone(name, cached):
    model, every = network(name).model, torch.stack([vector(i) for i in range(3)])
    with steered(name, Add(every, 2.0), tokens_of(name), count=3):
        found = model.generate(**padded("left"), use_cache=cached, max_new_tokens=4, do_sample=False)
    for row, prompt in enumerate(PROMPTS):
        chosen = new_of(name) if "coder" in name else from_last(prompt)
        with by_hand(name, lambda h, row=row: h + 2 * every[row], chosen):
            tokens, _ = greedy(model, torch.tensor([prompt]), 4)
        assert found[row, -4:].tolist() == tokens[0, -4:].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_in_a_padded_call_the_last_token_of_each_prompt_is_steered(side):
    model, last = network("llama").model, [5, 5, 5] if side == "left" else [5, 3, 4]
    with steered("llama", OPERATORS["add"][0], Tokens(new=None)):
        found = model(**padded(side)).logits[range(3), last]
    for row, prompt in enumerate(PROMPTS):
        with by_hand("llama", OPERATORS["add"][1], from_last(prompt)):
            assert_close(found[row], model(torch.tensor([prompt])).logits[0, -1])


@torch.no_grad()
def test_beams_keep_their_prompts_vector():
    model, every = network("llama").model, torch.stack([vector(i) for i in range(3)])
    ways = {"max_new_tokens": 4, "do_sample": False, "num_beams": 3}
    with steered("llama", Add(every, 2.0), Tokens(new=None), count=3):
        found = model.generate(**padded("left"), **ways)
    for row, prompt in enumerate(PROMPTS):
        with by_hand("llama", lambda h, row=row: h + 2 * every[row], from_last(prompt)):
            alone = model.generate(torch.tensor([prompt]), use_cache=False, **ways)
        assert found[row, -4:].tolist() == alone[0, -4:].tolist()


@torch.no_grad()
def test_a_loop_of_ones_own_with_a_cache_goes_on_from_its_prompt():
    model, (mine, change) = network("llama").model, OPERATORS["add"]
    with by_hand("llama", change, new_of("llama")):
        _, logits = greedy(model, IDS, 3)
    with steered("llama", mine, Tokens(new=None)):
        out = model(IDS)
        for step in range(3):
            assert_close(out.logits[:, -1], logits[step])
            out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values)


# --- several at once ---


@pytest.mark.parametrize("cached", [True, False])
@torch.no_grad()
def test_steerings_and_a_held_swap_compose(cached):
    model, (add, plus), (out, less) = network("qwen2").model, OPERATORS["add"], OPERATORS["project out"]
    feature = Subspace(BASIS[:, None], torch.ones(1, 4))
    swap = OPERATORS["interchange"][1]
    with (
        by_hand("qwen2", swap, lambda n: [3], (0,)),
        by_hand("qwen2", plus, new_of("qwen2")),
        by_hand("qwen2", less, new_of("")),
    ):
        tokens, logits = greedy(model, IDS, 6)
    lm, spot = network("qwen2"), ("mlp_output", 0)
    with (
        holding(lm, spot, feature, SOURCE[None, None], lambda prompts: np.array([[3]])),
        steered("qwen2", add, Tokens(new=None)),
        steered("qwen2", out, Tokens(new=None)),
    ):
        found = model.generate(IDS, use_cache=cached, **STEPS | {"max_new_tokens": 6})
    assert found.sequences.tolist() == tokens.tolist()
    assert_close(torch.stack(found.logits), logits)


# --- contrast vectors ---

PLUS, MINUS = [7, 12, 44, 21], [6, 33, 18, 29, 40, 11, 9]


def had(name, prompt, said, layers):
    """What a prompt with a text after it has from its last token on, in each layer."""
    with torch.no_grad():
        states = network(name).model(torch.tensor([prompt + said]), output_hidden_states=True).hidden_states
    return [states[layer + 1][0, len(prompt) - 1 :] for layer in layers]


def contrasted_by_hand(name, ids, steps, layers, alpha):
    """Greedy by full forwards: the differences of what two prompts with the text after them have are added in each."""
    model, answer, logits = network(name).model, begun(network(name).model, ids), []
    for _ in range(steps):
        said = answer[0, ids.shape[1] :].tolist()
        with ExitStack() as stack:
            for layer, plus, minus in zip(layers, had(name, PLUS, said, layers), had(name, MINUS, said, layers), strict=True):
                more = partial(torch.add, alpha=alpha, other=plus - minus)
                stack.enter_context(by_hand(name, more, new_of(name), (layer,)))
            logits.append(asked(model, ids, answer))
        answer = torch.cat([answer, logits[-1].argmax(-1, keepdim=True)], 1)
    return answer, torch.stack(logits)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@torch.no_grad()
def test_contrast_vectors_are_those_of_the_two_prompts_with_the_text_so_far(name, cached):
    lm, layers = network(name), (0, 1)
    tokens, logits = contrasted_by_hand(name, IDS, 5, layers, 2.0)
    push = Contrast(lm, spots(name, layers), [np.array(PLUS)], [np.array(MINUS)], 2.0)
    with steering(lm, spots(name, layers), Tokens(new=None), push):
        found = lm.model.generate(IDS, use_cache=cached, **STEPS | {"max_new_tokens": 5})
    assert found.sequences.tolist() == tokens.tolist()
    assert_close(torch.stack(found.logits), logits)
    other = Contrast(lm, spots(name, layers), [np.array(MINUS)], [np.array(PLUS)], 2.0)
    with steering(lm, spots(name, layers), Tokens(new=None), push), steering(lm, spots(name, layers), Tokens(new=None), other):
        both = lm.model.generate(IDS, use_cache=cached, **STEPS | {"max_new_tokens": 5})
    plain = lm.model.generate(IDS, **STEPS | {"max_new_tokens": 5})  # what is added is taken away
    assert_close(both.logits[0], plain.logits[0])


# --- what is refused, and what is left behind ---


@torch.no_grad()
def test_what_cannot_be_steered_is_refused_and_nothing_is_left_behind():
    lm, add = network("llama"), OPERATORS["add"][0]
    before, clean, other = hooks(lm.model), lm.model(IDS).logits, lm.model(IDS[:, :5]).past_key_values

    def refused(why, call, name="llama", tokens=None, count=1, operator=add):
        tokens = tokens or Tokens(new=None)
        with pytest.raises(DasError, match=why), steered(name, operator, tokens, count=count):
            call(network(name).model)

    refused("not called in the block", lambda model: None)
    refused("came to none", lambda model: model.generate(IDS, max_new_tokens=2, do_sample=False), tokens=Tokens(new=(7,)))
    refused("by itself", lambda model: model.model(IDS))
    refused("2 prompts and 3 prompts", lambda model: model(IDS.expand(3, -1)), count=2, operator=Add(torch.ones(2, D)))
    refused("go on from", lambda model: (model(IDS), model(IDS[:, :1], past_key_values=other)))
    refused("reads the prompt and no new", lambda model: None, "t5, encoder")
    refused("no token of the prompt", lambda model: None, "t5, decoder", Tokens(every_token, None))
    refused("padding", lambda model: model(padded("left")["input_ids"]))
    push = Contrast(lm, spots("llama"), [np.array(PLUS)], [np.array(MINUS)], 1.0)
    with pytest.raises(DasError, match="no beams"), steering(lm, spots("llama"), Tokens(new=None), push):
        lm.model.generate(IDS, num_beams=2, max_new_tokens=2)
    assert hooks(lm.model) == before
    assert torch.equal(lm.model(IDS).logits, clean)
