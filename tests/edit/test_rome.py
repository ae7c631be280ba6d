"""ROME in small networks of three families: the same as by hand, its twin, patches put in, composed and taken out."""

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from das import LM, CausalModel, Choice, Context, DasError, Hypothesis, Prompt, Task, make_pairs, scalar
from das.edit.covariance import Moment, second_moments
from das.edit.memory import Memory
from das.edit.patch import Patch
from das.edit.rome import Settings, Wanted, associate
from das.edit.tuned import tune
from das.interchange.engine import ResumeEngine
from das.pairs.dataset import Dataset
from das.task.encoded import Encoded
from das.task.tokenizer import make_tokenizer

WORDS = ["ab", "cd", "ef", "gh"]
AT = "left.last"
LOUD = 0.2
"""Of random weights, so that what an MLP says is heard."""


@scalar
def same(left, right):
    return left == right


def said(same):
    return same


task = Task(
    Prompt("go {left} then {right} :", {True: " yes", False: " no"}),
    {"same": Hypothesis(CausalModel(same, said, inputs=dict.fromkeys(("left", "right"), Choice(WORDS))), "same")},
)
tokenizer = make_tokenizer(["go then : yes no and so it went on " + " ".join(WORDS)])
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}


def network(kind="llama"):
    torch.manual_seed(0)
    words = len(tokenizer)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=words, n_embd=32, n_layer=3, n_head=4, initializer_range=LOUD))
    elif kind == "qwen":
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=words, initializer_range=LOUD, **SMALL))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=words, initializer_range=LOUD, **SMALL))
    return LM(model.eval(), tokenizer)


def data_of(task, positions=(AT,)):
    """One subject, of which one thing is to be said."""
    pairs = make_pairs(task.hypotheses["same"], task.model.enumerate(), 64, np.random.default_rng(0), {"flip": 1.0})
    pairs = pairs.take(np.flatnonzero(pairs.answer & (pairs.base["left"] == "ab"))[:4])
    return Dataset.make(task, tokenizer, {"same": pairs}, positions)


def wanted(task=task):
    return [Wanted(data_of(each), "same", AT) for each in (task, task.under(Context("and so it went on : "), tokenizer))]


def moment_of(engine, memory):
    """Over words in any order: a text of the subject alone would have it left alone."""
    ids = np.random.default_rng(0).integers(0, len(tokenizer), (64, 12))
    return second_moments(engine, [memory], [Encoded(ids, np.full(64, 12))])[memory.layer]


def edited(lm, layer=1, **settings):
    engine, memory = ResumeEngine(lm), Memory.of(lm, layer)
    return engine, associate(engine, memory, moment_of(engine, memory), wanted(), settings=Settings(**settings))


