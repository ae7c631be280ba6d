"""Circuits: runs with edges swapped and scores of edges are what a forward by hand gives; a network that is built by hand is found."""

import induction
import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)  # fmt: skip
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from das import LM, DasError
from das.circuits.attribution import attributed
from das.circuits.contrasts import Contrasts
from das.circuits.cutting import cut
from das.circuits.graph import Graph
from das.circuits.outcomes import outcomes
from das.circuits.replaced import replacement
from das.circuits.streams import Streams, Swapped
from das.interchange.engine import ResumeEngine
from das.task.encoded import Encoded

SIZES = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
GROUPED = SIZES | {"num_key_value_heads": 2}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
NETWORKS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "grouped": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=3, n_head=4, **ENDS)),
    "parallel": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, use_parallel_residual=False)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GROUPED, head_dim=8)),
}


def network(kind):
    """With weights that are large enough for every edge to count."""
    torch.manual_seed(0)
    model = NETWORKS[kind]().eval()
    for p in model.parameters():
        p.data += torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1)
    return LM(model, None, kind)


def pairs(n=3, width=9):
    """Prompts of several lengths, each beside another of its length; they all begin with the same two tokens."""
    rng = np.random.default_rng(0)
    lengths = np.array([width, width - 2, width - 1])[:n]
    both = []
    for _ in range(2):
        ids = rng.integers(3, 40, (n, width))
        for row, length in zip(ids, lengths, strict=True):
            row[: width - length] = 0
            row[width - length :][:2] = 1, 2
        both.append(Encoded(ids, lengths, {"last": np.full((n, 1), width - 1)}))
    return Contrasts(*both, rng.integers(3, 20, n), rng.integers(20, 40, n), n)


def some_edges(graph, share=0.5, seed=0):
    return graph.all & (np.random.default_rng(seed).random(graph.all.shape) < share)


# --- Llama by hand: every end reads a sum of its own ---


