"""Activations: what a network has at a spot while it reads, as a stream of vectors that is never held whole."""

from __future__ import annotations

import torch
from torch import Tensor

from das.errors import DasError
from das.interchange.engine import Engine
from das.network.parts import places
from das.network.site import Spot
from das.progress import Reporter
from das.run.reading import Reading, Written
from das.task.rendered import Prompts

ROOM = 2**30
"""Bytes in which vectors are held."""

SINK = 10
"""Vectors so many times as long as the median are left out: of a text's first token and some others, attention sinks, whose
length would be all that the error and the explained variance see."""


class Activations:
    """The vectors of the tokens of a reading at a spot, (tokens, d), without padding and without what the tokenizer put around
    the text. limit: longer ones are left out (see `SINK`); left_out: their share, of the held-out ones."""

    def __init__(self, engine: Engine, spot: Spot, source: Reading, report: Reporter) -> None:
        self.engine, self.spot, self.source, self.limit = engine, spot, source, float("inf")
        found = []
        with report.task(f"held-out activations: {source.held} batches", source.held) as step:
            for i in range(source.held):
                found.append(self._vectors(source.held_at(i)))
                step(i + 1, "")
        every = torch.cat(found)
        self.limit = SINK * float(every.norm(dim=1).median())
        self.held = self._within(every)
        self.left_out = 1 - len(self.held) / len(every)

    def at(self, i: int) -> Tensor:
        """The vectors of a batch."""
        return self._within(self._vectors(self.source.at(i)))

    def _within(self, rows: Tensor) -> Tensor:
        return rows[rows.norm(dim=1) <= self.limit]

    @torch.no_grad()
    def _vectors(self, prompts: Prompts) -> Tensor:
        before, behind = self.source.around if isinstance(self.source, Written) else (0, 0)
        found = self.engine.capture(prompts, [self.spot], resumable=False)
        place = places(prompts)
        real = (place >= before) & (torch.arange(prompts.width) < prompts.width - behind)
        rows, columns = real.nonzero(as_tuple=True)
        vectors = found.at(self.spot, columns[:, None], rows)[:, 0].float().cpu()
        if not bool(vectors.isfinite().all()):
            raise DasError(f"{self.spot[0]} of layer {self.spot[1]} has vectors that are no numbers")
        return vectors


class Window:
    """The vectors that a training draws from. Where they are more than there is room for, it moves over the stream, half of it
    at a time: what a step draws depends on its number alone, so a killed training goes on with the same.

    steps: of the whole training; batch: vectors of a step. room: bytes.
    """

    def __init__(
        self, stream: Activations, steps: int, batch: int, seed: int, report: Reporter, room: float = ROOM
    ) -> None:  # fmt: skip
        self.stream, self.steps, self.batch, self.seed, self.report = stream, steps, batch, seed, report
        count, each = stream.source.batches, stream.source.tokens * stream.held.shape[1] * 4
        self.size = max(1, min(count, int(room / each)))
        self.rounds = 1 if self.size == count else 1 + -(-(count - self.size) // max(1, self.size // 2))
        self.kept: dict[int, Tensor] = {}
        self.rows = torch.zeros(0, stream.held.shape[1])
        self.span = range(0)

    def draw(self, step: int) -> Tensor:
        """A step's vectors, (batch, d)."""
        span = self._span(min(step * self.rounds // self.steps, self.rounds - 1))
        if span != self.span:
            self._move(span)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return self.rows[torch.randint(len(self.rows), (self.batch,), generator=generator)]

    def _span(self, place: int) -> range:
        """The batches that the window has in a round."""
        start = round(place * (self.stream.source.batches - self.size) / max(1, self.rounds - 1))
        return range(start, start + self.size)

    def _move(self, span: range) -> None:
        self.kept = {i: rows for i, rows in self.kept.items() if i in span}
        missing = [i for i in span if i not in self.kept]
        with self.report.task(f"activations: {len(missing) * self.stream.source.tokens:,} tokens", len(missing)) as step:
            for done, i in enumerate(missing, 1):
                self.kept[i] = self.stream.at(i)
                step(done, "")
        self.span, self.rows = span, torch.cat([self.kept[i] for i in span])
        if self.rounds == 1:
            self.kept = {}
