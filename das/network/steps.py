"""Steps: taps on what a network runs once for each place of a prompt: recurrent cells, whose state at one step is swapped and
all later steps go on from there.

A cell (`nn.GRUCell`, `nn.LSTMCell`, one of the user's own) is called once a step. `nn.GRU`, `nn.LSTM` and `nn.RNN` run all
steps at once, and what is put into their output never reaches the next step: they are run step by step here. The state of an
LSTM is its hidden state and its cell state, one behind the other; of several layers it is that of all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.taps import Tap, Watcher


def tap_on(module: nn.Module, cells: Collection[nn.Module] = ()) -> Tap:
    """The tap on what a module hands on. cells: of the user's own that are run once a step."""
    if isinstance(module, nn.RNNBase):
        return StateTap(module)
    cell = isinstance(module, nn.RNNCellBase) or any(module is each for each in cells)
    return CellTap(module) if cell else Tap(module)


class CellTap(Tap):
    """What a cell hands on, each call being a step: (rows, size), the tensors of a tuple one behind the other. At a step it has
    what passes there, whatever the column."""

    stepped = True

    def taken(self, value: Any) -> Tensor:
        parts = list(value) if isinstance(value, tuple | list) else [value]
        if not all(isinstance(part, Tensor) and part.dim() == 2 for part in parts):
            shapes = [tuple(getattr(part, "shape", ())) for part in parts]
            raise DasError(f"a cell hands on values of shapes {shapes}: expected (rows, size) at each step")
        return torch.cat(parts, -1)

    def given(self, value: Any, tensor: Tensor) -> Any:
        if not isinstance(value, tuple | list):
            return tensor
        return type(value)(tensor.split([part.shape[-1] for part in value], -1))

    def read(self, tensor: Tensor, rows: int) -> Tensor:
        return tensor[:, None]

    def watch(self, function: Watcher) -> Any:
        step = count()
        return self.module.register_forward_hook(lambda _module, _inputs, output: function(output, next(step)))

    def at(self, tensor: Tensor, columns: Tensor) -> Tensor:
        return tensor[:, None].expand(-1, columns.shape[1], -1)

    def put(self, tensor: Tensor, columns: Tensor, new: Tensor, before: int = 0) -> Tensor:
        now = columns == before  # (rows, n)
        there = (new.to(tensor) * now[..., None]).sum(1)
        return torch.where(now.any(1, keepdim=True), there, tensor)


class StateTap(CellTap):
    """The state of `nn.GRU`, `nn.LSTM` or `nn.RNN` after each step: (rows, layers · size), hidden states first."""

    def watch(self, function: Watcher) -> Any:
        def stepwise(module: Any, inputs: Any, named: Any, _output: Any) -> Any:
            return _run(module, function, *inputs, **named)

        return self.module.register_forward_hook(stepwise, with_kwargs=True)


def _run(module: nn.RNNBase, function: Watcher, input: Any, hx: Any = None) -> tuple[Tensor, Any]:
    """The module's answer, run one step at a time; `function` may put another state in the place of each."""
    if module.bidirectional:
        raise DasError(f"{type(module).__name__} reads both ways: it has no state after each step that could be swapped")
    if not isinstance(input, Tensor) or input.dim() != 3:
        raise DasError(
            f"{type(module).__name__} is given a {type(input).__name__}: expected a tensor of rows, steps and features"
        )
    along, state, outputs = 1 if module.batch_first else 0, hx, []
    for step, one in enumerate(input.split(1, along)):
        _, state = type(module).forward(module, one, state)
        parts = state if isinstance(state, tuple) else (state,)
        flat = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], -1)
        if (other := function(flat, step)) is not None:
            state = _unflattened(other, parts)
        top = state[0][-1] if isinstance(state, tuple) else state[-1]
        outputs.append(top.unsqueeze(along))
    return torch.cat(outputs, along), state


def _unflattened(flat: Tensor, like: tuple[Tensor, ...]) -> Any:
    """A state (rows, size) as the module takes it: (layers, rows, size), or several."""
    parts = flat.split([part.shape[0] * part.shape[2] for part in like], -1)
    pairs = zip(parts, like, strict=True)
    shaped = [part.unflatten(1, (len(known), -1)).transpose(0, 1).contiguous() for part, known in pairs]
    return tuple(shaped) if len(shaped) > 1 else shaped[0]
