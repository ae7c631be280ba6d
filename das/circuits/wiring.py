"""Wiring: which modules of a decoder read its hidden states and which write into them, found while it reads a prompt.

Nothing here goes by the names of norms: what lies where is told by what passes, and held against what the network computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from das.circuits.graph import Graph
from das.errors import DasError
from das.network.closeness import apart, tolerance
from das.network.lm import LM
from das.network.taps import first_tensor
from das.task.rendered import Prompts

READ = "query", "key", "value"


@dataclass(frozen=True)
class Projection:
    """A module that gives queries, keys or values, or several of them. ends: which of its layer's ends it serves, in the order
    of `Graph.ends`; index: the entries of its output that belong to each, (ends, size)."""

    module: nn.Module
    ends: tuple[int, ...]
    index: Tensor

    @cached_property
    def weight(self) -> Tensor:
        """(ends, d, size)"""
        weight: Any = self.module.weight
        rows: Tensor = weight.T if type(self.module).__name__ == "Conv1D" else weight
        return rows.detach()[self.index].mT.contiguous()

    @cached_property
    def bias(self) -> Tensor | None:
        """(ends, 1, size)"""
        bias: Any = self.module.bias
        return None if bias is None else bias.detach()[self.index][:, None]

    def __call__(self, given: Tensor) -> Tensor:
        """What the module would give if each end read something of its own. given: of the layer's ends (ends, rows, columns,
        d); returns (rows, columns, out)."""
        mine = given[list(self.ends)]
        n, rows, columns, d = mine.shape
        out = mine.reshape(n, -1, d) @ self.weight
        out = out if self.bias is None else out + self.bias
        together: Tensor = out.transpose(0, 1).reshape(rows, columns, -1)
        return together[..., self.index.flatten().argsort()]


@dataclass(frozen=True)
class Layer:
    """Of one layer: the norms that its attention and its MLP read through, the projections of queries, keys and values, and
    what writes: the attention's output projection and the MLP's."""

    norm: nn.Module
    mlp_norm: nn.Module
    projections: Sequence[Projection]
    out: nn.Module
    mlp: nn.Module

    def written(self, mixed: Tensor, heads: int) -> Tensor:
        """What each head adds, (heads, rows, columns, d), of what the output projection is given, (rows, columns, heads ·
        size); without its bias, which belongs to no head."""
        weight: Any = self.out.weight
        matrix = weight.detach() if type(self.out).__name__ == "Conv1D" else weight.detach().T
        by_head = mixed.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)
        n, rows, columns, size = by_head.shape
        added: Tensor = (by_head.reshape(n, -1, size) @ matrix.unflatten(0, (n, -1))).view(n, rows, columns, -1)
        return added


@dataclass(frozen=True)
class Wiring:
    """norm: what the head reads through."""

    graph: Graph
    layers: Sequence[Layer]
    norm: nn.Module


@torch.no_grad()
def wiring(lm: LM, prompts: Prompts) -> Wiring:
    """Of a decoder whose layers add to their input what attention and MLP make of it through a norm each. DasError of any
    other.

    prompts: some to read."""
    passed = _passed(lm, prompts)
    found = [_layer(lm, i, passed) for i in range(lm.layers)]
    (parallel,) = kinds if len(kinds := {way for _, way in found}) == 1 else (None,)
    if parallel is None:
        raise _unfit(lm, "some layers' MLPs read what attention adds, and some do not")
    heads, groups = lm.heads
    return Wiring(Graph(lm.layers, heads, groups, parallel), [layer for layer, _ in found], _last_norm(lm, passed))


class _Passed:
    """What each module was given and gave, the first time that it was run."""

    def __init__(self) -> None:
        self.given: dict[nn.Module, Tensor] = {}
        self.gave: dict[nn.Module, Tensor] = {}

    def note(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given, gave = first_tensor(args or tuple(kwargs.values())), first_tensor(output)
        if given is not None and gave is not None and module not in self.given:
            self.given[module], self.gave[module] = given, gave

    def between(self, among: Iterator[nn.Module], given: Tensor, gave: Tensor) -> nn.Module | None:
        """Of some modules one that was given the one and gave the other: the very tensor, where several gave such."""
        fit = [m for m in among if self.same(self.given.get(m), given) and self.same(self.gave.get(m), gave)]
        return next((m for m in fit if self.gave[m] is gave), fit[0] if fit else None)

    @staticmethod
    def same(one: Tensor | None, other: Tensor) -> bool:
        return one is not None and one.shape == other.shape and apart(one.float(), other.float()) < 1e-5


def _passed(lm: LM, prompts: Prompts) -> _Passed:
    passed = _Passed()
    with ExitStack() as stack:
        for module in lm.model.modules():
            stack.callback(module.register_forward_hook(passed.note, with_kwargs=True).remove)
        lm.logits(prompts.take(np.arange(1)))
    return passed


def _layer(lm: LM, i: int, passed: _Passed) -> tuple[Layer, bool]:
    """A layer, and whether its MLP reads what its attention reads."""
    block, (out, mlp) = lm.blocks[i], (lm.tap(name, i).module for name in ("attention_output", "mlp_output"))
    projections = _projections(lm, i)
    read, of_mlp = projections[0].module, _around(block, mlp)
    if of_mlp is block or any(m not in passed.gave for m in (block, out, mlp, of_mlp, read)):
        raise _unfit(lm, f"layer {i} is not an attention and an MLP, a module each")
    x, added = passed.given[block], passed.gave[out]
    if apart((x + added + passed.gave[mlp]).float(), passed.gave[block].float()) > tolerance(lm.model):
        raise _unfit(lm, f"layer {i} does not hand on its input and what attention and MLP add, as they give it")
    norm = passed.between(_inside(block), x, passed.given[read])
    for parallel, reads in ((False, x + added), (True, x)):
        mlp_norm = passed.between(_inside(block), reads, passed.given[of_mlp])
        if norm and mlp_norm:
            return Layer(norm, mlp_norm, projections, out, mlp), parallel
    raise _unfit(lm, f"attention and MLP of layer {i} do not read the hidden state through a norm each")


def _projections(lm: LM, layer: int) -> list[Projection]:
    heads, groups = lm.heads
    ends = [f"{kind}.{i}" for kind, n in zip(READ, (heads, groups, groups), strict=True) for i in range(n)]
    taps = [lm.tap(name, layer) for name in ends]
    found = []
    for module in dict.fromkeys(tap.module for tap in taps):
        if type(module).__name__ not in ("Linear", "Conv1D"):
            raise _unfit(lm, f"its queries, keys and values come from a {type(module).__name__}, not a plain linear module")
        mine = [i for i, tap in enumerate(taps) if tap.module is module]
        found.append(Projection(module, tuple(mine), torch.stack([taps[i].index for i in mine])))  # type: ignore[misc]
    return found


def _around(block: nn.Module, module: nn.Module) -> nn.Module:
    """The module of a block that another lies in directly."""
    path = next(name for name, m in block.named_modules() if m is module)
    return block.get_submodule(path.rpartition(".")[0])


def _inside(block: nn.Module) -> Iterator[nn.Module]:
    return (m for m in block.modules() if m is not block)


def _last_norm(lm: LM, passed: _Passed) -> nn.Module:
    model: Any = lm.model
    head = model.get_output_embeddings()
    if head not in passed.given or lm.blocks[-1] not in passed.gave:
        raise _unfit(lm, "what gives its logits is not known")
    inside = {m for block in lm.blocks for m in block.modules()} | {head}
    last, read = passed.gave[lm.blocks[-1]], passed.given[head]
    for module, gave in passed.gave.items():
        fits = module not in inside and gave.shape == last.shape and passed.same(passed.given[module], last)
        if fits and passed.same(gave[:, -read.shape[1] :], read):
            return module
    raise _unfit(lm, "its head does not read the last layer's output through one norm")


def _unfit(lm: LM, why: str) -> DasError:
    return DasError(f"no circuits of a {type(lm.model).__name__}: {why}. Known to work: Llama, GPT-2, Qwen2, GPT-NeoX")
