"""Scores: on which pairs a swap makes the network give the counterfactual answer, for any features at any sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from das.interchange.batch import Batch, batches
from das.interchange.captures import Captures, Said
from das.interchange.engine import Engine
from das.interchange.feature import Feature, changes, kept
from das.interchange.measures import Measure
from das.memory import trim
from das.network.site import Site
from das.pairs.dataset import Dataset
from das.task.answers import Answers, OneToken
from das.task.rendered import Prompts

MOST = 128
"""Pairs of all hypotheses that are captured together: what a large network leaves behind of a prompt takes 20 MB and more."""

Key = TypeVar("Key", bound=Hashable)
Hits = NDArray[np.bool_]
"""(features, pairs): whether the patched network gave the counterfactual answer."""
Measured = dict[str, NDArray[Any]]
"""Name of a measure → (features, pairs)."""
IIA = "iia"
"""Under this name stand the hits among measures."""
Wanted = Mapping[Key, tuple[str, Site, Sequence[Feature]]]
"""key → hypothesis, site, features."""


def captures_for(engine: Engine, data: Dataset, sites: Sequence[Site], room: float = 0.0) -> Captures:
    """What swaps at these sites need of a data set's prompts: what the engine holds of it, if it is there (see `hold`)."""
    spots = sorted({spot for site in sites for spot in site.spots}, key=str)
    first = data.first(sites)
    there = (held for held in engine.held if held.serve(data.prompts, spots, first))
    return next(there, None) or Captures(engine, data.prompts, spots, first, room, data.answers, data.used)


def hold(engine: Engine, data: Sequence[Dataset], sites: Sequence[Site], room: float) -> None:
    """Has an engine hold what swaps at any of the sites need of these data sets, in the place of what it held before, so that
    searches one after another share it. room: bytes for all of it."""
    wanted = {spot for site in sites for spot in site.spots}
    if data and all(any(h.serve(each.prompts, wanted, each.first(sites)) for h in engine.held) for each in data):
        return
    engine.held, every = (), sum(len(each.prompts) for each in data)
    engine.held = [captures_for(engine, each, sites, room * len(each.prompts) / max(1, every)) for each in data]


def score(
    engine: Engine, data: Dataset, wanted: Wanted[Key], rows: int = 32, progress: Callable[[float], None] | None = None,
    captures: Captures | None = None,
) -> dict[Key, Hits]:  # fmt: skip
    """Hits of any features in one pass over the data, key → (features, pairs). rows: pairs of each hypothesis at once; fewer
    where there are many. captures: kept ones, if there are any."""
    return {key: found[IIA] for key, found in measured(engine, data, wanted, {}, rows, progress, captures).items()}


@torch.no_grad()
def measured(
    engine: Engine, data: Dataset, wanted: Wanted[Key], measures: Mapping[str, Measure], rows: int = 32,
    progress: Callable[[float], None] | None = None, captures: Captures | None = None,
) -> dict[Key, Measured]:  # fmt: skip
    """The same with measures beside the hits (`IIA`): key → name → (features, pairs)."""
    if not wanted:
        return {}
    trim()
    captures = captures or captures_for(engine, data, [site for _, site, _ in wanted.values()])
    every = {name: np.arange(len(data.pairs[name])) for name in dict.fromkeys(name for name, _, _ in wanted.values())}
    rows = max(1, min(rows, MOST // len(every)))
    parts: dict[Key, list[Measured]] = {key: [] for key in wanted}
    sites: dict[Site, list[Key]] = {}
    for key, (_, site, _) in wanted.items():
        sites.setdefault(site, []).append(key)
    roles = list(dict.fromkeys(["label", *(role for measure in measures.values() for role in measure.roles)]))
    for done, batch in batches(data, captures, every, rows, roles, any(m.matched for m in measures.values())):
        for site, keys in sites.items():
            here = {key: wanted[key] for key in keys if wanted[key][0] in batch.pairs}
            for key, found in _measured(engine, batch, site, here, measures).items():
                parts[key].append(found)
        del batch  # before the next is captured
        if progress:
            progress(done)
    return {key: {name: np.concatenate([part[name] for part in mine], 1) for name in mine[0]} for key, mine in parts.items()}


def _measured(
    engine: Engine, batch: Batch, site: Site, wanted: Wanted[Key], measures: Mapping[str, Measure]
) -> dict[Key, Measured]:
    """At one site: the features of each hypothesis are run one copy of its pairs each."""
    stacks: dict[str, list[Feature]] = {}
    place: dict[Key, slice] = {}
    for key, (name, _, features) in wanted.items():
        stack = stacks.setdefault(name, [])
        place[key] = slice(len(stack), len(stack) + len(features))
        stack += features
    swaps = {name: batch.swap(name, site) for name in stacks}
    found: dict[str, list[Measured]] = {name: [] for name in stacks}
    for share in batch.shares(engine, site, {name: len(stack) for name, stack in stacks.items()}, gradients=False):
        some = {name: swaps[name] for name in share}
        own = {name: stacks[name][part] for name, part in share.items()}
        deltas = [changes(own[name], swap.base, swap.source) for name, swap in some.items()]
        reply = batch.reply(engine, site, some, deltas, [partial(kept, each) for each in own.values()])
        values = {IIA: reply.right()} | {name: measure.of(reply).cpu().numpy() for name, measure in measures.items()}
        ends = np.cumsum([len(batch.pairs[name]) for name in share])[:-1]
        for i, name in enumerate(share):
            found[name].append({measure: np.split(each, ends, 1)[i] for measure, each in values.items()})
    whole = {name: {m: np.concatenate([part[m] for part in mine]) for m in mine[0]} for name, mine in found.items()}
    return {key: {m: each[place[key]] for m, each in whole[name].items()} for key, (name, _, _) in wanted.items()}


@torch.no_grad()
def predictions(
    engine: Engine, prompts: Prompts, answers: Answers | None = None, known: Said | None = None, rows: int = 256
) -> NDArray[Any]:
    """The network's own answer to every prompt: the likeliest token, (prompts,), with answers of several tokens that of each
    step, (prompts, steps), or whatever else `answers` compares. known: those that are there already."""
    said = known or Said(len(prompts), answers or OneToken())
    missing = np.flatnonzero(~said.known)
    for start in range(0, len(missing), rows):
        some = missing[start : start + rows]
        logits = engine.capture(prompts.take(some), []).logits
        assert logits is not None
        said.note(some, logits)
    return said.each
