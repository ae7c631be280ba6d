"""Scores of edges beside TransformerLens' own: are they equal, and what does each take? One thread, one process.

    pip install transformer_lens
    python benchmarks/edge_rivals.py --json benchmarks/results/circuits/rivals.json

TransformerLens' attribution patching (EAP) is held against `das.circuits.attribution`: the same network, pairs and metric (the
logit difference). It has no EAP-IG: that is put together here from its own parts, its gradients at embeddings between the two
prompts'. Where heads share keys and values it scores nodes alone, which a node's edges add up to. Cases that the file has
already are not measured again.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import circuits
import gauge
import numpy as np
import torch
from numpy.typing import NDArray
from remembering import processor

from das.circuits.attribution import attributed
from das.circuits.contrasts import Contrasts
from das.circuits.graph import Graph
from das.circuits.replaced import replacement
from das.circuits.streams import Streams
from das.interchange.engine import ResumeEngine
from das.network.lm import LM

Floats = NDArray[np.floating[Any]]

WRITERS = {"embed": "embedding", "attn_head_out": "head", "mlp_out": "MLP"}
READERS = {"q_input": "query", "k_input": "key", "v_input": "value", "mlp_in": "MLP", "logits": "logits"}
"""Their kinds of nodes, and what das calls them."""

STEPS = {"eap": 1, "eap-ig, 5 steps": 5}


def named(node: Any, kinds: Mapping[str, str]) -> str:
    """What das calls one of their nodes."""
    if node.kind in ("embed", "logits"):
        return kinds[node.kind]
    return f"{kinds[node.kind]} {node.layer}" + ("" if node.head is None else f".{node.head}")


def by_edge(graph: Graph, scores: Mapping[Any, float]) -> Floats:
    """Their scores, an edge for each token, as das has them, (ends, nodes)."""
    nodes, ends = ({name: i for i, name in enumerate(names)} for names in (graph.nodes, graph.ends))
    found = np.zeros(graph.all.shape)
    for (writer, reader), score in scores.items():
        found[ends[named(reader, READERS)], nodes[named(writer, WRITERS)]] += score
    return found


def by_node(graph: Graph, scores: Mapping[Any, float]) -> Floats:
    """Their scores of nodes, (nodes,)."""
    nodes = {name: i for i, name in enumerate(graph.nodes)}
    found = np.zeros(len(nodes))
    for node, score in scores.items():
        found[nodes[named(node, WRITERS)]] += score
    return found


class Theirs:
    """TransformerLens on the pairs of das, one at a time, as it runs them itself."""

    def __init__(self, lm: LM, graph: Graph, found: Contrasts) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        self.graph, self.pairs = graph, [found.take(np.array([i])) for i in range(len(found))]
        with tempfile.TemporaryDirectory() as folder:
            _plain(lm.model).save_pretrained(folder)
            lm.tokenizer.save_pretrained(folder)
            self.model = TransformerBridge.boot_transformers(folder, device="cpu").eval()

    def scores(self, pair: Contrasts, granularity: Any, steps: int) -> Any:
        """Of one pair."""
        from transformer_lens.tools.analysis import attribution_patching as theirs

        base, source = (torch.from_numpy(p.ids[:, p.width - int(p.lengths[0]) :]) for p in (pair.prompts, pair.others))

        def moved(logits: torch.Tensor) -> torch.Tensor:
            return -pair.difference(logits[:, -1])[0]

        if steps == 1:
            done = theirs.attribution_patch(self.model, source, base, moved, theirs.EdgeAttributionConfig(granularity))
            return done.edge_scores if granularity == "edge" else done.node_scores
        return self._integrated(theirs, source, base, moved, steps)

    def _integrated(self, theirs: Any, source: torch.Tensor, base: torch.Tensor, moved: Any, steps: int) -> dict[Any, float]:
        """EAP-IG of its parts: gradients where the embedding lies between those of source and base."""
        names, slopes = theirs._edge_hook_names(self.model.cfg.n_layers), dict[str, Any]()
        with theirs._edge_hook_flags(self.model):
            one, other = (
                theirs.cache_activation_and_gradient(self.model, each, moved, names, compute_gradient=False)
                for each in (base, source)
            )
            ends = other.activations["hook_embed"], one.activations["hook_embed"]
            for step in range(1, steps + 1):
                between = partial(_put, torch.lerp(*ends, step / steps))
                with self.model.hooks(fwd_hooks=[("hook_embed", between)]):
                    seen = theirs.cache_activation_and_gradient(self.model, base, moved, names)
                for name, slope in seen.gradients.items():
                    slopes[name] = None if slope is None else slopes.get(name, 0) + slope / steps
            mean = theirs.GradientCache(one.activations, slopes, one.metric)
            found: dict[Any, float] = theirs._edge_effects(other, mean, theirs.enumerate_edges(self.model, mean))
        return found

    def of(self, granularity: str, steps: int) -> Floats:
        """The mean over pairs."""
        summed = by_edge if granularity == "edge" else by_node
        return np.mean([summed(self.graph, self.scores(pair, granularity, steps)) for pair in self.pairs], 0)


def _plain(model: Any) -> Any:
    """The same network as one that can be saved: of one from a GGUF file transformers refuses it."""
    config = type(model.config).from_dict({k: v for k, v in model.config.to_dict().items() if k != "quantization_config"})
    made = type(model)(config)
    made.load_state_dict(model.state_dict())
    return made


def _put(embedding: torch.Tensor, tensor: torch.Tensor, hook: Any) -> torch.Tensor:
    return embedding + 0 * tensor


# --- networks and pairs ---


def tagger(pairs: int) -> tuple[Streams, Contrasts]:
    return circuits.asked("price_tagging", "price-tagger-tiny", "left_boundary", pairs)


def gpt2(pairs: int) -> tuple[Streams, Contrasts]:
    """Random weights of GPT-2's kind, in the price tagger's shape and on its prompts."""
    from transformers import GPT2Config, GPT2LMHeadModel

    streams, found = tagger(pairs)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(streams.lm.tokenizer), n_positions=128, n_embd=128, n_layer=6, n_head=4)
    lm = LM(GPT2LMHeadModel(config).eval(), streams.lm.tokenizer, "gpt2-shaped, random")
    return Streams(ResumeEngine(lm, streams.engine.prefix), found.prompts), found


def smollm2(pairs: int) -> tuple[Streams, Contrasts]:
    return circuits.asked("ioi", "smollm2-135m", "position", pairs)


CASES: dict[str, Callable[[int], tuple[Streams, Contrasts]]] = {
    "price-tagger-tiny": tagger,
    "gpt2": gpt2,
    "smollm2-135m": smollm2,
}


# --- what is measured ---


def rows(streams: Streams, found: Contrasts, theirs: Any, repeats: int) -> list[dict[str, Any]]:
    """Of each way to score: `apart`, by how much the scores differ at most, as a share of the largest; median processor seconds
    of das, of das with nothing run apart that all prompts begin with, and theirs; what they score."""
    shared = streams.graph.groups < streams.graph.heads
    granularity, ways = ("node", {"eap": 1}) if shared else ("edge", STEPS)
    alone = Streams(ResumeEngine(streams.lm), found.prompts)
    table = []
    for name, steps in ways.items():
        calls = {
            "das": partial(ours, streams, found, steps), "das, nothing shared": partial(ours, alone, found, steps),
            "TransformerLens": partial(theirs.of, granularity, steps),
        }  # fmt: skip
        given, seconds = timed(calls, repeats)
        own, other = given["das"], given["TransformerLens"]
        apart = np.abs((own.sum(0) if shared else own) - other).max() / np.abs(other).max()
        table.append({"scores": name, "of": f"{granularity}s", "apart": float(apart)} | seconds)
    return table


def timed(calls: Mapping[str, Callable[[], Floats]], repeats: int) -> tuple[dict[str, Floats], dict[str, float]]:
    """What each call gives, and the median of its processor seconds: one of each in turn, the first round not counted."""
    rounds = [{name: processor(call) for name, call in calls.items()} for _ in range(repeats + 1)]
    given = {name: each for name, (_, each) in rounds[0].items()}
    return given, {name: statistics.median(each[name][0] for each in rounds[1:]) for name in calls}


def ours(streams: Streams, found: Contrasts, steps: int) -> Floats:
    return attributed(streams, found, replacement(streams, "source", found), steps).scores


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--cases", nargs="+", default=[*CASES], choices=[*CASES])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    table = gauge.kept_rows(options.json)
    versions = {name: version(name) for name in ("torch", "transformers", "transformer-lens")}
    for case in [case for case in options.cases if case not in {row["case"] for row in table}]:
        streams, found = CASES[case](options.pairs)
        theirs = Theirs(streams.lm, streams.graph, found)
        about = {"case": case, "edges": len(streams.graph), "pairs": len(found), "tokens": int(found.prompts.lengths.max())}
        for row in rows(streams, found, theirs, options.repeats):
            table.append(about | {"own_tokens": about["tokens"] - len(streams.engine.prefix)} | row)
            print(table[-1], flush=True)
        gauge.write_json(options.json, table, versions=versions)


if __name__ == "__main__":
    main()
