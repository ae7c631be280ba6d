"""Causal tracing: what is restored by the engine is what forward hooks restore; what corrupts is the same in any company."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from das import LM, CausalModel, Choice, DasError, Hypothesis, Prompt, Task, make_pairs
from das.circuits.noise import Noised, ends
from das.circuits.tracing import by_noise, by_source, cells, traced
from das.interchange.engine import ResumeEngine
from das.pairs.dataset import Dataset
from das.task.tokenizer import make_tokenizer
from das.use.causal_trace import causal_trace

WORDS = ["ab", "cd", "ef", "gh"]


def same(left, right):
    return left == right


def said(same):
    return same


task = Task(
    Prompt("go {left} then {right} :", {True: " yes", False: " no"}),
    {"same": Hypothesis(CausalModel(same, said, inputs=dict.fromkeys(("left", "right"), Choice(WORDS))), "same")},
    positions=("left.last", "right.last", "last"),
)
tokenizer = make_tokenizer(["go then : yes no " + " ".join(WORDS)])


def network(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=3, n_head=4))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
            )
        )
    return LM(model.eval(), tokenizer)


def data_of(positions):
    pairs = make_pairs(task.hypotheses["same"], task.model.enumerate(), 24, np.random.default_rng(0), {"natural": 1.0})
    return Dataset.make(task, tokenizer, {"same": pairs}, positions)


def module_of(lm, place):
    blocks = lm.model.transformer.h if hasattr(lm.model, "transformer") else lm.model.model.layers
    block = blocks[place.layer]
    return {"block_output": block, "mlp_output": block.mlp}[place.component]


def first(out):
    return out[0] if isinstance(out, tuple) else out


def forward(lm, ids, hooks):
    """Probabilities of what follows, by a full forward under hooks, module → what becomes of its output."""
    held = [m.register_forward_hook(lambda _m, _i, out, change=change: change(out)) for m, change in hooks]
    with torch.no_grad():
        shares = lm.model(ids).logits[:, -1].softmax(-1)
    for hook in held:
        hook.remove()
    return shares


def restoring(column, clean):
    """Puts at a column what the clean run has there."""

    def change(out):
        tensor = first(out).clone()
        tensor[:, column] = clean[:, column]
        return (tensor, *out[1:]) if isinstance(out, tuple) else tensor

    return change


def by_hand(lm, ids, noise, places, column):
    """Under noise, with what the places have in the clean run put back at a column."""
    clean = []
    forward(lm, ids, [(module_of(lm, place), lambda out: clean.append(first(out))) for place in places])
    hooks = [(module_of(lm, place), restoring(column, value)) for place, value in zip(places, clean, strict=True)]
    return forward(lm, ids, [(lm.model.get_input_embeddings(), lambda out: out + noise), *hooks])


@pytest.fixture
def all_solved(monkeypatch):
    """As if the network answered everything."""
    monkeypatch.setattr(Dataset, "right", lambda self, said, name, role: np.ones(len(self.pairs[name]), bool))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_the_engine_brings_back_is_what_forward_hooks_bring_back(kind, all_solved):
    lm = network(kind)
    data = by_noise(ResumeEngine(lm), data_of(["left.last", "last", *ends("left")]), "same")
    noised = Noised(ResumeEngine(lm), "left", data.prompts, sigmas=2.0)
    wanted = cells(["state", "mlp"], range(3), ["left.last", "last"], 2, 3)
    found = traced(noised, data, "same", wanted)
    prompts = data.prompts.take(data.pairs["same"].base)
    ids, noise = torch.from_numpy(prompts.ids), noised._noise(prompts)
    label = torch.from_numpy(data.answers.table(data.pairs["same"].label)[0][:, :1, 0])

    def probability(places, column=0):
        return float(by_hand(lm, ids, noise, places, column).gather(1, label).mean())

    assert found.corrupted == pytest.approx(probability([]), abs=1e-6)
    assert found.clean == pytest.approx(float(forward(lm, ids, []).gather(1, label).mean()), abs=1e-6)
    for row, cell in zip(found.table.to_dict("records"), wanted, strict=True):
        column = int(prompts.positions[cell.position][0, 0])
        assert found.corrupted + row["effect"] == pytest.approx(probability(cell.site.places, column), abs=1e-6), cell


def test_noise_is_the_same_in_any_company_and_another_with_another_seed(all_solved):
    prompts, lm = data_of(["last", *ends("left")]).prompts, network("llama")
    noises = [Noised(ResumeEngine(lm), "left", prompts, seed=seed)._noise(prompts) for seed in (0, 0, 1)]
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])
    alone = Noised(ResumeEngine(lm), "left", prompts)._noise(prompts.take([3]))
    assert torch.equal(alone[0], noises[0][3])
    column = prompts.positions["left.last"][0, 0]
    assert torch.equal(noises[0].abs().sum((0, 2)) > 0, torch.arange(prompts.width) == column)


def test_by_the_source_a_state_behind_everything_brings_all_back(all_solved):
    lm = network("llama")
    data = by_source(ResumeEngine(lm), data_of(["last"]), "same")
    (cell,) = cells(["state"], [2], ["last"], 1, 3)
    (row,) = traced(ResumeEngine(lm), data, "same", [cell]).table.to_dict("records")
    assert row["recovered"] == pytest.approx(1, abs=1e-4)


def test_windows_lie_around_their_layer_and_end_where_the_network_does():
    found = {cell.layer: cell.site.layer for cell in cells(["mlp"], range(5), ["last"], 4, 5)}
    assert found == {0: "0+1", 1: "0+1+2", 2: "0+1+2+3", 3: "1+2+3+4", 4: "2+3+4"}
    assert [cell.site.layer for cell in cells(["state"], [3], ["last"], 4, 5)] == [3]


def test_the_price_tagger_hands_its_comparison_to_the_last_token_and_the_trace_is_drawn(tmp_path):
    at = {"positions": ["amount.last", "last"], "layers": [1, 3]}
    found = causal_trace("price_tagging", "price-tagger-tiny", "left_boundary", kinds=["state"], pairs=40, **at)
    assert found.best(1) == [(3, "last")]
    assert all(path.stat().st_size for path in found.write(tmp_path / "trace"))
    assert "corrupted by the pair's base" in found.text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"corrupt": "dust"}, "unknown corruption 'dust'"),
        ({"kinds": ["states"]}, "unknown kind of what is restored 'states'"),
        ({"corrupt": "noise", "field": "amonut"}, "unknown field for noise 'amonut'"),
        ({"window": 9}, "window is 9: expected at most 6"),
        ({"pairs": 1}, "pairs is 1: expected at least 2"),
    ],
)
def test_what_cannot_be_traced_is_refused(changes, says):
    with pytest.raises(DasError, match=says):
        causal_trace("price_tagging", "price-tagger-tiny", "left_boundary", positions=["last"], **changes)
