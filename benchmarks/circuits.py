"""Scores of edges beside what they estimate: how EAP and EAP-IG agree with swapping each edge by itself, and what each takes.

python benchmarks/circuits.py --json benchmarks/results/circuits.json
"""

from __future__ import annotations

from typing import Any

import gauge
import numpy as np
from remembering import processor
from scipy.stats import spearmanr

from das.circuits.attribution import attributed
from das.circuits.contrasts import Contrasts
from das.circuits.cutting import Cutter, downwards
from das.circuits.replaced import replacement
from das.circuits.streams import Streams
from das.run.material import SPLITS
from das.use.flipping import flipping, variable_of
from das.use.one_hypothesis import one_hypothesis

STEPS = {"eap": 1, "eap-ig, 5 steps": 5, "eap-ig, 20 steps": 20}


def asked(task: str, lm: str, hypothesis: str, pairs: int) -> tuple[Streams, Contrasts]:
    """A network, and pairs of one of its hypotheses."""
    made = one_hypothesis(task, lm, hypothesis, pairs, SPLITS, positions=["last"])
    found = flipping(made, variable_of(made, None), drawn=False)
    train = found.splits["train"]
    return Streams(found.engine, train.prompts), train


def exact(streams: Streams, found: Contrasts) -> np.ndarray[Any, Any]:
    """By how much the swap of each edge alone moves the logit difference, a run for each. (ends, nodes)"""
    moved = np.zeros(streams.graph.all.shape)
    cutter = Cutter(streams, found, replacement(streams, "source", found), streams.graph.all & False)
    for end, node in downwards(streams.graph, streams.graph.all):
        moved[end, node] = cutter.now - cutter.without(end, node)
    return moved


def rows(streams: Streams, found: Contrasts) -> list[dict[str, Any]]:
    """Processor seconds of each way to score all edges; of estimates their correlation with the exact figures (Pearson's and of
    ranks, of sizes), and how many of the hundred largest they have in common."""
    every, replaced = streams.graph.all, replacement(streams, "source", found)
    seconds, true = processor(lambda: np.abs(exact(streams, found)[every]))
    table: list[dict[str, Any]] = [{"scores": "each edge by itself", "seconds": seconds}]
    for name, steps in STEPS.items():
        seconds, seen = processor(lambda steps=steps: attributed(streams, found, replaced, steps))  # type: ignore[misc]
        scores = np.abs(seen.scores[every])
        common = len({*np.argsort(-scores)[:100]} & {*np.argsort(-true)[:100]})
        row = {"scores": name, "seconds": seconds, "r": float(np.corrcoef(scores, true)[0, 1])}
        table.append(row | {"rank": float(spearmanr(scores, true).statistic), "common": common})
    return table


def main() -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--task", default="price_tagging")
    parser.add_argument("--lm", default="price-tagger-tiny")
    parser.add_argument("--hypothesis", default="left_boundary")
    parser.add_argument("--pairs", type=int, default=16)
    options = parser.parse_args()
    streams, found = asked(options.task, options.lm, options.hypothesis, options.pairs)
    table = rows(streams, found)
    for row in table:
        told = f", r {row['r']:.3f}, rank correlation {row['rank']:.3f}, {row['common']} of 100 alike" if "r" in row else ""
        print(f"{row['scores']}: {row['seconds']:.1f} s{told}")
    gauge.write_json(options.json, [{"edges": len(streams.graph), "pairs": len(found)} | row for row in table])


if __name__ == "__main__":
    main()
