"""Taps: where a component's values pass through a network, to read them there or to put others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.task.rendered import Prompts

Key = TypeVar("Key")


@dataclass(frozen=True)
class Tap:
    """The output of `module`, or its input, at `index` of the last axis (None: all of it).

    whole: all that passes of a prompt is one vector, whatever its shape.
    """

    module: nn.Module
    input: bool = False
    index: Tensor | None = None
    whole: bool = False
    stepped: ClassVar[bool] = False
    """Whether columns pass one after another, so that a change of one reaches those behind it."""

    def over(self, prompts: Prompts) -> Self:
        """The same for prompts that may have no places."""
        return replace(self, whole=prompts.whole) if prompts.whole != self.whole else self

    def taken(self, value: Any) -> Tensor:
        """The tensor in what passes. DasError where there is none."""
        tensor = first_tensor(value)
        if tensor is None:
            raise DasError(
                f"a component that gives a {type(value).__name__} and no tensor cannot be swapped: name a module inside it"
            )
        return tensor

    def given(self, value: Any, tensor: Tensor) -> Any:
        """What passes, with another tensor in it."""
        return type(value)([tensor, *value[1:]]) if isinstance(value, tuple | list) else tensor

    def read(self, tensor: Tensor, rows: int) -> Tensor:
        """(rows, columns, size) of a tensor that passes; a network without positions has one column."""
        by_row = self._by_row(tensor, rows)
        return by_row if self.index is None else by_row[..., self.index]

    def watch(self, function: Watcher) -> Any:
        """Has `function` called with what passes, and with how many columns have passed before; what it returns, if anything,
        passes in its place. Returns the hook."""
        if self.input:
            return self.module.register_forward_pre_hook(lambda _module, inputs: function(inputs, 0))
        return self.module.register_forward_hook(lambda _module, _inputs, output: function(output, 0))

    def at(self, tensor: Tensor, columns: Tensor) -> Tensor:
        """What a tensor that passes has at the columns (rows, n) of the prompts: (rows, n, size)."""
        held = self.read(tensor, len(columns))
        rows = torch.arange(len(columns), device=tensor.device)[:, None]
        found: Tensor = held[rows, columns if held.shape[1] > 1 else columns * 0]
        return found

    def put(self, tensor: Tensor, columns: Tensor, new: Tensor, before: int = 0) -> Tensor:
        """A tensor that passes, with `new` (rows, n, size) at the columns (rows, n) of the prompts; `before`: how many of these
        have passed already."""
        rows = self._by_row(tensor, len(new))
        at = torch.arange(len(new), device=tensor.device)[:, None], columns if rows.shape[1] > 1 else columns * 0
        index = at if self.index is None else (at[0][..., None], at[1][..., None], self.index)
        return self._as_it_was(rows.index_put(index, new.to(rows)), tensor)

    def _by_row(self, tensor: Tensor, rows: int) -> Tensor:
        if self.whole:
            if len(tensor) != rows:
                raise DasError(f"a component gives shape {tuple(tensor.shape)} for {rows} inputs: expected them first")
            return tensor.reshape(rows, 1, -1)
        if tensor.dim() > 3:
            return tensor.flatten(2).mT  # channels first: the places of an image one after another
        return tensor if tensor.dim() == 3 else tensor.unflatten(0, (rows, -1))

    def _as_it_was(self, by_row: Tensor, tensor: Tensor) -> Tensor:
        """The inverse of `_by_row`."""
        if not self.whole and tensor.dim() > 3:
            return by_row.mT.reshape(tensor.shape)
        return by_row.reshape(tensor.shape)


Watcher = Callable[[Any, int], Any]
"""What passes, and how many columns have passed before → what is to pass in its place, or None."""


# --- hooks ---


def first_tensor(value: Any) -> Tensor | None:
    """What passes from module to module: a tensor, or the first of several; None where there is none."""
    value = value[0] if isinstance(value, tuple | list) and value else value
    return value if isinstance(value, Tensor) else None


@contextmanager
def recording(taps: Mapping[Key, Tap], rows: int, keep: int, into: dict[Key, Tensor]) -> Iterator[None]:
    """Keeps the last `keep` columns of what passes each tap, (rows, keep, size), for the time of a `with` block."""

    def keeper(key: Key, tap: Tap) -> Any:
        def keep_value(value: Any, before: int) -> None:
            seen = tap.read(tap.taken(value), rows)
            into[key] = torch.cat([into[key], seen], 1) if before else seen[:, -keep:].clone()

        return keep_value

    with ExitStack() as stack:
        for key, tap in taps.items():
            stack.callback(tap.watch(keeper(key, tap)).remove)
        yield
    for key in taps.keys() & into.keys():
        into[key] = into[key][:, -keep:]


@contextmanager
def tracking(taps: Mapping[Key, Tap], into: dict[Key, list[Tensor]]) -> Iterator[None]:
    """Keeps what passes each tap, itself and whole, each time that something does, so that gradients can be taken with respect
    to it."""

    def keeper(key: Key, tap: Tap) -> Any:
        def keep_value(value: Any, before: int) -> Any:
            tensor = tap.taken(value)
            tensor = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            into[key] = [*into[key], tensor] if before else [tensor]
            return tap.given(value, tensor)

        return keep_value

    with ExitStack() as stack:
        for key, tap in taps.items():
            stack.callback(tap.watch(keeper(key, tap)).remove)
        yield


@contextmanager
def changing(tap: Tap, change: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """Has `change` make another tensor, of the same shape, of what passes the tap (after so many columns that have passed
    before), for the time of a `with` block."""
    handle = tap.watch(lambda value, before: tap.given(value, change(tap.taken(value), before)))
    try:
        yield
    finally:
        handle.remove()


New = Callable[[Tensor], Tensor]
"""What is at some columns, (rows, n, size) → what is put there, likewise."""


@contextmanager
def patching(tap: Tap, parts: Sequence[tuple[Tensor, New]]) -> Iterator[None]:
    """Puts what each function makes of the values at its columns (rows, n) of what passes the tap in their place, one after
    another, for the time of a `with` block."""

    def put(tensor: Tensor, before: int) -> Tensor:
        for columns, new in parts:
            tensor = tap.put(tensor, columns, new(tap.at(tensor, columns)), before)
        return tensor

    with changing(tap, put):
        yield
