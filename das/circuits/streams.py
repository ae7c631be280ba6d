"""Streams: a decoder whose every part reads a hidden state of its own, into which some edges carry another run's contribution.

What a part reads is what the layers below hand on, less what the swapped edges' nodes have added, plus what they add in the
other run. Nothing else is changed, so with no edge swapped the answer is the network's own, and with all swapped it is the
other run's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from das.circuits.contrasts import Contrasts
from das.circuits.wiring import Layer, Wiring, wiring
from das.errors import DasError
from das.interchange.engine import ResumeEngine
from das.network.closeness import apart, tolerance
from das.network.taps import Tap, recording
from das.task.encoded import Encoded

START = "attention_output", 0
"""A spot whose capture holds what the first layer is given."""


@dataclass
class Said:
    """What the nodes add in one run: the embedding, (rows, columns, d); of each layer what its output projection was given,
    (rows, columns, heads · size), and what its MLP added; and the answers, (rows, vocabulary)."""

    embedding: Tensor
    mixed: list[Tensor]
    mlps: list[Tensor]
    logits: Tensor


class Streams:
    """engine: of the network, with what all prompts begin with. prompts: some of them, to find its wiring by."""

    def __init__(self, engine: ResumeEngine, prompts: Encoded) -> None:
        self.engine, self.lm = engine, engine.lm
        self.wiring: Wiring = wiring(self.lm, prompts)
        self.graph = self.wiring.graph

    @torch.no_grad()
    def said(self, prompts: Encoded) -> Said:
        """What the nodes add when the network answers prompts."""
        first = self.engine.capture(prompts, [START]).inputs[0]
        taps: dict[Any, Tap] = {("mixed", i): Tap(layer.out, input=True) for i, layer in enumerate(self.wiring.layers)}
        taps |= {("mlp", i): Tap(layer.mlp) for i, layer in enumerate(self.wiring.layers)}
        into: dict[Any, Tensor] = {}
        with recording(taps, len(prompts), first.shape[1], into):
            logits = self.engine.onward(prompts, 0, first)
        each = range(self.graph.layers)
        return Said(first, [into["mixed", i] for i in each], [into["mlp", i] for i in each], logits)

    def added(self, one: Said, other: Said) -> Tensor:
        """By what every node's addition in one run differs from that in the other, (nodes, rows, columns, d)."""
        parts = [(one.embedding - other.embedding)[None]]
        for i, layer in enumerate(self.wiring.layers):
            parts += [layer.written(one.mixed[i] - other.mixed[i], self.graph.heads), (one.mlps[i] - other.mlps[i])[None]]
        return torch.cat(parts)

    def check(self, prompts: Encoded, others: Encoded) -> None:
        """DasError unless with no edge swapped the network answers as it does, and with all swapped as the others."""
        one, other = self.said(prompts), self.said(others)
        run = Swapped(self, prompts, one, other)
        every = torch.from_numpy(self.graph.all)
        for edges, expected in ((~every & False, one), (every, other)):
            if (error := apart(run.answers(edges), expected.logits)) > tolerance(self.lm.model):
                kind = type(self.lm.model).__name__
                raise DasError(f"no circuits of a {kind}: edge by edge it is off by {error:.2g} of the largest logit")


