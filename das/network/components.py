"""Components: which module of a network a component is, and what of it."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.site import parse_component
from das.network.steps import tap_on
from das.network.taps import Tap

ATTENTION_OUT = (
    "self_attn.o_proj", "self_attn.out_proj", "self_attn.dense", "attn.c_proj", "attn.o_proj", "attn.out_proj",
    "attn.attention.out_proj", "attention.dense", "attention.output.dense", "self_attention.dense", "layer.0.SelfAttention.o",
)  # fmt: skip
MLP_OUT = (
    "mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc2", "mlp.fc_out", "fc2", "output.dense",
    "layer.1.DenseReluDense.wo",
)  # fmt: skip
PROJECTIONS = {
    "query": ("self_attn.q_proj", "attn.q_proj", "attn.attention.q_proj", "attention.self.query", "layer.0.SelfAttention.q"),
    "key": ("self_attn.k_proj", "attn.k_proj", "attn.attention.k_proj", "attention.self.key", "layer.0.SelfAttention.k"),
    "value": ("self_attn.v_proj", "attn.v_proj", "attn.attention.v_proj", "attention.self.value", "layer.0.SelfAttention.v"),
}
ONE_AFTER_ANOTHER = ("attn.c_attn", "self_attn.qkv_proj")
"""Projections that give all queries, then all keys, then all values."""
HEAD_BY_HEAD = ("attention.query_key_value",)
"""Projections that give query, key and value of one head after another (GPT-NeoX)."""


def find_tap(
    block: nn.Module | None, model: nn.Module, component: str, layer: int, heads: tuple[int, int],
    cells: Collection[nn.Module] = (),
) -> Tap:  # fmt: skip
    """Where a component of `block` passes. heads: how many query heads and key heads. cells: modules that are run once for each
    place. DasError where there is none."""
    own = dict(model.named_children())
    if component in own:
        return tap_on(own[component], cells)
    parsed = parse_component(component)
    if parsed is None:
        return tap_on(_submodule(model, component, layer), cells)
    name, head = parsed
    if block is None:
        raise DasError(
            f"component {component!r}: {type(model).__name__} has no layers that are known: give as components= the path of a "
            f"module, such as {next(iter(own), 'encoder.out')!r}. It has {', '.join(own) or 'no modules'}"
        )
    if name == "block_output":
        return tap_on(block, cells)
    if name in ("attention_output", "heads"):
        out = _first(block, ATTENTION_OUT, component)
        return Tap(out, name == "heads", _head(_width(out, "in"), heads[0], head, component))
    if name in ("mlp_output", "mlp_neurons"):
        return Tap(_first(block, MLP_OUT, component), name == "mlp_neurons")
    return _projection(block, name, head, heads, component)


def _submodule(model: nn.Module, path: str, layer: int) -> nn.Module:
    try:
        return model.get_submodule(path.replace("{layer}", str(layer)))
    except AttributeError as error:
        near = get_close_matches(path.replace("{layer}", str(layer)), [name for name, _ in model.named_modules()], 1)
        hint = f": did you mean {near[0]!r}?" if near else f" ({error})"
        raise DasError(f"component {path!r}: {type(model).__name__} has no such module{hint}") from error


def _present(block: nn.Module, paths: tuple[str, ...]) -> nn.Module | None:
    known = dict(block.named_modules())
    return next((known[path] for path in paths if path in known), None)


def _first(block: nn.Module, paths: tuple[str, ...], component: str) -> nn.Module:
    found = _present(block, paths)
    if found is None:
        children = ", ".join(name for name, _ in block.named_modules() if name.count(".") == 1)
        raise DasError(
            f"component {component!r} was not found in {type(block).__name__}: give a dotted path with {{layer}}; "
            f"inside a layer there are: {children}"
        )
    return found


def _width(module: Any, side: str) -> int:
    """The size of a linear module's input or output."""
    weight = module.weight
    transposed = type(module).__name__ == "Conv1D"
    return int(weight.shape[(side == "in") != transposed])


def _head(width: int, heads: int, head: int | None, component: str) -> Tensor | None:
    if head is None:
        return None
    if head >= heads:
        raise DasError(f"component {component!r}: there are heads 0 to {heads - 1}")
    size = width // heads
    return torch.arange(head * size, (head + 1) * size)


def _projection(block: nn.Module, name: str, head: int | None, heads: tuple[int, int], component: str) -> Tap:
    mine = heads[0] if name == "query" else heads[1]
    own = _present(block, PROJECTIONS[name])
    if own is not None:
        return Tap(own, False, _head(_width(own, "out"), mine, head, component))
    part = ("query", "key", "value").index(name)
    fused = _present(block, HEAD_BY_HEAD)
    if fused is not None:
        index = torch.arange(_width(fused, "out")).view(mine, 3, -1)[:, part].flatten()
    else:
        fused = _first(block, ONE_AFTER_ANOTHER, component)
        if type(block).__name__.startswith("GPTBigCode"):
            raise DasError(f"component {component!r}: how {type(block).__name__} joins its projections is not known to das")
        size = _width(fused, "out") // (heads[0] + 2 * heads[1])
        counts = [size * heads[0], size * heads[1], size * heads[1]]
        index = torch.arange(sum(counts)).split(counts)[part]
    chosen = _head(len(index), mine, head, component)
    return Tap(fused, False, index if chosen is None else index[chosen])
