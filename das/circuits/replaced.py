"""Replaced: what a swapped edge carries in place of its node's contribution: the source's, nothing, or the mean's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from das.circuits.contrasts import Contrasts
from das.circuits.streams import Said, Streams
from das.network.parts import places
from das.task.encoded import Encoded

SWAPS = "source", "zero", "mean"

Replacement = Callable[[Contrasts], Said]
"""What the nodes add in the other run of each pair."""


def replacement(streams: Streams, swap: str, every: Contrasts) -> Replacement:
    """By its name in `SWAPS`. every: pairs over whose base prompts means are taken, at each place from the prompt's
    beginning."""
    if swap == "source":
        return lambda some: streams.said(some.others)
    if swap == "zero":
        return lambda some: _each(streams.said(some.prompts), torch.zeros_like)
    means = _Means(streams, batches_of(streams, every))
    return means.of


def batches_of(streams: Streams, some: Contrasts) -> Iterable[Contrasts]:
    """See `Contrasts.batches`."""
    return some.batches(len(streams.graph.nodes), streams.lm.width, len(streams.engine.prefix))


class _Means:
    """The mean over prompts of what each node adds, by place."""

    def __init__(self, streams: Streams, batches: Iterable[Contrasts]) -> None:
        self.streams, self.sums, self.counts = streams, list[Tensor](), torch.zeros(0)
        for batch in batches:
            self._add(batch.prompts)

    def of(self, some: Contrasts) -> Said:
        """What a pair's other run is taken to add."""
        said, place = self.streams.said(some.prompts), self._place(some.prompts)
        means = iter([(each / self.counts.clamp(min=1)[:, None])[place.clamp(min=0, max=len(each) - 1)] for each in self.sums])
        return _each(said, lambda _: next(means))

    def _place(self, prompts: Encoded) -> Tensor:
        return places(prompts)[:, len(self.streams.engine.prefix) :].to(self.streams.lm.device)

    def _add(self, prompts: Encoded) -> None:
        said, place = self.streams.said(prompts), self._place(prompts)
        parts, most = [said.embedding, *said.mixed, *said.mlps], int(place.max()) + 1
        self.sums = self.sums or [part.new_zeros(0, part.shape[-1]) for part in parts]
        self.counts = _longer(self.counts.to(place.device), most)
        self.sums = [_longer(each, most) for each in self.sums]
        real = place >= 0
        self.counts.index_add_(0, place[real], torch.ones_like(place[real], dtype=self.counts.dtype))
        for each, part in zip(self.sums, parts, strict=True):
            each.index_add_(0, place[real], part[real])


def _longer(rows: Tensor, most: int) -> Tensor:
    missing = max(0, most - len(rows))
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


def _each(said: Said, change: Callable[[Tensor], Tensor]) -> Said:
    """The same with every addition changed, the embedding, then heads, then MLPs."""
    embedding = change(said.embedding)
    mixed = [change(each) for each in said.mixed]
    return Said(embedding, mixed, [change(each) for each in said.mlps], said.logits)
