"""Scores: on which pairs a swap makes the network give the counterfactual answer, for any features at any sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from das.interchange.batch import Batch, batches
from das.interchange.captures import Captures
from das.interchange.engine import Engine
from das.interchange.feature import Feature, changes
from das.memory import trim
from das.network.site import Site
from das.pairs.dataset import Dataset, Rows
from das.task.rendered import Prompts

MOST = 128
"""Pairs of all hypotheses that are captured together: what a large network leaves behind of a prompt takes 20 MB and more."""

Key = TypeVar("Key", bound=Hashable)
Hits = NDArray[np.bool_]
"""(features, pairs): whether the patched network gave the counterfactual answer."""
Wanted = Mapping[Key, tuple[str, Site, Sequence[Feature]]]
"""key → hypothesis, site, features."""


def captures_for(engine: Engine, data: Dataset, sites: Sequence[Site], room: float = 0.0) -> Captures:
    """What swaps at these sites need of a data set's prompts."""
    spots = sorted({site.spot for site in sites}, key=str)
    return Captures(engine, data.prompts, spots, data.first(site.position for site in sites), room)


@torch.no_grad()
def score(
    engine: Engine, data: Dataset, wanted: Wanted[Key], rows: int = 32, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[Key, Hits]:  # fmt: skip
    """Hits of any features in one pass over the data, key → (features, pairs). rows: pairs of each hypothesis at once; fewer
    where there are many. captures: kept ones, if there are any."""
    if not wanted:
        return {}
    trim()
    captures = captures or captures_for(engine, data, [site for _, site, _ in wanted.values()])
    every = {name: np.arange(len(data.pairs[name])) for name in dict.fromkeys(name for name, _, _ in wanted.values())}
    rows = max(1, min(rows, MOST // len(every)))
    hits = {key: np.zeros((len(features), len(every[name])), bool) for key, (name, _, features) in wanted.items()}
    sites: dict[Site, list[Key]] = {}
    for key, (_, site, _) in wanted.items():
        sites.setdefault(site, []).append(key)
    for i, (done, batch) in enumerate(batches(data, captures, every, rows)):
        for site, keys in sites.items():
            here = {key: wanted[key] for key in keys if wanted[key][0] in batch.pairs}
            for key, found in _hits(engine, batch, site, here).items():
                hits[key][:, i * rows : (i + 1) * rows] = found
        del batch  # before the next is captured
        if progress:
            progress(done)
    return hits


def _hits(engine: Engine, batch: Batch, site: Site, wanted: Wanted[Key]) -> dict[Key, Hits]:
    """Hits at one site: the features of each hypothesis are run one copy of its pairs each."""
    stacks: dict[str, list[Feature]] = {}
    place: dict[Key, slice] = {}
    for key, (name, _, features) in wanted.items():
        stack = stacks.setdefault(name, [])
        place[key] = slice(len(stack), len(stack) + len(features))
        stack += features
    swaps = {name: batch.swap(name, site) for name in stacks}
    found = {name: np.zeros((len(stack), len(batch.pairs[name])), bool) for name, stack in stacks.items()}
    for share in batch.shares(engine, site, {name: len(stack) for name, stack in stacks.items()}, gradients=False):
        some = {name: swaps[name] for name in share}
        deltas = [changes(stacks[name][part], swaps[name].base, swaps[name].source) for name, part in share.items()]
        answers = batch.resume(engine, site, some, deltas).argmax(-1).cpu()
        right = (answers == batch.labels(list(share))).split([len(batch.pairs[name]) for name in share], 1)
        for (name, part), hits in zip(share.items(), right, strict=True):
            found[name][part] = hits.numpy()
    return {key: found[name][place[key]] for key, (name, _, _) in wanted.items()}


@torch.no_grad()
def predictions(engine: Engine, prompts: Prompts, known: Rows | None = None, rows: int = 256) -> Rows:
    """The network's own answer (token) to every prompt. known: those that are there already, −1 elsewhere."""
    answers = np.full(len(prompts), -1) if known is None else known.copy()
    missing = np.flatnonzero(answers < 0)
    for start in range(0, len(missing), rows):
        some = missing[start : start + rows]
        logits = engine.capture(prompts.take(some), []).logits
        assert logits is not None
        answers[some] = logits.argmax(-1).cpu().numpy()
    return answers
