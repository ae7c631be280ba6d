"""Scores: on which pairs a swap makes the network give the counterfactual answer, for any subspaces at any sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from das.dataset import Batch, Dataset, Site
from das.engine import Engine
from das.subspace import Subspace, change

Key = TypeVar("Key", bound=Hashable)
Hits = NDArray[np.bool_]
"""(subspaces, pairs): whether the patched network gave the counterfactual answer."""


@torch.no_grad()
def score(
    engine: Engine, data: Dataset, wanted: Mapping[Key, tuple[str, Site, Sequence[Subspace]]],
    rows: int = 128, progress: Callable[[float], None] | None = None,
) -> dict[Key, Hits]:  # fmt: skip
    """Hits of any subspaces in one pass over the data: key → (hypothesis, site, subspaces), to key → (subspaces, pairs)."""
    hits: dict[Key, list[Hits]] = {key: [] for key in wanted}
    layers = sorted({site.layer for _, site, _ in wanted.values()})
    names = sorted({name for name, _, _ in wanted.values()})
    sizes = {name: len(data.pairs[name]) for name in names}
    longest = max(sizes.values(), default=0)
    for start in range(0, longest, rows):
        chosen = {name: np.arange(start, min(start + rows, n)) for name, n in sizes.items() if start < n}
        batch = Batch.capture(data, chosen, engine, layers)
        for key, (name, site, subspaces) in wanted.items():
            if name in chosen:
                hits[key].append(_hits(engine, batch, name, site, subspaces))
        if progress:
            progress(min(1.0, (start + rows) / longest))
    return {key: np.concatenate(parts, 1) for key, parts in hits.items()}


def _hits(engine: Engine, batch: Batch, name: str, site: Site, subspaces: Sequence[Subspace]) -> Hits:
    columns, base, source = batch.at(name, site)
    labels = batch.label(name)
    parts = []
    for start in range(0, len(subspaces), 8):
        deltas = change(subspaces[start : start + 8], base, source)
        logits = batch.resume(engine, name, site, columns, base, deltas)
        parts.append((logits.argmax(-1).cpu() == labels).numpy())
    return np.concatenate(parts)


@torch.no_grad()
def predictions(engine: Engine, data: Dataset, rows: int = 256) -> NDArray[np.int64]:
    """The network's own answer (token) to every distinct prompt."""
    parts = []
    for start in range(0, len(data.prompts), rows):
        logits = engine.capture(data.prompts.take(slice(start, start + rows)), []).logits
        assert logits is not None
        parts.append(logits.argmax(-1).cpu().numpy())
    return np.concatenate(parts)
