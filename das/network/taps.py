"""Taps: where a component's values pass through a network, to read them there or to put others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from das.errors import DasError
from das.network.site import parse_component

Key = TypeVar("Key")

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


@dataclass(frozen=True)
class Tap:
    """The output of `module`, or its input, at `index` of the last axis (None: all of it)."""

    module: nn.Module
    input: bool = False
    index: Tensor | None = None

    def read(self, value: Tensor, rows: int) -> Tensor:
        """(rows, columns, size) of what passes; a network without positions has one column."""
        value = _by_row(value, rows)
        return value if self.index is None else value[..., self.index]

    def watch(self, function: Callable[[Any], Any]) -> Any:
        """Has `function` called with what passes; what it returns, if anything, passes in its place. Returns the hook."""
        if self.input:
            return self.module.register_forward_pre_hook(lambda _module, inputs: function(inputs))
        return self.module.register_forward_hook(lambda _module, _inputs, output: function(output))

    def put(self, value: Tensor, columns: Tensor, new: Tensor) -> Tensor:
        """`value` with `new` (rows, n, size) at the columns (rows, n)."""
        rows = _by_row(value, len(new))
        at = torch.arange(len(new), device=value.device)[:, None], columns if rows.shape[1] > 1 else columns * 0
        index = at if self.index is None else (at[0][..., None], at[1][..., None], self.index)
        return rows.index_put(index, new.to(rows)).view_as(value)


def _by_row(value: Tensor, rows: int) -> Tensor:
    return value if value.dim() == 3 else value.unflatten(0, (rows, -1))


def find_tap(block: nn.Module | None, model: nn.Module, component: str, layer: int, heads: tuple[int, int]) -> Tap:
    """Where a component of `block` passes. heads: how many query heads and key heads. DasError where there is none."""
    own = dict(model.named_children())
    if component in own:
        return Tap(own[component])
    parsed = parse_component(component)
    if parsed is None:
        return Tap(_submodule(model, component, layer))
    name, head = parsed
    if block is None:
        raise DasError(f"component {component!r}: {type(model).__name__} has no layers; give a dotted path to a module")
    if name == "block_output":
        return Tap(block)
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
        raise DasError(f"component {path!r}: {type(model).__name__} has no such module ({error})") from error


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


# --- hooks ---


def first_tensor(value: Any) -> Tensor | None:
    """What passes from module to module: a tensor, or the first of several; None where there is none."""
    value = value[0] if isinstance(value, tuple | list) and value else value
    return value if isinstance(value, Tensor) else None


def _tensor(value: Any) -> Tensor:
    tensor = first_tensor(value)
    if tensor is None:
        raise DasError(
            f"a component that gives a {type(value).__name__} and no tensor cannot be swapped: name a module inside it"
        )
    return tensor


def _with(value: Any, tensor: Tensor) -> Any:
    return type(value)([tensor, *value[1:]]) if isinstance(value, tuple | list) else tensor


@contextmanager
def recording(taps: Mapping[Key, Tap], rows: int, keep: int, into: dict[Key, Tensor]) -> Iterator[None]:
    """Keeps the last `keep` columns of what passes each tap, (rows, keep, size), for the time of a `with` block."""

    def keeper(key: Key, tap: Tap) -> Any:
        def keep_value(value: Any) -> None:
            into[key] = tap.read(_tensor(value), rows)[:, -keep:].clone()

        return keep_value

    with ExitStack() as stack:
        for key, tap in taps.items():
            stack.callback(tap.watch(keeper(key, tap)).remove)
        yield


@contextmanager
def tracking(taps: Mapping[Key, Tap], into: dict[Key, Tensor]) -> Iterator[None]:
    """Keeps what passes each tap, itself and whole, so that gradients can be taken with respect to it."""

    def keeper(key: Key) -> Any:
        def keep_value(value: Any) -> Any:
            tensor = _tensor(value)
            into[key] = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            return _with(value, into[key])

        return keep_value

    with ExitStack() as stack:
        for key, tap in taps.items():
            stack.callback(tap.watch(keeper(key)).remove)
        yield


@contextmanager
def changing(tap: Tap, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Has `change` make another tensor, of the same shape, of what passes the tap, for the time of a `with` block."""
    handle = tap.watch(lambda value: _with(value, change(_tensor(value))))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def patching(tap: Tap, columns: Tensor, values: Tensor) -> Iterator[None]:
    """Puts `values` (rows, n, size) at the columns (rows, n) of what passes the tap, for the time of a `with` block."""
    with changing(tap, lambda value: tap.put(value, columns, values)):
        yield
