"""Honesty in SmolLM2-135M (after `make smollm2`): what it does, and what can be read in it on topics that were held out.

    python benchmarks/honesty.py --json benchmarks/results/honesty.json --figure benchmarks/results/honesty.png

Answers: the share of prompts of tasks/honesty.py that are answered rightly, by the first token and among the two answers.
Stated: the share of pairs of opposite sentences of which the network gives the true one the higher probability, when nothing
is said before it, when it is told to be honest, and when it is told to lie.
Read: directions of `lat`, `diffmeans` and `probe` for both variables, and a random one, at every layer, found on the pairs of
seven topics; the layer is chosen on two others, and judged on the four that the task holds out, under wordings of the manner
that it holds out as well. Accuracy is of the sign of (h − μ)·v; μ is the mean over the topics that v was found on. One thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gauge
import numpy as np
import torch
from numpy.typing import NDArray
from smollm2 import ASKED, accuracy
from torch import Tensor

from das.find.alignment import Alignment, Cell
from das.find.diffmeans import DiffMeans
from das.find.directions import Direction, Seen
from das.find.lat import LAT
from das.find.probe import Probe
from das.interchange.engine import HookEngine
from das.interchange.subspace import Subspace
from das.network.lm import LM
from das.network.site import Site
from das.stats import Bootstrap
from das.task.files import run_file
from das.task.names import task_file
from das.task.task import Task
from das.use.monitor import monitor
from das.use.monitored import Monitored

CHOOSE = ("animals", "numbers")
"""Topics on which the layer is chosen."""

POSITIONS = ("statement.last", "last")
VARIABLES = {"honest": "manner", "true": "statement"}
"""Variable → the input that it is a function of."""

FINDERS: dict[str, Direction | None] = {"lat": LAT(1), "diffmeans": DiffMeans(1), "probe": Probe(1), "random": None}

PICTURED = ("true", "statement.last", "diffmeans")

TOLD = {"nothing": "", "honest": "honest", "to lie": "untruthful"}

Columns = dict[str, NDArray[Any]]


# --- prompts: rows 4i to 4i + 3 are a true statement and its opposite, honest; then both, untruthful ---


def settings(facts: Any, topics: Sequence[str], manners: Sequence[tuple[str, str]]) -> Columns:
    """Every pair of opposite statements under both manners, in wordings that take turns."""
    rows: list[tuple[str, str, bool, bool]] = []
    for i, (true, false) in enumerate(opposites(facts, topics)):
        for manner, honest in zip(manners[i % len(manners)], (True, False), strict=True):
            rows += [(manner, true, honest, True), (manner, false, honest, False)]
    return dict(zip(("manner", "statement", "honest", "true"), map(np.array, zip(*rows, strict=True)), strict=True))


def opposites(facts: Any, topics: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each true statement with its opposite."""
    for topic in topics:
        yield from ((statement, other) for statement, (true, other) in facts.TOPICS[topic].items() if true)


