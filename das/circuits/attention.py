"""Attention: where a decoder's heads look, as its own attention modules tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from das.errors import DasError
from das.network.lm import LM
from das.network.parts import Part, part_of
from das.task.encoded import Encoded

ROOM = 2.5e8
"""Bytes for one layer's weights of one batch."""

Read = Callable[[int, Tensor], None]
"""What is called with a layer's number and its weights, (rows, heads, columns, columns): from each token to each."""


def even(prompts: Encoded, heads: int) -> Iterator[Part]:
    """Equally long prompts, unpadded, and as many at once as there is room for their weights."""
    for length in np.unique(prompts.lengths):
        rows = np.flatnonzero(prompts.lengths == length)
        size = max(1, int(ROOM // (4 * heads * length**2)))
        yield from (part_of(prompts, some) for some in np.split(rows, range(size, len(rows), size)))


@contextmanager
def attending(lm: LM, read: Read) -> Iterator[None]:
    """Has `read` called with every layer's attention weights, for the time of a `with` block, in which the network attends by
    the library's plain code: fused kernels keep no weights."""
    with ExitStack() as stack, _plainly(lm.model):
        for i, block in enumerate(lm.blocks):
            for module in block.modules():
                if module is not block:
                    stack.callback(module.register_forward_hook(_reader(read, i, lm.heads[0])).remove)
        yield


def _reader(read: Read, layer: int, heads: int) -> Callable[..., None]:
    def note(_module: nn.Module, _args: Any, output: Any) -> None:
        for part in output if isinstance(output, tuple) else ():
            if isinstance(part, Tensor) and part.dim() == 4 and part.shape[1] == heads and part.shape[2] == part.shape[3]:
                read(layer, part)
                return

    return note


@contextmanager
def _plainly(model: nn.Module) -> Iterator[None]:
    every: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = {id(config): config for config in every if hasattr(config, "_attn_implementation")}
    own = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = "eager"
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = own[key]


def check_told(lm: LM, layers: Sequence[int]) -> None:
    """DasError unless every layer was read."""
    if missing := [i for i in range(lm.layers) if i not in layers]:
        raise DasError(
            f"the attention of layer {missing[0]} of {type(lm.model).__name__} gives no weights: nobody knows where it looks"
        )