@dataclass
class Swapped:
    """Runs of some prompts in which edges carry what their nodes add in another run.

    one, other: what the nodes add in the prompts' own run and in the other one, of prompts whose tokens stand in the same
    columns.
    """

    streams: Streams
    prompts: Encoded
    one: Said
    other: Said
    _moved: Tensor = field(init=False)
    """By how much what each node adds differs from the other run, as far as the last run has come. (nodes, rows · columns ·
    d)"""
    _given: dict[int, Tensor] = field(default_factory=dict)
    """What each layer was given in the last run."""

    def __post_init__(self) -> None:
        self._moved = self.streams.added(self.one, self.other).flatten(1)
        self._given[0] = self.one.embedding

    @classmethod
    @torch.no_grad()
    def of(cls, streams: Streams, batch: Contrasts, replaced: Callable[[Contrasts], Said]) -> Swapped:
        """Of a batch of pairs. replaced: what the nodes add in the other run."""
        return cls(streams, batch.prompts, streams.said(batch.prompts), replaced(batch))

    @torch.no_grad()
    def answers(self, edges: Tensor, start: int = 0) -> Tensor:
        """Answers with some edges (ends, nodes) swapped, (rows, vocabulary).

        start: the layer to begin at, where the edges into all layers below are those of the last run (or of no run but the
        prompts' own), which began no higher.
        """
        with self._hooked(edges.to(self._moved), start):
            return self.streams.engine.onward(self.prompts, start, self._given[start])

    @contextmanager
    def _hooked(self, edges: Tensor, start: int) -> Iterator[None]:
        wired, graph = self.streams.wiring, self.streams.graph
        with ExitStack() as stack:
            for i in range(start, graph.layers):
                self._hook(stack, i, edges[graph.first_end(i) : graph.first_end(i + 1)])
            stack.callback(wired.norm.register_forward_pre_hook(self._noting(graph.layers)).remove)
            stack.callback(wired.norm.register_forward_hook(self._reading(edges[-1:], len(graph.nodes))).remove)
            yield

    def _noting(self, layer: int) -> Callable[..., None]:
        def note(_module: nn.Module, args: Any) -> None:
            self._given[layer] = args[0]

        return note

    def _hook(self, stack: ExitStack, i: int, edges: Tensor) -> None:
        layer, below, heads = self.streams.wiring.layers[i], self.streams.graph.before(i), self.streams.graph.heads

        def heard(_module: nn.Module, args: Any) -> None:
            moved = layer.written(args[0] - self.other.mixed[i], heads)
            self._moved[below : below + heads] = moved.flatten(1)

        def spoken(_module: nn.Module, _args: Any, output: Tensor) -> None:
            self._moved[below + heads] = (output - self.other.mlps[i]).flatten()

        attend = Attending(layer, lambda x: self._read(x, edges[:-1], below))
        attend.hook(stack)
        stack.callback(layer.norm.register_forward_pre_hook(self._noting(i)).remove)
        stack.callback(layer.out.register_forward_pre_hook(heard).remove)
        nodes = below if self.streams.graph.parallel else below + heads
        stack.callback(layer.mlp_norm.register_forward_hook(self._reading(edges[-1:], nodes)).remove)
        stack.callback(layer.mlp.register_forward_hook(spoken).remove)

    def _read(self, x: Tensor, edges: Tensor, nodes: int) -> Tensor:
        """What some ends read of hidden states x, (rows, columns, d): (ends, rows, columns, d)."""
        swapped = edges[:, :nodes]
        used = swapped.any(0)
        if not used.any():
            return x.expand(len(edges), *x.shape)
        moved = self._moved[:nodes] if used.all() else self._moved[:nodes][used]
        return x - ((swapped if used.all() else swapped[:, used]) @ moved).view(-1, *x.shape)

    def _reading(self, edges: Tensor, nodes: int) -> Callable[..., Tensor]:
        def read(norm: nn.Module, args: Any, _output: Any) -> Tensor:
            return norm.forward(self._read(args[0], edges, nodes)[0])  # type: ignore[no-any-return]

        return read


class Attending:
    """Hooks by which queries, keys and values of one layer each read what `read` gives, (ends, rows, columns, d), of the hidden
    states, through the layer's own norm."""

    def __init__(self, layer: Layer, read: Callable[[Tensor], Tensor]) -> None:
        self.layer, self.read = layer, read
        self._given: Tensor | None = None

    def hook(self, stack: ExitStack) -> None:
        """For as long as the stack stands."""
        stack.callback(self.layer.norm.register_forward_hook(self._norm).remove)
        for projection in self.layer.projections:
            stack.callback(projection.module.register_forward_hook(lambda _m, _i, _o, p=projection: p(self._given)).remove)

    def _norm(self, norm: nn.Module, args: Any, _output: Any) -> None:
        self._given = norm.forward(self.read(args[0]))
