"""Choosing: the finder of latents of a dictionary, by what training pairs say of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.errors import DasError
from das.find.alignment import Alignment, Cell
from das.find.dictionary import Dictionary, activity
from das.find.directions import Seen, sights
from das.find.masks import first_of_each
from das.find.probe import logistic_weights
from das.find.rank import settle
from das.find.search import Search
from das.find.slopes import gradients
from das.find.train import train
from das.interchange.batch import batches
from das.interchange.feature import Whole
from das.interchange.latents import Latents, Reconstruction
from das.interchange.measures import Measure
from das.interchange.sae import SAE, quality
from das.interchange.score import captures_for, measured
from das.network.site import Site

PAIRS = 512
"""Pairs whose gradients are taken."""

L2 = 0.01
"""What large weights of a probe on latents cost; see `das.find.probe`."""

TINY = 1e-12


def find(cells: Sequence[Cell], search: Search) -> list[Alignment]:
    """Latents for all cells, their numbers settled; in `about`, under `dictionary`, how good the dictionary is at the site, and
    which latents are swapped."""
    masks = [cell for cell in cells if cell.trains]
    trained = {a.cell: a for a in (train(masks, search) if masks else [])}
    names = dict.fromkeys(cell.hypothesis for cell in cells)
    done = [a for name in names for a in _of_hypothesis(name, cells, trained, search)]
    settle(done, search.engine, search.data["val"], room=search.room)
    for a in done:
        assert isinstance(a.feature, Latents)
        a.about["dictionary"]["latents"] = [a.feature.called(i) for i in range(a.feature.variables)]
    return done


def _of_hypothesis(
    name: str, cells: Sequence[Cell], trained: dict[Cell, Alignment], search: Search
) -> Iterator[Alignment]:  # fmt: skip
    for here, seen in sights(name, cells, search):
        site = here[0].site
        slopes = cache(partial(_slopes, search, name, site))
        chosen = cache(partial(_chosen, seen=seen, slopes=slopes))
        known = cache(partial(_known, name=name, site=site, seen=seen, search=search))
        for cell in here:
            kind = cell.kind
            assert isinstance(kind, Dictionary)
            kind.check_site(site)
            a = trained[cell] if cell.trains else Alignment(cell, chosen(kind))
            a.about = {"dictionary": dict(known(kind))}
            yield a


def _sae(kind: Dictionary, seen: Seen) -> SAE:
    return kind.sae(seen.base, len(seen.sources))


# --- choosing ---


def _chosen(kind: Dictionary, seen: Seen, slopes: Callable[[], Sequence[Tensor]]) -> Latents:
    """The k latents of each variable that have the largest scores, in shares of the variable's largest."""
    sae = _sae(kind, seen)
    scores = _by_probe(sae, seen, kind) if kind.by == "probe" else _by_attribution(sae, *slopes())
    scores = scores / scores.amax(1, keepdim=True).clamp(min=TINY)
    return Latents.of(sae, first_of_each(scores, kind.k), activity(sae, seen.base))


def _slopes(search: Search, name: str, site: Site) -> tuple[Tensor, ...]:
    """Of training pairs whose counterfactual answer is another than the base's: base (pairs, d), sources (variables, pairs,
    d), and the gradient of how far the counterfactual answer is ahead, at the base (pairs, d)."""
    data = search.data["train"]
    if not data.pairs[name].answered:
        raise DasError("attribution goes by how base prompts are answered: add the column base_label, or choose by=probe")
    flips = np.flatnonzero(data.pairs[name].label != data.pairs[name].base_label)[:PAIRS]
    if not len(flips):
        raise DasError(f"no training pair of {name} changes the answer, by which attribution goes: choose by=probe")
    captures, parts = captures_for(search.engine, data, [site]), list[tuple[Tensor, Tensor, Tensor]]()
    for _, batch in batches(data, captures, {name: flips}, 64, ("label", "base")):
        swap, (slope,) = batch.swap(name, site), gradients(search.engine, batch, name, [site])[1]
        parts.append((swap.base.float().cpu(), swap.source.float().cpu(), slope.float().cpu()))
    return tuple(torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (0, 1, 0), strict=True))


def _by_attribution(sae: SAE, base: Tensor, sources: Tensor, slopes: Tensor) -> Tensor:
    """(variables, latents): how far each latent's change takes the answer, the mean."""
    along, before = slopes @ sae.decoder.T, sae.encode(base)
    return torch.stack([((sae.encode(source) - before) * along).mean(0) for source in sources])


def _by_probe(sae: SAE, seen: Seen, kind: Dictionary) -> Tensor:
    """(variables, latents): the length of a latent's weights over the values, times how much it varies."""
    found = sae.encode(seen.base)
    rows, spread = (found - found.mean(0)) / found.square().mean().sqrt().clamp(min=TINY), found.std(0)
    return torch.stack([logistic_weights(rows, own, L2).norm(dim=0) * spread for own in seen.each_value(kind)])


# --- beside ---


def _known(kind: Dictionary, name: str, site: Site, seen: Seen, search: Search) -> dict[str, Any]:
    """How good a dictionary is at a site: its quality on training pairs' vectors, and the share of validation pairs whose base
    prompt is answered right by the network itself (`clean`) and with the site's vector replaced by its reconstruction, where
    anybody says the answers."""
    sae, data, variables = _sae(kind, seen), search.data["val"], len(seen.sources)
    about = asdict(quality(sae, torch.cat([seen.base, *seen.sources])))
    if not data.pairs[name].answered:
        return about
    wanted = {"clean": Whole(variables).complement, "reconstruction": Reconstruction(sae, variables)}
    right = Measure(lambda reply: torch.from_numpy(reply.right("base")).float(), "base answer", ("base",), numbers=True)
    asked = {key: (name, site, [feature]) for key, feature in wanted.items()}
    found = measured(search.engine, data, asked, {"kept": right})
    return about | {key: float(found[key]["kept"].mean()) for key in wanted}