def keys_and_values(lm, memory, ids):
    """What the memory is given and gives, by plain hooks."""
    seen = {}
    module = lm.tap(*memory.value).module
    hooks = [
        module.register_forward_pre_hook(lambda _m, given: seen.update(key=given[0])),
        module.register_forward_hook(lambda _m, _g, out: seen.update(value=out)),
    ]
    with torch.no_grad():
        lm.model(ids)
    for hook in hooks:
        hook.remove()
    return seen["key"], seen["value"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen"])
def test_after_an_edit_the_memory_answers_the_key_with_the_value_by_a_change_of_rank_one(kind):
    lm = network(kind)
    _, made = edited(lm)
    before = made.memory.matrix.detach().clone()
    with made.patch().applied(lm):
        change = (made.memory.matrix - before).double()
        after = change.T @ made.key.double() if made.memory.turned else change @ made.key.double()
        sizes = torch.linalg.svdvals(change)
    assert float((after - made.delta).abs().max() / made.delta.abs().max()) < 1e-4
    assert sizes[1] / sizes[0] < 1e-5
    assert torch.equal(made.memory.matrix, before)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen"])
def test_the_key_is_the_mean_of_what_plain_hooks_see_at_the_subject(kind):
    lm = network(kind)
    _, made = edited(lm)
    seen = []
    for each in wanted():
        prompts, columns, _ = each.asked()
        for ids, column in zip(prompts.ids, columns[:, 0], strict=True):
            key, value = keys_and_values(lm, made.memory, torch.from_numpy(ids)[None])
            seen.append((key[0, column], value[0, column]))
    for i, found in enumerate((made.key, made.value)):
        assert torch.allclose(torch.stack([each[i] for each in seen]).mean(0), found, atol=1e-5)


def test_the_moment_is_that_of_the_keys_that_plain_hooks_see_and_is_kept_by_a_name_of_digits(tmp_path):
    lm = network()
    memory, prompts = Memory.of(lm, 2), data_of(task).prompts
    keys = keys_and_values(lm, memory, torch.from_numpy(prompts.ids))[0].flatten(0, 1)
    engine = ResumeEngine(lm)
    found = second_moments(engine, [memory], [prompts.take([0, 1]), prompts.take(slice(2, None))], tmp_path, "../../etc")[2]
    assert found.tokens == len(keys)
    assert torch.allclose(found.matrix, keys.T @ keys / len(keys), atol=1e-5)
    (kept,) = tmp_path.glob("*.safetensors")
    assert set(kept.stem) <= set("0123456789abcdef")
    again = second_moments(engine, [memory], [], tmp_path, "../../etc")[2]
    assert torch.equal(again.matrix, found.matrix)
    with pytest.raises(DasError, match="there is nothing to read"):
        second_moments(engine, [memory], [], tmp_path, "another text")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen"])
def test_an_edit_makes_the_network_say_what_was_wanted_and_so_does_its_twin(kind):
    lm = network(kind)
    engine, made = edited(lm, steps=60, most=40.0, decay=0.0)
    assert made.loss[1] < made.loss[0] - 0.5
    prompts, columns, label = wanted()[0].asked()
    capture = engine.capture(prompts, [made.memory.value])
    value = capture.at(made.memory.value, columns)
    twin = engine.resume(capture, made.memory.value, columns, (value + made.delta)[None])[0]

    def probability(logits):
        return logits.softmax(-1).gather(1, torch.from_numpy(label_tokens(label)))

    before = probability(capture.logits)
    with made.patch().applied(lm):
        after = probability(engine.capture(prompts, []).logits)
    assert after.mean() > 1.3 * before.mean()
    assert probability(twin).mean() > 1.3 * before.mean()


def label_tokens(label):
    return data_of(task).answers.table(label)[0][:, :1, 0]


def test_with_one_key_the_edit_is_its_twin():
    """Where there is one prompt, the change answers its key as the twin has it: the network says the same."""
    lm = network()
    data = data_of(task)
    one = Dataset(data.prompts, {"same": data.pairs["same"].take(np.array([0]))}, data.answers)
    engine, memory = ResumeEngine(lm), Memory.of(lm, 1)
    made = associate(engine, memory, moment_of(engine, memory), [Wanted(one, "same", AT)])
    prompts, columns, _ = Wanted(one, "same", AT).asked()
    capture = engine.capture(prompts, [memory.value])
    with made.patch().applied(lm):
        value = engine.capture(prompts, [memory.value]).at(memory.value, columns)
    assert torch.allclose(value, capture.at(memory.value, columns) + made.delta, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_patches_go_in_compose_and_come_out_bit_by_bit(kind, tmp_path):
    lm = network(kind)
    engine, first = edited(lm)
    _, second = edited(lm, layer=0)
    weights = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    one, two = first.patch(edit="a"), tune(engine, first.memory, wanted(), steps=3, rate=1e-3, edit="b")
    both = Patch.compose([one, two, second.patch(edit="c")])
    path = both.save(tmp_path / "patch.safetensors")
    read = Patch.load(path)
    assert read.to_bytes() == both.to_bytes() == path.read_bytes()
    expected = weights[first.memory.name] + sum(c.delta for c in both.changes[first.memory.name])
    with read.applied(lm):
        assert torch.allclose(first.memory.matrix, expected, atol=1e-6)
        assert not torch.equal(second.memory.matrix, weights[second.memory.name])
    assert all(torch.equal(p, weights[name]) for name, p in lm.model.named_parameters())


def test_patches_made_one_upon_the_other_compose_and_come_out_in_turn():
    lm = network()
    _, made = edited(lm)
    before = made.memory.matrix.detach().clone()
    one = made.patch(edit="first")
    held = one.apply(lm)
    upon = edited(lm)[1].patch(edit="second")
    held_too = upon.apply(lm)
    with pytest.raises(DasError, match="undo first what was changed after it"):
        held.undo()
    both = made.memory.matrix.detach().clone()
    held_too.undo()
    held.undo()
    assert torch.equal(made.memory.matrix, before)
    with Patch.compose([one, upon]).applied(lm):
        assert torch.equal(made.memory.matrix, both)
    with pytest.raises(DasError, match="is not the matrix that the patch 'second' was made for"):
        upon.apply(lm)
    with pytest.raises(DasError, match="the patch 'first' was made for another"):
        Patch.compose([upon, one])


def test_fine_tuning_lowers_the_loss_and_leaves_the_network_as_it_was():
    lm = network()
    engine, memory = ResumeEngine(lm), Memory.of(lm, 1)
    before = memory.matrix.detach().clone()
    patch = tune(engine, memory, wanted(), steps=20, rate=5e-3)
    first, last = patch.about["loss"]
    assert last < 0.8 * first
    assert torch.equal(memory.matrix, before)
    assert not memory.matrix.requires_grad


def test_what_is_no_plain_memory_is_refused():
    sizes = {name: value for name, value in SMALL.items() if name != "num_key_value_heads"}
    model = MixtralForCausalLM(MixtralConfig(vocab_size=len(tokenizer), num_local_experts=2, num_key_value_heads=2, **sizes))
    with pytest.raises(DasError, match="'mlp_output' was not found in MixtralDecoderLayer"):
        Memory.of(LM(model.eval(), tokenizer), 1)
    with pytest.raises(DasError, match="layer is 3: expected at most 2"):
        Memory.of(network(), 3)
    with pytest.raises(DasError, match="reaches the answer: choose a layer further below"):
        edited(network(), layer=2)
    lm = network()
    lm.model.model.layers[0].mlp.down_proj.weight = lm.model.model.layers[1].mlp.down_proj.weight
    with pytest.raises(DasError, match="in 2 places"):
        Memory.of(lm, 0)


def test_a_file_that_is_no_patch_is_refused(tmp_path):
    for body in (b"", b"not a patch at all", Moment.none(2).matrix.numpy().tobytes()):
        (tmp_path / "x.safetensors").write_bytes(body)
        with pytest.raises(DasError, match="is no patch of das"):
            Patch.load(tmp_path / "x.safetensors")
