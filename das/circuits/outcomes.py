"""Outcomes: what a network answers when some edges are swapped, pair by pair, for many sets of edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from das.circuits.contrasts import Contrasts
from das.circuits.graph import Edges
from das.circuits.replaced import Replacement, batches_of
from das.circuits.streams import Streams, Swapped

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """stayed: where the base's answer is given, (pairs,); left: where the source's is; difference: the logit of the base's
    answer less that of the source's. Of pairs with a `middle`, by which side of it that lies on."""

    stayed: Hits
    left: Hits
    difference: NDArray[np.floating]


@torch.no_grad()
def outcomes(
    streams: Streams, found: Contrasts, replaced: Replacement, swapped: Sequence[Edges],
    progress: Callable[[float], None] | None = None,
) -> list[Outcome]:  # fmt: skip
    """For each of several sets of edges, what comes of swapping them, see `Swapped`."""
    parts: list[list[Outcome]] = [[] for _ in swapped]
    sets = [torch.from_numpy(each) for each in swapped]
    done = 0
    for batch in batches_of(streams, found):
        run = Swapped.of(streams, batch, replaced)
        for own, edges in zip(parts, sets, strict=True):
            own.append(outcome(batch, run.answers(edges)))
            done += len(batch)
            if progress:
                progress(done / (len(found) * len(sets)))
    return [_joined(own) for own in parts]


def outcome(batch: Contrasts, logits: torch.Tensor) -> Outcome:
    """Of answers to the pairs of a batch."""
    difference = batch.difference(logits).cpu().numpy()
    if batch.middle is not None:
        return Outcome(difference > batch.middle, difference < batch.middle, difference)
    said = logits.argmax(-1).cpu().numpy()
    return Outcome(said == batch.answer, said == batch.other, difference)


def _joined(parts: Sequence[Outcome]) -> Outcome:
    return Outcome(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("stayed", "left", "difference")))
