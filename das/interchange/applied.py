"""Applied: what a network answers to prompts of anyone's when a feature is swapped in, with no answer that is expected."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from das.interchange.batch import batches
from das.interchange.engine import Engine
from das.interchange.feature import Feature, changes, kept
from das.interchange.score import captures_for
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled, Rows
from das.task.rendered import Prompts

AT_ONCE = 16
"""Pairs that are run together: all logits of each are kept."""


def unlabelled(prompts: Prompts, base: Rows, sources: Rows) -> Dataset:
    """Pairs as rows of prompts, base (pairs,) and sources (variables, pairs), of which nobody says what is right."""
    nothing = np.full(len(base), -1)
    return Dataset(prompts, {"": Labelled(base, sources, nothing, nothing, nothing)})


@torch.no_grad()
def swapped(engine: Engine, data: Dataset, site: Site, feature: Feature) -> Tensor:
    """Logits (pairs, vocabulary) after the swap at a site, of `unlabelled` pairs."""
    captures, found = captures_for(engine, data, [site]), []
    for _, batch in batches(data, captures, {"": np.arange(len(data.pairs[""]))}, AT_ONCE):
        swap = batch.swap("", site)
        delta = changes([feature], swap.base, swap.source)
        found.append(batch.resume(engine, site, {"": swap}, [delta], [partial(kept, [feature])])[0].cpu())
    return torch.cat(found)