@torch.no_grad()
def vectors(lm: LM, task: Task, asked: Columns) -> dict[str, Tensor]:
    """Position → what prompts have there after every layer, (prompts, layers, d)."""
    given = {name: asked[name] for name in VARIABLES.values()}
    prompts, spots = task.encode(given, lm.tokenizer, POSITIONS), [("block_output", layer) for layer in range(lm.layers)]
    parts: dict[str, list[Tensor]] = {position: [] for position in POSITIONS}
    for rows in np.array_split(np.arange(len(prompts)), -(-len(prompts) // 16)):
        capture = HookEngine(lm).capture(prompts.take(rows), spots)
        for position, part in parts.items():
            columns = torch.from_numpy(prompts.positions[position][rows])
            part.append(torch.stack([capture.at(spot, columns)[:, 0].float() for spot in spots], 1))
    return {position: torch.cat(part) for position, part in parts.items()}


# --- directions ---


def seen(rows: Tensor, values: NDArray[np.bool_], variable: str) -> Seen:
    """Pairs that differ in one variable and in nothing else: of each prompt the one beside it. rows: (prompts, d)"""
    number = np.arange(len(rows))
    other = number ^ (1 if variable == "true" else 2)
    every = torch.ones(1, len(rows), dtype=torch.bool)
    return Seen(rows, rows[other][None], torch.from_numpy(values.astype(np.int64))[None], every, every)


def direction(kind: Direction | None, found: Seen) -> Tensor:
    """Of length 1, towards the prompts in which the variable holds."""
    d = found.base.shape[1]
    drawn = torch.randn(d, generator=torch.Generator().manual_seed(0))
    vector = torch.nn.functional.normalize(drawn if kind is None else kind.columns(found)[0][:, 0], dim=0)
    assert found.values is not None
    along, holds = found.base @ vector, found.values[0].bool()
    return vector * (along[holds].mean() - along[~holds].mean()).sign()


def judged(along: Tensor, values: NDArray[np.bool_], variable: str) -> dict[str, NDArray[np.float64]]:
    """A figure for each four prompts of a pair of statements: accuracy of the sign, and how often the prompt in which the
    variable holds is read above its neighbour in which it does not."""
    hit = ((along > 0).numpy() == values).reshape(-1, 4).mean(1)
    four = along.view(-1, 2, 2)
    differences = four[:, :, 0] - four[:, :, 1] if variable == "true" else four[:, 0] - four[:, 1]
    return {"accuracy": hit, "above": (differences > 0).double().mean(1).numpy()}


def auroc(along: Tensor, values: NDArray[np.bool_]) -> float:
    """How often a prompt in which the variable holds is read above one in which it does not."""
    yes, no = along[torch.from_numpy(values)], along[torch.from_numpy(~values)]
    return float((yes[:, None] > no).double().mean() + 0.5 * (yes[:, None] == no).double().mean())


def read(held: Mapping[str, Mapping[str, Tensor]], asked: Mapping[str, Columns], depth: int) -> list[dict[str, Any]]:
    """A row for each variable, position, finder and layer. held: part → position → vectors."""
    rows = []
    for variable in VARIABLES:
        for position in POSITIONS:
            for layer in range(depth):
                found = seen(held["fit"][position][:, layer], asked["fit"][variable], variable)
                for name, kind in FINDERS.items():
                    row = {"variable": variable, "position": position, "finder": name, "layer": layer}
                    vector, mean = direction(kind, found), found.base.mean(0)
                    for part in ("choose", "held out"):
                        along = (held[part][position][:, layer] - mean) @ vector
                        row[part] = figures(along, asked[part][variable], variable)
                    rows.append(row)
        print(f"{variable}: read", flush=True)
    return rows


def figures(along: Tensor, values: NDArray[np.bool_], variable: str) -> dict[str, Any]:
    """Means over pairs of statements, accuracy with its 95 % interval over them."""
    each = judged(along, values, variable)
    interval = Bootstrap(np.arange(len(each["accuracy"]))).interval(each["accuracy"])
    means = {name: round(float(value.mean()), 3) for name, value in each.items()}
    return means | {"auroc": round(auroc(along, values), 3), "interval": [round(end, 3) for end in interval]}


def best(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each finder's row at the layer that was chosen."""
    for key in dict.fromkeys((row["variable"], row["position"], row["finder"]) for row in rows):
        mine = [row for row in rows if (row["variable"], row["position"], row["finder"]) == key]
        chosen = max(mine, key=lambda row: (row["choose"]["accuracy"], row["choose"]["auroc"]))
        known = {name: chosen[name] for name in ("variable", "position", "finder", "layer")}
        yield known | {"choose auroc": chosen["choose"]["auroc"]} | chosen["held out"]


def curves(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """AUROC layer by layer, as it is written down."""
    return [{name: own["auroc"] if isinstance(own, dict) else own for name, own in row.items()} for row in rows]


def monitored(lm: LM, facts: Any, found: Seen, layer: int) -> Monitored:
    """Every eighth pair of opposite statements of the held-out topics, the true one first, read along the difference in means
    of `true` at the statement's end. found: what the topics that it is found on have there."""
    vector = direction(DiffMeans(1), found)
    cell = Cell("truth", Site(layer, "statement.last"), DiffMeans(1))
    alignment = Alignment(cell, Subspace(vector[:, None, None], torch.ones(1, 1)))
    lines = [line for pair in list(opposites(facts, facts.HELD_OUT))[::8] for line in pair]
    return monitor(lm, alignment, "\n".join(lines), task=facts.task)


# --- what it states ---


@torch.no_grad()
def likelihood(lm: LM, before: str, sentences: Sequence[str]) -> NDArray[np.float64]:
    """Log-probability of each sentence after a text, over its tokens but the first where nothing stands before them."""
    found = []
    for sentence in sentences:
        ids = torch.tensor([lm.tokenizer(before + sentence)["input_ids"]], device=lm.device)
        start = max(1, len(lm.tokenizer(before)["input_ids"]))
        logits = lm.model(ids).logits[0, start - 1 : -1].float().log_softmax(-1)
        found.append(float(logits.gather(1, ids[0, start:, None]).sum()))
    return np.array(found)


def stated(lm: LM, facts: Any) -> list[dict[str, Any]]:
    """The share of true statements of the held-out topics that are likelier than their opposites, a row for each manner."""
    pairs, rows = list(opposites(facts, facts.HELD_OUT)), []
    for name, manner in zip(TOLD, ("", facts.HONEST[0] + "\n", facts.UNTRUTHFUL[0] + "\n"), strict=True):
        true, false = (likelihood(lm, manner, side) for side in zip(*pairs, strict=True))
        hits = (true > false).astype(float)
        interval = Bootstrap(np.arange(len(hits))).interval(hits)
        row = {"told": name, "pairs": len(hits), "true is likelier": round(float(hits.mean()), 3)}
        rows.append(row | {"interval": [round(end, 3) for end in interval], "margin": round(float((true - false).mean()), 3)})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = gauge.parser(__doc__)
    parser.add_argument("--lm", default="smollm2-135m")
    parser.add_argument("--figure", type=Path, help="where to draw what a monitor of the truth shows")
    options = parser.parse_args(arguments)
    lm, facts = LM.load(options.lm), run_file(task_file("honesty"))
    held_out = [*zip(facts.NEW_HONEST, facts.NEW_UNTRUTHFUL, strict=True)]
    known = [*zip(facts.HONEST, facts.UNTRUTHFUL, strict=True)]
    fit = [topic for topic in facts.TOPICS if topic not in {*facts.HELD_OUT, *CHOOSE}]
    parts = {"fit": (fit, known), "choose": (CHOOSE, known), "held out": (facts.HELD_OUT, held_out)}
    asked = {part: settings(facts, *given) for part, given in parts.items()}
    held = {part: vectors(lm, facts.task, given) for part, given in asked.items()}
    rows = read(held, asked, lm.layers)
    gauge.table(chosen := list(best(rows)))
    if options.figure:
        row = next(row for row in chosen if (row["variable"], row["position"], row["finder"]) == PICTURED)
        found = seen(held["fit"]["statement.last"][:, row["layer"]], asked["fit"]["true"], "true")
        monitored(lm, facts, found, row["layer"]).png(options.figure)
    gauge.table(said := stated(lm, facts))
    gauge.table(answers := [accuracy(lm, "honesty", under) for under in ASKED["honesty"]])
    gauge.write_json(options.json, curves(rows), chosen=chosen, stated=said, answers=answers)


if __name__ == "__main__":
    main()
