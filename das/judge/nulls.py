"""Nulls: what the same search finds where there is nothing to be found.

`untrained`: in a randomly initialised network of the same shape, which has only the task's answers to choose from. `shuffled`:
in the network itself, with the counterfactual answers of the pairs dealt out anew. `random`: in the network itself, without
learning: random subspaces of the rank that was found. Each draw searches some sites of each hypothesis' grid, the chosen one
among them; `das.stats.Null` says from their scores what the best of the whole grid would reach by luck.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from das.find.alignment import Alignment, Cell
from das.find.kinds import Random
from das.find.rank import by_width
from das.interchange.engine import Among, Engine
from das.interchange.score import score
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled

NULLS = ("untrained", "shuffled", "random")

SITES = 5
"""Sites per draw and hypothesis, the chosen one among them."""


def draws_of(grid: Sequence[Cell], chosen: Mapping[str, Site], draws: int, seed: int) -> list[list[Cell]]:
    """The cells that each draw searches: every hypothesis at its chosen site and at others of its grid."""
    rng = np.random.default_rng([seed, 7])
    done = []
    for draw in range(draws):
        cells = []
        for name, site in chosen.items():
            mine = {cell.site: cell for cell in grid if cell.hypothesis == name and cell.site != site}
            others = rng.permutation(len(mine))[: SITES - 1]
            sites = [site, *(list(mine)[i] for i in sorted(others))]
            kind = next(cell.kind for cell in grid if cell.hypothesis == name)
            cells += [Cell(name, s, kind, draw) for s in sites]
        done.append(cells)
    return done


def reinitialised(lm: LM, seed: int) -> LM:
    """A network of the same shape with random weights: by its class' own initialisation from the configuration, or, where
    there is none, with every weight drawn from a normal law of the trained one's mean and spread."""
    config = getattr(lm.model, "config", None)
    from_config = getattr(type(lm.model), "_from_config", None)
    drawn_there = [lm.device] if lm.device.type == "cuda" else []  # seven billion numbers take a processor minutes
    with torch.random.fork_rng(devices=drawn_there):
        torch.manual_seed(seed)
        if not (from_config and config):
            model = redrawn(lm.model)
        else:
            with drawn_there[0] if drawn_there else nullcontext():
                model = from_config(copy.deepcopy(config), dtype=lm.dtype)
    return lm.like(model.to(lm.device), f"{lm.name}, untrained")


def redrawn(model: nn.Module) -> nn.Module:
    """A copy of a module with other weights: each tensor's entries from a normal law of their mean and spread."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in [*twin.parameters(), *(b for b in twin.buffers() if b.is_floating_point())]:
            spread = tensor.float().std(correction=0)
            tensor.copy_(torch.randn(tensor.shape) * spread.cpu() + tensor.float().mean().cpu())
    return twin


def shuffled(data: Dataset, draws: Sequence[int], seed: int) -> Dataset:
    """The same pairs, once per draw under the name `twin(hypothesis, draw)`, with their counterfactual answers (and the prompts
    that have these) and the classes of their bases permuted."""
    names = [(name, pairs, draw) for name, pairs in data.pairs.items() for draw in draws]
    dealt = {twin(name, draw): _dealt_anew(pairs, [seed, draw]) for name, pairs, draw in names}
    return replace(data, pairs=dealt).begun()


def _dealt_anew(pairs: Labelled, seed: Sequence[int]) -> Labelled:
    order = np.random.default_rng(seed).permutation(len(pairs))
    dealt = pairs.take(order)
    own = {name: getattr(dealt, name) for name in ("label", "match", "classes", "changed", "alone")}
    return replace(pairs, **own)


def twin(hypothesis: str, draw: int) -> str:
    """The name of a shuffled set of pairs."""
    return f"{hypothesis}~{draw}"


@dataclass(frozen=True)
class Searches:
    """Makes searches of a run's kind.

    engine, data: the run's, `train`, `val` and `test`. renewed: makes the engine of another network.
    align: `align(cells, engine, data, name)` → their alignments, trained where they are to be. ranks: hypothesis → rank found.
    """

    engine: Engine
    data: Mapping[str, Dataset]
    renewed: Callable[[LM], Engine]
    align: Callable[..., list[Alignment]]
    ranks: Mapping[str, int]

    def tables(
        self, null: str, draws: Mapping[int, Sequence[Cell]], chosen: Mapping[str, Site]
    ) -> Iterator[tuple[int, pd.DataFrame]]:
        """For each draw, a row per cell with its validation IIA (`width` 0), and for a chosen site also a row per width with
        that of so many columns of each variable."""
        searched: Iterator[_Found] = getattr(self, f"_{null}")(draws)
        for alignments, engine, data in searched if draws else ():
            table = pd.DataFrame(_rows(alignments, engine, data["val"], chosen)).assign(null=null)
            yield from ((draw, table[table["draw"] == draw]) for draw in table["draw"].unique())

    def _shuffled(self, draws: Mapping[int, Sequence[Cell]]) -> Iterator[_Found]:
        data = {split: shuffled(some, list(draws), i) for i, (split, some) in enumerate(self.data.items())}
        cells = [replace(c, hypothesis=twin(c.hypothesis, draw)) for draw, some in draws.items() for c in some]
        yield self.align(cells, self.engine, data, "shuffled labels"), self.engine, data

    def _untrained(self, draws: Mapping[int, Sequence[Cell]]) -> Iterator[_Found]:
        steps = list(zip_longest(*(data.answer_tokens() for data in self.data.values()), fillvalue=np.zeros(0, np.int64)))
        for draw, cells in draws.items():
            engine = Among(self.renewed(reinitialised(self.engine.lm, draw)), [np.concatenate(tokens) for tokens in steps])
            yield self.align(cells, engine, self.data, f"untrained network {draw}"), engine, self.data

    def _random(self, draws: Mapping[int, Sequence[Cell]]) -> Iterator[_Found]:
        cells = [replace(c, kind=Random(self.ranks[c.hypothesis])) for some in draws.values() for c in some]
        yield self.align(cells, self.engine, self.data, "random subspaces"), self.engine, self.data


_Found = tuple[list[Alignment], Engine, Mapping[str, Dataset]]


def _rows(alignments: list[Alignment], engine: Engine, val: Dataset, chosen: Mapping[str, Site]) -> Iterator[dict[str, Any]]:
    """The rows of some alignments."""
    own = [(a, *a.cell.hypothesis.partition("~")[::2]) for a in alignments]
    cuts = {i: by_width(a.feature) for i, (a, name, _) in enumerate(own) if a.cell.site == chosen[name]}
    wanted: dict[Any, Any] = {(i, 0): (a.cell.hypothesis, a.cell.site, [a.feature]) for i, a in enumerate(alignments)}
    for i, features in cuts.items():
        wanted[i, 1] = alignments[i].cell.hypothesis, alignments[i].cell.site, list(features.values())
    found = score(engine, val, {at: asked for at, asked in wanted.items() if asked[2]})
    for i, (a, name, draw) in enumerate(own):
        head = {"draw": int(draw or a.cell.seed), "hypothesis": name, **asdict(a.cell.site), "rank": a.rank}
        yield head | {"width": 0, "iia": float(found[i, 0].mean())}
        for width, hits in zip(cuts.get(i, ()), found.get((i, 1), ()), strict=True):
            yield head | {"width": width, "iia": float(hits.mean())}
