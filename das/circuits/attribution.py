"""Attribution: how much each edge's swap would move the answer, all edges at once, by gradients.

EAP (Syed, Rager and Conmy 2023, arXiv 2310.10348): an edge's score is the change of what its node adds, times the gradient of
the answer with respect to what its end reads, in the prompt's own run. EAP-IG (Hanna, Pezzelle and Belinkov 2024, arXiv
2403.17806, on inputs): the gradient is averaged over runs whose embeddings lie between the two prompts'. With one step it is
EAP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from das.circuits.contrasts import Contrasts
from das.circuits.replaced import Replacement, batches_of
from das.circuits.streams import Attending, Said, Streams
from das.circuits.wiring import Layer

Scores = NDArray[np.floating[Any]]
"""(ends, nodes): by how much the swap of each edge moves the answers' logit difference towards the source's, by first order."""


@dataclass(frozen=True)
class Attributed:
    """scores: of each edge, summed over tokens; at: position → the part of it that is due to this position's tokens."""

    scores: Scores
    at: dict[str, Scores]


def attributed(
    streams: Streams, found: Contrasts, replaced: Replacement, steps: int = 5, positions: Sequence[str] = (),
    progress: Callable[[float], None] | None = None,
) -> Attributed:  # fmt: skip
    """Every edge's score, a mean over pairs. steps: of the integral; 1: the prompt's own run alone. positions: where scores are
    wanted by themselves as well."""
    every, done = _Sum(streams, positions), 0
    for batch in batches_of(streams, found):
        with torch.no_grad():
            one, other = streams.said(batch.prompts), replaced(batch)
        every.start(batch, one, other)
        for step in range(1, steps + 1):
            hidden = torch.lerp(other.embedding, one.embedding, step / steps).requires_grad_()
            with every.watching():
                moved = -batch.difference(streams.engine.onward(batch.prompts, 0, hidden)).sum()
            moved.backward()
        done += len(batch)
        if progress:
            progress(done / len(found))
    scale = steps * len(found)
    return Attributed(every.whole.cpu().numpy() / scale, {at: each.cpu().numpy() / scale for at, each in every.at.items()})


class _Sum:
    """Takes down gradients with respect to what ends read, times what nodes add, as they come."""

    def __init__(self, streams: Streams, positions: Sequence[str]) -> None:
        self.streams, shape = streams, streams.graph.all.shape
        self.whole = torch.zeros(shape, device=streams.lm.device)
        self.at = {position: torch.zeros_like(self.whole) for position in positions}
        self._moved = torch.zeros(0)
        self._columns: dict[str, tuple[Tensor, Tensor]] = {}

    def start(self, batch: Contrasts, one: Said, other: Said) -> None:
        """With other prompts."""
        self._moved, rows = self.streams.added(other, one), torch.arange(len(batch))[:, None]
        behind = len(self.streams.engine.prefix)
        self._columns = {}
        for name in self.at:
            columns = torch.from_numpy(batch.prompts.positions[name]) - behind
            if int(columns.min()) >= 0:
                self._columns[name] = rows, columns

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For the time of a `with` block, a forward: what is taken down comes by its backward."""
        wired, graph = self.streams.wiring, self.streams.graph
        with ExitStack() as stack:
            for i, layer in enumerate(wired.layers):
                self._watch(stack, layer, graph.first_end(i), graph.first_end(i + 1) - 1, graph.before(i))
            last = self._reading(len(graph.ends) - 1, len(graph.nodes))
            stack.callback(wired.norm.register_forward_hook(last).remove)
            yield

    def _watch(self, stack: ExitStack, layer: Layer, first: int, mlp: int, below: int) -> None:
        def read(x: Tensor) -> Tensor:
            given = x.expand(mlp - first, *x.shape)
            given.register_hook(lambda slope: self._note(slope, first, below))
            return given

        Attending(layer, read).hook(stack)
        nodes = below + (0 if self.streams.graph.parallel else self.streams.graph.heads)
        stack.callback(layer.mlp_norm.register_forward_hook(self._reading(mlp, nodes)).remove)

    def _reading(self, end: int, nodes: int) -> Callable[..., Tensor]:
        def read(norm: nn.Module, args: Any, _output: Any) -> Tensor:
            given = args[0].view_as(args[0])
            given.register_hook(lambda slope: self._note(slope[None], end, nodes))
            return norm.forward(given)  # type: ignore[no-any-return]

        return read

    def _note(self, slope: Tensor, first: int, nodes: int) -> None:
        """slope: of the ends from `first` on, (ends, rows, columns, d)."""
        ends, moved = slice(first, first + len(slope)), self._moved[:nodes]
        self.whole[ends, :nodes] += slope.flatten(1).float() @ moved.flatten(1).float().T
        for name, (rows, columns) in self._columns.items():
            there, added = slope[:, rows, columns], moved[:, rows, columns]
            self.at[name][ends, :nodes] += there.flatten(1).float() @ added.flatten(1).float().T
