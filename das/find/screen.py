"""Screen: how much every site of a grid matters to the answer, before anything is trained there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from das.find.alignment import Cell
from das.find.slopes import gradients, standing
from das.interchange.batch import Batch, batches
from das.interchange.engine import Engine
from das.interchange.feature import Whole
from das.interchange.score import captures_for
from das.network.site import Site
from das.pairs.dataset import Dataset

PAIRS = 256
"""Pairs per hypothesis that are looked at."""


def screen(
    engine: Engine, data: Dataset, cells: Sequence[Cell], pairs: int = PAIRS, rows: int = 64,
    progress: Callable[[float], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row per hypothesis × site of the cells, from at most `pairs` pairs of each hypothesis, `rows` of them at once.

    Of the pairs whose counterfactual answer differs from the base answer, what a whole-vector swap does, means in logits:
    `move`, how far it takes the counterfactual answer's logit less the base answer's; `attribution`, the first-order
    estimate of that, gradient · (source − base) (attribution patching: Syed et al., arXiv 2310.10348); `gain`, how far it
    takes the counterfactual answer's log-probability; `flips`, the share to which it gives the counterfactual answer.
    `whole`: the swap's IIA, on all the pairs.

    `score`, by which sites are to be ranked, is the larger of |gain| and |attribution|: a site whose swap leaves the
    counterfactual answer as likely as it was, to first order too, cannot hold the variable, except by Makelov's illusion,
    while one whose swap has a poor IIA may, since the swap also carries what else the site holds. The first order still adds
    up parts that undo each other in the swap, the swap still works where the network saturates, and `gain` stands in for
    `move`, which a swap that merely destroys the base answer makes large.
    With several variables the swap is that of `das.interchange.feature.Whole`: each pair's first source that differs from its
    base.
    """
    sites: dict[str, list[Site]] = {}
    for hypothesis, site in dict.fromkeys((cell.hypothesis, cell.site) for cell in cells):
        sites.setdefault(hypothesis, []).append(site)
    drawn = {name: np.random.default_rng(0).permutation(len(data.pairs[name]))[:pairs] for name in sites}
    captures = captures_for(engine, data, [cell.site for cell in cells])
    effects: dict[tuple[str, Site], list[Tensor]] = {}
    for done, batch in batches(data, captures, drawn, rows, ("label", "base")):
        for key, effect in _effects_in(engine, batch, sites):
            effects.setdefault(key, []).append(effect)
        if progress:
            progress(done)
    seen = {name: data.pairs[name].take(chosen) for name, chosen in drawn.items()}
    flips = {name: torch.from_numpy(p.flips) for name, p in seen.items()}
    return pd.DataFrame([_row(name, site, torch.cat(parts, 1), flips[name]) for (name, site), parts in effects.items()])


def _effects_in(engine: Engine, batch: Batch, sites: Mapping[str, Sequence[Site]]) -> Iterator[tuple[tuple[str, Site], Tensor]]:
    """Hypothesis and site → its effect on the pairs of a batch (see `_effects`)."""
    for name in batch.pairs:
        for site, effect in zip(sites[name], _effects(engine, batch, name, sites[name]), strict=True):
            yield (name, site), effect


def _effects(engine: Engine, batch: Batch, name: str, sites: Sequence[Site]) -> Iterator[Tensor]:
    """For each site (4, pairs): move, gain, attribution, hits."""
    clean, slopes = gradients(engine, batch, name, sites)
    for site, gradient in zip(sites, slopes, strict=True):
        swap = batch.swap(name, site)
        whole = Whole(len(swap.source)).swap(swap.base, swap.source)[None]
        with torch.no_grad():
            reply = batch.reply(engine, site, {name: swap}, [whole])
        first_order = (gradient * whole[0]).sum(1)
        hits = torch.from_numpy(reply.right()[0])
        yield torch.stack([*(standing(reply) - clean).cpu(), first_order.cpu(), hits.float()])


def _row(name: str, site: Site, effect: Tensor, flips: Tensor) -> dict[str, object]:
    """A site's row of the table; what is said of flipping pairs is 0 where there are none."""
    move, gain, attribution, flipped = effect[:, flips].mean(1).nan_to_num().tolist()
    means = {"move": move, "attribution": attribution, "gain": gain, "flips": flipped, "whole": float(effect[3].mean())}
    return {"hypothesis": name, **asdict(site), **means, "score": max(abs(gain), abs(attribution))}