def by_hand(lm, ids, other=None, edges=None, added=None, first=None):
    """Logits after the last token of one prompt, (vocabulary,), and what every node adds, (nodes, columns, d).

    other: what nodes add in another run, of which each end reads the share `edges` (ends, nodes) in place of this run's; added:
    what each node's edges carry besides, times `edges`; first: embeddings in place of the prompt's own."""
    model, config = lm.model.model, lm.model.config
    graph = Graph(config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads)
    said = [model.embed_tokens(ids) if first is None else first]

    def read(end):
        reads = []
        for node, own in enumerate(said):
            share = 0 if edges is None else edges[end, node]
            reads.append(own + share * (added[node] if added is not None else 0 if other is None else other[node] - own))
        return sum(reads)

    rotary = model.rotary_emb(said[0][None], torch.arange(len(ids))[None])
    mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    for i, block in enumerate(model.layers):
        a, first_end = block.self_attn, graph.first_end(i)
        d = a.head_dim

        def projected(module, offset, n, first_end=first_end, block=block, d=d):
            each = [module(block.input_layernorm(read(first_end + offset + h)))[:, h * d : h * d + d] for h in range(n)]
            return torch.stack(each)[None]

        h, g = graph.heads, graph.groups
        q, k, v = projected(a.q_proj, 0, h), projected(a.k_proj, h, g), projected(a.v_proj, h + g, g)
        q, k = apply_rotary_pos_emb(q, k, *rotary)
        k, v = (each[0].repeat_interleave(h // g, 0) for each in (k, v))
        mixed = (q[0] @ k.mT / d**0.5 + mask).softmax(-1) @ v
        said += [mixed[j] @ a.o_proj.weight[:, j * d : j * d + d].T for j in range(h)]
        said.append(block.mlp(block.post_attention_layernorm(read(graph.first_end(i + 1) - 1))))
    return lm.model.lm_head(model.norm(read(len(graph.ends) - 1)))[-1], torch.stack(said)


def each_prompt(found):
    for i, length in enumerate(found.prompts.lengths):
        yield i, *(torch.from_numpy(p.ids[i, -length:]) for p in (found.prompts, found.others))


# --- exact runs ---


@pytest.mark.parametrize("kind", ["llama", "grouped", "qwen2", "gpt2", "parallel", "neox"])
@pytest.mark.parametrize("prefix", [(), (1, 2)])
def test_no_edge_swapped_is_the_base_and_all_are_the_source(kind, prefix):
    lm, found = network(kind), pairs()
    streams = Streams(ResumeEngine(lm, prefix), found.prompts)
    run = Swapped.of(streams, found, lambda some: streams.said(some.others))
    every = torch.from_numpy(streams.graph.all)
    for edges, prompts in ((every & False, found.prompts), (every, found.others)):
        alone = lm.asking.alone(prompts)
        assert torch.allclose(run.answers(edges), alone, atol=1e-4 * float(alone.abs().max()))
    assert not torch.allclose(run.answers(every & False), run.answers(every), atol=1e-1)


@pytest.mark.parametrize("kind", ["llama", "grouped"])
def test_any_edges_swapped_are_what_a_forward_by_hand_gives(kind):
    lm, found = network(kind), pairs()
    streams = Streams(ResumeEngine(lm, (1, 2)), found.prompts)
    run = Swapped.of(streams, found, lambda some: streams.said(some.others))
    for seed in range(2):
        edges = some_edges(streams.graph, seed=seed)
        answers = run.answers(torch.from_numpy(edges))
        for i, one, other in each_prompt(found):
            with torch.no_grad():
                expected = by_hand(lm, one, by_hand(lm, other)[1], torch.from_numpy(edges).float())[0]
            assert torch.allclose(answers[i], expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["grouped", "gpt2", "parallel"])
def test_a_run_from_a_layer_on_is_the_whole_run(kind):
    lm, found = network(kind), pairs()
    streams = Streams(ResumeEngine(lm), found.prompts)
    runs = [Swapped.of(streams, found, lambda some: streams.said(some.others)) for _ in range(2)]
    edges = torch.from_numpy(some_edges(streams.graph))
    runs[0].answers(edges)
    for layer in reversed(range(streams.graph.layers + 1)):
        end = min(streams.graph.first_end(layer), len(edges) - 1)
        edges[end] = torch.from_numpy(streams.graph.all[end]) & ~edges[end]
        assert torch.allclose(runs[0].answers(edges, layer), runs[1].answers(edges), atol=1e-4)


def test_what_a_network_adds_otherwise_is_refused():
    with pytest.raises(DasError, match="Gemma2ForCausalLM: layer 0 does not hand on its input and what attention and MLP add"):
        Streams(ResumeEngine(network("gemma2")), pairs().prompts)


# --- what is swapped in ---


def test_zero_and_mean_are_what_they_say():
    lm, found = network("grouped"), pairs()
    streams = Streams(ResumeEngine(lm), found.prompts)
    zero, mean = (replacement(streams, swap, found)(found) for swap in ("zero", "mean"))
    assert not any(each.any() for each in [zero.embedding, *zero.mixed, *zero.mlps])
    said = [by_hand(lm, one)[1] for _, one, _ in each_prompt(found)]
    for place in range(9):
        expected = torch.stack([each[place] for each in said if len(each[0]) > place for each in [each.transpose(0, 1)]]).mean(
            0
        )
        row = int(found.prompts.lengths.argmax())
        assert torch.allclose(mean.embedding[row, place], expected[0], atol=1e-5)
        assert torch.allclose(mean.mlps[1][row, place], expected[2 * 5], atol=1e-4)


# --- scores ---


@pytest.mark.parametrize("kind", ["llama", "grouped"])
@pytest.mark.parametrize("steps", [1, 3])
def test_scores_are_the_slopes_of_the_answer_in_what_each_edge_carries(kind, steps):
    lm, found = network(kind), pairs()
    streams = Streams(ResumeEngine(lm, (1, 2)), found.prompts)
    seen = attributed(streams, found, replacement(streams, "source", found), steps, ["last"])
    slopes = torch.zeros(streams.graph.all.shape)
    for i, one, other in each_prompt(found):
        with torch.no_grad():
            theirs, own = by_hand(lm, other)[1], by_hand(lm, one)[1]
        for step in range(1, steps + 1):
            edges = torch.zeros(slopes.shape, requires_grad=True)
            first = torch.lerp(theirs[0], own[0], step / steps)
            logits = by_hand(lm, one, edges=edges, added=theirs - own, first=first)[0]
            (logits[found.other[i]] - logits[found.answer[i]]).backward()
            slopes += edges.grad / steps / len(found)
    assert np.allclose(seen.scores, slopes.numpy(), atol=1e-4 * float(slopes.abs().max()))
    at_last = streams.graph.all[-1]
    assert np.allclose(seen.at["last"][-1][at_last], seen.scores[-1][at_last], atol=1e-4)


@pytest.mark.parametrize("kind", ["grouped", "gpt2", "parallel"])
def test_what_passes_a_layers_output_sums_to_the_slope_in_all_of_it(kind):
    lm, found = network(kind), pairs()
    engine = ResumeEngine(lm)
    streams = Streams(engine, found.prompts)
    graph, scores = streams.graph, attributed(streams, found, replacement(streams, "source", found), 1).scores
    spots = [("attention_output", layer) for layer in range(graph.layers)]
    one, other = (engine.capture(p, spots).inputs for p in (found.prompts, found.others))
    for layer in range(1, graph.layers):
        way = torch.zeros((), requires_grad=True)
        answers = engine.onward(found.prompts, layer, one[layer] + way * (other[layer] - one[layer]))
        (slope,) = torch.autograd.grad(-found.difference(answers).mean(), way)
        past = scores[graph.first_end(layer) :, : graph.before(layer)].sum()
        assert past == pytest.approx(float(slope), abs=1e-4 * float(np.abs(scores).max()) * scores.size**0.5)


# --- the graph ---


def test_dead_ends_carry_nothing_where_all_else_is_swapped():
    lm, found = network("grouped"), pairs()
    streams = Streams(ResumeEngine(lm), found.prompts)
    kept = some_edges(streams.graph, share=0.25)
    pruned = streams.graph.pruned(kept)
    assert 0 < pruned.sum() < kept.sum()
    run = Swapped.of(streams, found, lambda some: streams.said(some.others))
    answers = [run.answers(torch.from_numpy(streams.graph.all & ~each)) for each in (kept, pruned)]
    assert torch.allclose(*answers, atol=1e-4)


def test_a_random_circuit_is_as_large_as_asked_and_has_no_dead_ends():
    graph = Graph(4, 4, 2)
    for count in (10, 50, 10**6):
        kept = graph.random(count, np.random.default_rng(0))
        assert (graph.pruned(kept) == kept).all()
        assert min(count, len(graph)) <= kept.sum() <= count + 2 * graph.layers + 1


@pytest.mark.parametrize("parallel", [False, True])
def test_edges_lead_upwards_and_are_named(parallel):
    graph = Graph(2, 2, 1, parallel)
    table = graph.table()
    assert len(table) == len(graph) == (32 if parallel else 36)
    assert (table["writer_layer"] <= table["reader_layer"]).all()
    inside = table[table["writer_layer"] == table["reader_layer"]]
    assert inside["reader"].str.startswith("MLP").all()
    assert parallel == (len(inside) == 0)


# --- the network that is built by hand ---


def auroc(scores, true):
    above, below = np.abs(scores[true])[:, None], np.abs(scores[~true])
    return float(((above > below) + (above == below) / 2).mean())


@pytest.fixture(params=[4, 12, 40])
def built(request):
    lm, found = induction.network(request.param, noise=0.02), induction.pairs(64)
    streams = Streams(ResumeEngine(lm), found.prompts)
    return request.param, streams, found, induction.without_mlps(streams), induction.true(streams)


def test_eap_falls_with_sharpness_and_eap_ig_does_not(built):
    sharpness, streams, found, edges, true = built
    assert (edges.sum(), true.sum()) == (29, 5)
    replaced = replacement(streams, "source", found)
    eap, integrated = (attributed(streams, found, replaced, steps).scores[edges] for steps in (1, 10))
    least, most = {4: (1, 1), 12: (0.85, 0.98), 40: (0.6, 0.8)}[sharpness]
    assert least <= auroc(eap, true[edges]) <= most
    assert auroc(integrated, true[edges]) == 1


def test_cutting_keeps_just_the_edges_that_carry_the_answer_and_with_zeros_two_more(built):
    _, streams, found, _, true = built
    assert (cut(streams, found, replacement(streams, "source", found)).kept == true).all()
    with_zeros = cut(streams, found, replacement(streams, "zero", found), 0.05).kept
    more = streams.graph.table(with_zeros & ~true)
    assert (with_zeros & true).sum() == 5
    assert list(zip(more["writer"], more["reader"], strict=True)) == [("embedding", "query 0.0"), ("embedding", "key 0.0")]


def test_the_circuit_is_faithful_and_complete_and_a_random_one_is_not(built):
    _, streams, found, _, true = built
    rng = np.random.default_rng(0)
    other = streams.graph.random(5, rng) & ~true
    every = streams.graph.all
    replaced = replacement(streams, "source", found)
    kept, swapped, random = outcomes(streams, found, replaced, [every & ~true, true, every & ~other])
    assert min(kept.stayed.mean(), swapped.left.mean()) >= 0.95
    assert random.stayed.mean() <= 0.05


def test_too_many_edges_are_not_cut_one_by_one(monkeypatch):
    monkeypatch.setattr("das.circuits.cutting.MOST", 100)
    lm, found = network("grouped"), pairs()
    streams = Streams(ResumeEngine(lm), found.prompts)
    with pytest.raises(DasError, match="there are 190 edges, too many to cut one by one"):
        cut(streams, found, replacement(streams, "source", found))
