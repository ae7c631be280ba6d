"""Stand-ins: what is put in place of a network's layers, so that a forward runs only those layers and tokens that it must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from das.interchange.attention import CURRENT, KeysRecorded, current


class Skip(nn.Module):
    """In place of a block that need not be run."""

    attention_type = "full_attention"

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


class Start(nn.Module):
    """A block that is given other hidden states than come from below."""

    def __init__(self, hidden: Tensor, block: nn.Module) -> None:
        super().__init__()
        self.hidden, self.block = hidden, block
        self.attention_type = getattr(block, "attention_type", "full_attention")

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.block(self.hidden, *args, **kwargs)


class Tail(nn.Module):
    """A block that is run for the last `keep` tokens alone; all give keys and values to attend to. The others are handed
    on as they came, since some networks count on the length."""

    def __init__(self, block: nn.Module, keep: int) -> None:
        super().__init__()
        self.block, self.keep = block, keep
        self.attention_type = getattr(block, "attention_type", "full_attention")

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        length = hidden_states.shape[1]
        if length <= self.keep:
            return self.block(hidden_states, *args, **kwargs)
        whole = CURRENT.get()
        assert whole is not None
        first = whole.keys_only()
        with current(first), _until_keys():
            self.block(hidden_states, *args, **kwargs)
        assert first.record is not None
        args, kwargs = _last((args, kwargs), length, self.keep)
        with current(whole.tail(first.record, self.keep)):
            output: Any = self.block(hidden_states[:, -self.keep :].contiguous(), *args, **kwargs)
        return torch.cat([hidden_states[:, : -self.keep].detach(), output], 1)


@contextmanager
def _until_keys() -> Iterator[None]:
    try:
        yield
    except KeysRecorded:
        return
    raise RuntimeError("a block went past its attention without giving keys and values")


def _last(value: Any, length: int, keep: int) -> Any:
    """What a block was given, cut to the last tokens: tensors (rows, length, …), in tuples and dictionaries too."""
    if isinstance(value, Tensor):
        return value[:, -keep:] if value.dim() > 1 and value.shape[1] == length else value
    if isinstance(value, tuple | list):
        return type(value)(_last(v, length, keep) for v in value)
    return {k: _last(v, length, keep) for k, v in value.items()} if isinstance(value, dict) else value
