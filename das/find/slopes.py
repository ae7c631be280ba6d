"""Slopes: how much the answer changes, to first order, with what is at sites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from das.interchange.batch import Batch, values_at
from das.interchange.engine import Engine
from das.interchange.reply import Reply
from das.network.site import Site


def gradients(engine: Engine, batch: Batch, name: str, sites: Sequence[Site]) -> tuple[Tensor, list[Tensor]]:
    """The clean standing (2, pairs), and for each site the gradient of its first row with respect to the values there,
    (pairs, d): for all sites one forward and one backward, of as many pairs as the engine takes at once."""
    tokens = batch.bases.prompts.width - batch.bases.first
    most = min(engine.rows_at_once(place.spot, tokens) for site in sites for place in site.places)
    most = max(1, most // batch.put)
    parts = [_slopes(engine, batch, name, sites, slice(i, i + most)) for i in range(0, len(batch.pairs[name]), most)]
    clean, found = zip(*parts, strict=True)
    return torch.cat(clean, 1), [torch.cat(slopes) for slopes in zip(*found, strict=True)]


def _slopes(engine: Engine, batch: Batch, name: str, sites: Sequence[Site], part: slice) -> tuple[Tensor, list[Tensor]]:
    """The same of a part of the pairs."""
    pairs, start = batch.pairs[name].take(part), batch.rows[name].start + part.start * batch.put

    def of(logits: Tensor) -> Tensor:
        return standing(batch.read(logits[None], [pairs]))

    rows, spots = slice(start, start + len(pairs) * batch.put), {place.spot for site in sites for place in site.places}
    found = engine.gradients(batch.bases, spots, lambda logits: of(logits)[0].sum(), rows)
    assert found.logits is not None
    asked = np.repeat(pairs.base, batch.put)
    each = [torch.cat(values_at(found, site.places, batch.columns, asked), 1) for site in sites]
    return of(found.logits), [slopes.unflatten(0, (-1, batch.put)).sum(1) for slopes in each]


def standing(reply: Reply) -> Tensor:
    """(2, pairs): the counterfactual answer's log-probability less the base answer's (of answers of one token, their logits'
    difference), and the former. Of answers that are numbers, see `Reply.nearness`."""
    counterfactual, base = (reply.nearness(role)[0] for role in ("label", "base"))
    return torch.stack([counterfactual - base, counterfactual])
